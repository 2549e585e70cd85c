"""`remotefs check --repair`: putting findings right, never at the cost of bytes that may exist nowhere else."""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from remotefs.check.findings import Finding, Kind
from remotefs.errors import RemotefsError
from remotefs.mount.assembly import Components
from remotefs.store.audit import Name, RowRepair
from remotefs.store.records import ROOT_INO, ContentState, Inode

_log = logging.getLogger(__name__)
# Where things go that have lost their place.
RECOVERED = "recovered"


class Repair:
    """One method a kind of finding. Invariant: no await in here, so that what was found is still so after a look."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._rows = RowRepair(parts.database)
        self._by_kind: Mapping[Kind, Callable[[Finding], bool]] = {
            Kind.NAME_OF_NOTHING: self._drop_name,
            Kind.NAME_IN_NOTHING: self._drop_name,
            Kind.WRONG_LINKS: self._count_links,
            Kind.WRONG_PARENT: self._correct_parent,
            Kind.UNREACHABLE: self._give_name,
            Kind.NEVER_SENT: self._send,
            Kind.STRAY_STAGED: self._trash_staged,
            Kind.UNKNOWN_ID: self._send_again,
            Kind.GIVEN_UP_ID: self._restore,
            Kind.WRONG_INODE: self._show_again,
            Kind.STRAY_CONTENT: self._give_up_content,
            Kind.STRAY_BYTES: self._trash_stray_bytes,
            Kind.NOT_PINNED: self._pin,
            Kind.STRAY_INTENT: self._drop_intent,
            Kind.LEFT_REMOTE: self._delete,
        }

    def put_right(self, findings: Iterable[Finding]) -> list[Finding]:
        """Repair what can be repaired and return those findings; look again afterwards, as one may hide another."""
        return [finding for finding in findings if self._is_put_right(finding)]

    def _is_put_right(self, finding: Finding) -> bool:
        repair = self._by_kind.get(finding.kind)
        try:
            return repair is not None and repair(finding)
        except (RemotefsError, OSError) as error:
            _log.warning("%s, %s: not repaired: %s", finding.path, finding.kind, error)
            return False

    # -- the tree

    def _drop_name(self, finding: Finding) -> bool:
        name = finding.path.rpartition("/")[2]
        for row in self._names_of(finding.ino):
            if row.name == name and (finding.kind is Kind.NAME_OF_NOTHING or row.parent == finding.number):
                self._rows.drop_name(row)
                self._parts.notifier.entry(row.parent, row.name)
                return True
        return False

    def _count_links(self, finding: Finding) -> bool:
        self._rows.set_nlink(finding.ino, finding.number)
        self._parts.notifier.inode(finding.ino)
        return True

    def _correct_parent(self, finding: Finding) -> bool:
        first, *others = self._names_of(finding.ino)
        for name in others:
            self._rows.drop_name(name)
        self._rows.set_parent(finding.ino, first.parent)
        return True

    def _give_name(self, finding: Finding) -> bool:
        inode = self._parts.tree.find(finding.ino)
        if inode is None:
            return False
        folder = self._recovered()
        name = Name(folder.ino, str(inode.ino), inode.ino)
        with self._parts.database.transaction():
            for old in self._names_of(inode.ino):
                self._rows.drop_name(old)
            self._rows.add_name(name)
            self._rows.set_nlink(inode.ino, 2 + self._folders_in(inode.ino) if inode.is_dir else 1)
            if inode.is_dir:
                self._rows.set_parent(inode.ino, folder.ino)
                self._rows.set_nlink(folder.ino, 2 + self._folders_in(folder.ino))
        self._parts.notifier.entry(folder.ino, name.name)
        return True

    def _recovered(self) -> Inode:
        tree = self._parts.tree
        found, root = tree.lookup(ROOT_INO, RECOVERED), tree.get(ROOT_INO)
        if found is not None and found.is_dir:
            return found
        name = RECOVERED if found is None else f"{RECOVERED}-{time.time_ns()}"
        mode = stat.S_IFDIR | 0o700
        made = tree.create(ROOT_INO, name, mode, uid=root.uid, gid=root.gid, now_ns=time.time_ns())
        self._parts.notifier.entry(ROOT_INO, name)
        return made

    def _names_of(self, ino: int) -> list[Name]:
        return [Name(parent, name, ino) for parent, name in self._parts.tree.names_of(ino)]

    def _folders_in(self, ino: int) -> int:
        count, after = 0, 0
        while page := self._parts.tree.entries(ino, after=after):
            count += sum(entry.is_dir for entry in page)
            after = page[-1].cookie
        return count

    # -- bytes

    def _trash_staged(self, finding: Finding) -> bool:
        staged = self._parts.staging.open(finding.ino, finding.number)
        staged.close()
        self._trash(staged.path, finding)
        self._parts.staging.discard(finding.ino, finding.number)
        return True

    def _give_up_content(self, finding: Finding) -> bool:
        if self._parts.content.is_pinned(finding.file_id):
            self._trash(self._parts.content.where(finding.file_id), finding)
        self._parts.content.remove(finding.file_id)
        return True

    def _trash_stray_bytes(self, finding: Finding) -> bool:
        self._trash(self._parts.content.where(finding.file_id), finding)
        self._parts.content.remove(finding.file_id)
        return True

    def _trash(self, source: Path, finding: Finding) -> None:
        """Keep bytes of unknown origin in the trash, for a person to look at."""
        if not source.exists():
            return
        status = source.stat()
        self._parts.trash.put(
            source, path=f"{RECOVERED}/{finding.file_id or finding.ino}", file_id=finding.file_id, size=status.st_size,
            mode=0o600, mtime_ns=status.st_mtime_ns, reason=finding.kind.value,
        )  # fmt: skip

    def _pin(self, finding: Finding) -> bool:
        if not self._parts.content.has_all(finding.file_id):
            return False
        self._parts.content.pin(finding.file_id)
        return True

    # -- remote files and pending work

    def _send(self, finding: Finding) -> bool:
        self._parts.intents.planner.schedule(self._parts.tree.get(finding.ino))
        return True

    def _send_again(self, finding: Finding) -> bool:
        """Upload a staged file as a new one. Return False where its bytes are not here."""
        inode = self._parts.tree.get(finding.ino)
        if inode.staged_gen is None and inode.size:
            return False
        with self._parts.database.transaction():
            self._rows.unbind(inode.ino)
            if inode.state == ContentState.CLEAN:
                self._parts.intents.planner.closed(inode.ino)
        return True

    def _restore(self, finding: Finding) -> bool:
        with self._parts.database.transaction():
            self._parts.remotes.restore(finding.file_id)
            self._parts.remotes.show(finding.file_id, finding.ino)
        return True

    def _show_again(self, finding: Finding) -> bool:
        """Bind a remote file to the one inode that refers to it; to none where none does, for the next listing."""
        holders = [inode.ino for inode in self._parts.tree.holders(finding.file_id) if inode.nlink]
        with self._parts.database.transaction():
            self._parts.remotes.show(finding.file_id, holders[0] if holders else None)
        self._parts.refresh.wake()
        return len(holders) <= 1

    def _drop_intent(self, finding: Finding) -> bool:
        intent = self._parts.journal.find(finding.number)
        if intent is None:
            return False
        with self._parts.database.transaction():
            self._parts.intents.freed_ids.cancel(intent)
        return True

    def _delete(self, finding: Finding) -> bool:
        self._parts.journal.put_delete(finding.file_id, due_ns=self._parts.clock())
        self._parts.wakeup.set()
        return True
