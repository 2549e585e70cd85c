"""Staged files that no row names: they come back, or are kept for their user (S4, W3).

    the database           says of <inode>-<generation>               then
    lost its last commits  nothing, or that it has an older one       it goes back to where its label says
    is whole               nothing; the label is void: given up       it goes
    cannot tell            anything else                              it is kept in the trash

A damaged log, a missing log and a new database look alike: acknowledged rows are missing. A file that comes back is
uploaded as it would have been; an upload that the lost rows recorded is looked for in the listing first (W6).
"""

from __future__ import annotations

import logging
import stat
import time
from dataclasses import dataclass
from enum import Enum

from remotefs import crashpoints, names
from remotefs.data.content.labels import Label, NoLabel, read_label
from remotefs.data.content.trash import Trash
from remotefs.data.files.staging import StagedName, Staging
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.data.writeback.last_run import LastRun
from remotefs.data.writeback.readback import OVERLAP_NS
from remotefs.errors import AccessDenied, RemotefsError
from remotefs.store.records import ROOT_INO, Attempt, Inode
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
# The folder for files whose place is taken.
RECOVERED = "recovered"
LOST_RECORD = "its record was lost"


class Fate(Enum):
    """The fate of a staged file that no row names."""

    # Nothing was acknowledged of it, or its user gave it up.
    GO = "go"
    # The inode that it belongs to is there, and knows an older version.
    RENEW = "renew"
    # It has a name and no inode.
    RETURN = "return"
    # Nothing says what it is.
    KEEP = "keep"


def fate_of(file: StagedName, label: Label | NoLabel, inode: Inode | None) -> Fate:
    """Decide what becomes of a staged file that no row names; `inode` is the row of its number, if there is one."""
    if label is NoLabel.VOID or file.size == 0:
        return Fate.GO
    if inode is not None and inode.is_file and inode.nlink > 0 and file.generation > inode.content_gen:
        return Fate.RENEW
    return Fate.RETURN if inode is None and isinstance(label, Label) else Fate.KEEP


@dataclass(frozen=True)
class Rescued:
    """The number of files that came back to the tree, and of those in the trash."""

    returned: int = 0
    trashed: int = 0


class Orphans:
    """Rescues staged files once, at the start of a mount, before anything else looks at the folder."""

    def __init__(self, store: Store, intents: Intents, staging: Staging, trash: Trash, last_run: LastRun) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._paths = intents.paths
        self._planner = intents.planner
        self._garbage = intents.garbage
        self._staging = staging
        self._trash = trash
        self._last_run = last_run

    def rescue(self, files: list[StagedName]) -> Rescued:
        """Bring back, keep or discard each file that no row names. Raises StateUnusable, OSError."""
        self._tree.skip_numbers(max((file.inode for file in files), default=0))
        returned = trashed = 0
        # The newest version first: it has the best claim to its name.
        for file in sorted(files, key=lambda file: file.generation, reverse=True):
            label = read_label(self._staging.place(file.inode, file.generation))
            inode = self._tree.find(file.inode)
            fate = fate_of(file, label, inode)
            if fate is Fate.GO:
                self._staging.discard(file.inode, file.generation)
            elif fate is Fate.RENEW and inode is not None:
                self._renew(inode, file)
                returned += 1
            elif fate is Fate.RETURN and isinstance(label, Label) and self._bring_back(file, label):
                returned += 1
            else:
                self._keep(file, label)
                trashed += 1
            crashpoints.reached("orphan is taken care of", file.inode)
        return Rescued(returned, trashed)

    def _renew(self, inode: Inode, file: StagedName) -> None:
        _log.warning("%s: the record of its last version was lost, its bytes were not", self._paths.shown(inode))
        with self._db.transaction():
            if inode.staged_gen is not None:
                self._garbage.drop_staged(inode.ino, inode.staged_gen)
            self._attach(inode.ino, file)

    def _bring_back(self, file: StagedName, label: Label) -> bool:
        """Give a file its name back, with its old inode number; return whether that was possible."""
        try:
            with self._db.transaction():
                parent, name = self._place(label)
                inode = self._tree.create(
                    parent, name, stat.S_IFREG | stat.S_IMODE(label.mode), uid=label.uid, gid=label.gid,
                    now_ns=time.time_ns(), ino=file.inode,
                )  # fmt: skip
                self._attach(inode.ino, file)
        except RemotefsError as error:
            _log.warning("%s cannot be put back to its place: %s", label.path, error)
            return False
        _log.warning("%s: its record was lost, its bytes were not: it is back", self._paths.shown(inode))
        return True

    def _attach(self, ino: int, file: StagedName) -> None:
        """Give a row the bytes, as closed ones; the listing is searched for an earlier upload of them first."""
        self._tree.update(
            ino, size=file.size, mtime_ns=file.mtime_ns,
            **ContentLifecycle.returned(file.generation)._asdict(),
        )  # fmt: skip
        inode = self._planner.closed(ino)
        # The clock may have been set back since: bytes that are later than their close would count as written again.
        inode = self._tree.update(ino, closed_ns=max(inode.closed_ns, file.mtime_ns))
        name, intent = self._paths.remote_name(inode), self._journal.of_inode(ino)
        if name is not None and intent is not None:
            # By the service's clock, and not older than its bytes: an earlier version of the same length is not taken
            # for it.
            newest_ns = file.mtime_ns + self._last_run.ahead_ns + OVERLAP_NS
            attempt = Attempt(name, file.size, file.mtime_ns, newest_ns, inode.content_gen)
            self._journal.begin_attempt(intent.seq, attempt)

    def _place(self, label: Label) -> tuple[int, str]:
        """Return the folder and the name for a file; makes missing folders, and goes below `recovered` if taken."""
        *folders, name = label.path.split("/")
        for component in (*folders, name):
            names.check_component(component.encode())
        if (*folders, name)[0] == names.RESERVED:
            raise AccessDenied(f"{names.RESERVED} at the root belongs to remotefs")
        parent = self._folder(ROOT_INO, folders, label)
        if parent is None or self._tree.lookup(parent, name) is not None:
            parent = self._folder(ROOT_INO, [RECOVERED, *folders], label)
        if parent is None or self._tree.lookup(parent, name) is not None:
            name = f"{name[:200]}.{time.time_ns()}"
            parent = parent or ROOT_INO
        return parent, name

    def _folder(self, parent: int, folders: list[str], label: Label) -> int | None:
        """Return the folder of that path, made if missing; None if something else is in the way."""
        for name in folders:
            found = self._tree.lookup(parent, name)
            if found is None:
                found = self._tree.create(
                    parent, name, stat.S_IFDIR | 0o755, uid=label.uid, gid=label.gid, now_ns=time.time_ns()
                )
            if not found.is_dir:
                return None
            parent = found.ino
        return parent

    def _keep(self, file: StagedName, label: Label | NoLabel) -> None:
        path = label.path if isinstance(label, Label) else f"unnamed {file.inode}-{file.generation}"
        kept = self._trash.put(
            self._staging.place(file.inode, file.generation), path=path, file_id="", size=file.size, mode=0o600,
            mtime_ns=file.mtime_ns, reason=LOST_RECORD, kept=True,
        )  # fmt: skip
        self._staging.discard(file.inode, file.generation)
        _log.warning("%s: %s; its bytes are number %d of `remotefs trash list`", path, LOST_RECORD, kept.number)
