"""What a change of the tree means for the service: the intents that commit together with it.

Synchronous and inside the caller's transaction. The rules, in the words of the contract:

* the bytes of a closed file go up under the name that its path has when they are sent (W2, W7);
* an id is freed when nothing here refers to it any more. A freed id goes behind the upload that replaces it, if one is
  pending, and else gets a DELETE of its own (W5, S5). That waits a moment: what takes the path meanwhile and is to be
  uploaded is a successor, and takes the id behind its upload;
* a file of ours whose path no longer says its remote name is uploaded again under the new one (REUPLOAD, W7).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from remotefs import names
from remotefs.backoff import backoff_s
from remotefs.config import WritebackConfig
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.data.kernel import Usage, is_referred
from remotefs.store.records import NEVER_NS, ContentState, Inode, Intent, IntentKind, Origin, Remote
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup

_NS = 1_000_000_000
# A change that the service refused is tried again at least once an hour.
REFUSED_LONGEST_S = 3600.0


class Naming(Protocol):
    """The two lists of N6."""

    def never_uploaded(self, path: str) -> bool:
        """Whether a file of that path stays on this machine."""
        ...

    def temporary(self, name: str) -> bool:
        """Whether a name has a temporary shape."""
        ...


class Holdings(Protocol):
    """Which bytes are here."""

    def has_all(self, file_id: str) -> bool:
        """Whether the whole content of a remote file is on this disk."""
        ...


class Labelling(Protocol):
    """What lies with the bytes and says whose they are."""

    def write(self, inode: Inode, path: str) -> None:
        """Label the bytes of an inode."""
        ...

    def void(self, inode: Inode) -> None:
        """The user has given an inode's bytes up; inside a transaction."""
        ...

    def void_staged(self, ino: int, generation: int) -> None:
        """Nobody needs a staged file; inside a transaction."""
        ...


class IntentPlanner:
    """Turns changes of the tree into intents; `wakeup` is rung when there is something to do.

    `clock` gives the time that due times are told by, in ns since the epoch.
    """

    def __init__(
        self,
        store: Store,
        holdings: Holdings,
        naming: Naming,
        usage: Usage,
        config: WritebackConfig,
        wakeup: Wakeup,
        in_flight: UploadsInFlight,
        clock: Callable[[], int],
        labels: Labelling,
        churn: Churn,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._holdings = holdings
        self._naming = naming
        self._usage = usage
        self._config = config
        self._wakeup = wakeup
        self._in_flight = in_flight
        self._clock = clock
        self._labels = labels
        self._churn = churn
        self._garbage: list[str] = []
        self._staged_garbage: list[tuple[int, int]] = []
        # How many blocks keep the garbage from being taken.
        self._holders = 0

    # -- names

    def path(self, inode: Inode) -> str | None:
        """The path that counts: the oldest ordinary one, else the oldest that is uploaded, else the oldest (N6).

        None once unlinked.
        """
        paths = self._tree.paths_of(inode.ino)
        uploaded = [path for path in paths if not self._stays_here(path)]
        ordinary = [path for path in uploaded if not self._naming.temporary(_last(path))]
        return next(iter(ordinary or uploaded or paths), None)

    def remote_name(self, inode: Inode) -> str | None:
        """The remote filename that the inode's path asks for; a twin's spelling asks for the plain name (N3)."""
        path = self.path(inode)
        if path is None:
            return None
        bound = self._remotes.find(inode.file_id) if inode.conflict_id and inode.file_id else None
        if bound is not None and names.decode(bound.asked_name) is not None:
            return bound.asked_name
        return names.remote_name(path).name

    def is_local(self, inode: Inode) -> bool:
        """Whether the inode's bytes stay on this machine (N6)."""
        path = self.path(inode)
        return path is None or self._stays_here(path)

    def is_temporary(self, inode: Inode) -> bool:
        """Whether its name is of temporary shape (N6)."""
        path = self.path(inode)
        return path is not None and self._naming.temporary(_last(path))

    def is_alias(self, inode: Inode) -> bool:
        """Whether a bound file's path is not the one that its remote name says."""
        if inode.conflict_id is not None:
            return False
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        return remote is not None and remote.asked_name != self.remote_name(inode)

    def may_be_rebound(self, ino: int) -> bool:
        """Whether an upload of the inode was begun whose end is not known: it may bind an earlier version (W6)."""
        intent = self._journal.of_inode(ino)
        return intent is not None and intent.attempt is not None

    def is_upload_wanted(self, ino: int) -> bool:
        """Whether an upload of the inode is pending."""
        intent = self._journal.of_inode(ino)
        return intent is not None and intent.kind is IntentKind.UPLOAD

    def is_put_off(self, intent: Intent, due_ns: int) -> bool:
        """Whether an intent that was due at `due_ns` has got a later time since, which has not come yet."""
        return intent.due_ns > max(due_ns, self._clock())

    def _stays_here(self, path: str) -> bool:
        return self._naming.never_uploaded(path)

    # -- what happened

    def reupload(self, ino: int) -> None:
        """The user wants the service to follow a rename whatever it costs (`remotefs sync`, W7).

        Bytes that are to be uploaded anyway go up under the new name by themselves.
        """
        inode = self._tree.find(ino)
        if inode is not None and inode.state == ContentState.CLEAN and inode.nlink > 0 and self.is_alias(inode):
            self._journal.put(IntentKind.REUPLOAD, ino, due_ns=self._clock())
            self._wakeup.set()

    def closed(self, ino: int) -> Inode:
        """New content was closed: it is to be uploaded."""
        with self._db.transaction():
            life = ContentLifecycle.of(self._tree.get(ino)).closed()
            inode = self._tree.update(ino, closed_ns=time.time_ns(), **life._asdict())
            self.schedule(inode)
        return inode

    def dirtied(self, ino: int) -> None:
        """A file is written to: what was to be sent is no longer what it holds, and what it holds is to be sent."""
        self.label(self._tree.get(ino))
        intent = self._journal.of_inode(ino)
        if intent is None:
            self.schedule(self._tree.get(ino))
        elif self._churn.is_frozen(ino):
            # What it held is kept, and is sent whatever it holds; after a failure when its time has come.
            if intent.reason is None:
                self._journal.reschedule(intent.seq, due_ns=self._clock())
                self._wakeup.set()
        elif intent.due_ns != NEVER_NS:
            self._journal.reschedule(intent.seq, due_ns=NEVER_NS)

    def label(self, inode: Inode) -> None:
        """Bring what lies with the bytes of an inode in line with its names."""
        path = self.path(inode)
        if path is not None:
            self._labels.write(inode, path)

    def schedule(self, inode: Inode, *, reupload: bool | None = None) -> None:
        """Bring the inode's intent in line with its state and its names; after a close, a rename, a link, an unlink."""
        if not inode.is_file or inode.nlink == 0:
            return
        self.label(inode)
        intent = self._journal.of_inode(inode.ino)
        if self.is_local(inode):
            # What has not gone out entirely does not.
            self._in_flight.cancel(inode.ino)
            if intent is not None and intent.attempt is None:
                self._cancel(intent)
        elif inode.state == ContentState.CLOSED:
            if not self._is_retrying(intent):
                self._journal.put(IntentKind.UPLOAD, inode.ino, due_ns=self._clock() + self._left_ns(inode))
        elif inode.state == ContentState.CLEAN:
            self._reupload(inode, intent, wanted=self._may(inode, reupload))
        else:
            # Its next close makes it due; until then the row says that something is left to do.
            self._pending_upload(inode)
        self._succeed(inode)
        self._wakeup.set()

    def may_reupload(self, files: Iterable[Inode]) -> bool:
        """Whether renaming these together stays within W7's limits: every one of ours among them goes up again."""
        ours = [file for file in files if self._wants_relabel(file)]
        total = sum(file.size for file in ours)
        return len(ours) <= self._config.reupload_max_files and total <= self._config.reupload_max_bytes

    def replaced(self, old: Inode, ino: int) -> None:
        """`ino` took the last name of `old`: what `old` held goes once `ino` is confirmed."""
        if old.nlink == 0 and old.is_file:
            old = self._tree.update(old.ino, replaced_by=ino)
        self.unlinked(old)

    def unlinked(self, inode: Inode, *, path: str | None = None) -> None:
        """A name was taken from the inode; `path` is where it was."""
        if inode.nlink > 0:
            self.schedule(inode)
            return
        with self._db.transaction():
            # Nothing will name it again: what has not gone out entirely does not (W9).
            self._labels.void(inode)
            self._in_flight.cancel(inode.ino)
            if not self._usage.is_open(inode.ino):
                self.release(inode, path=path)
            elif (intent := self._journal.of_inode(inode.ino)) is not None and intent.attempt is None:
                self._journal.remove(intent.seq)
                self.free(intent.replaces, replaced_by=inode.replaced_by, path=path)

    def release(self, inode: Inode, *, path: str | None = None) -> None:
        """Nothing names the inode and nobody has it open: free what it holds (S5)."""
        with self._db.transaction():
            intent = self._journal.of_inode(inode.ino)
            if intent is not None and intent.attempt is not None:
                # Its reply is awaited first, for that id has to go too (W9).
                return
            freed = self._held_by(inode)
            if intent is not None:
                freed += intent.replaces
                self._journal.remove(intent.seq)
            if inode.staged_gen is not None:
                self.drop_staged(inode.ino, inode.staged_gen)
            inode = self._tree.update(inode.ino, file_id=None, staged_gen=None)
            self.free(freed, replaced_by=inode.replaced_by, path=path)
            if not self._usage.is_known(inode.ino):
                self._tree.forget(inode.ino)
        self._wakeup.set()

    def _held_by(self, inode: Inode) -> list[str]:
        """The id that goes with the inode; one that was taken out of the tree is not the user's doing and stays."""
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if inode.file_id is not None and (remote is None or remote.ino != inode.ino):
            self.drop_content(inode.file_id)
            return []
        return [inode.file_id] if inode.file_id else []

    def free(
        self,
        file_ids: Iterable[str],
        *,
        replaced_by: int | None = None,
        confirmed: int | None = None,
        path: str | None = None,
    ) -> None:
        """Nothing here refers to these ids any more, because the user unlinked or replaced them (S3).

        The inode `replaced_by` will take their place at the service, `confirmed` has done so; else what comes to have
        their `path` may.
        """
        due_ns = self._clock() + (0 if confirmed is not None else int(self._config.delete_wait_s * _NS))
        for file_id in file_ids:
            remote = self._remotes.find(file_id)
            if remote is None or is_referred(file_id, self._tree, self._usage):
                continue
            self._remotes.tombstone(file_id)
            self._garbage.append(file_id)
            pending = self._replacement(remote, replaced_by)
            if pending is not None:
                self._journal.add_replaces(pending.seq, [file_id])
            else:
                self._journal.put_delete(file_id, due_ns=due_ns, held_by=confirmed, path=path)

    def bound(self, ino: int, remote: Remote, generation: int) -> None:
        """The service has confirmed an upload of the inode's bytes as they were at `generation`."""
        with self._db.transaction():
            self._remotes.add(remote)
            inode, intent = self._tree.find(ino), self._journal.of_inode(ino)
            if inode is None or intent is None:
                self.free([remote.file_id])
                return
            before = inode.file_id
            life = ContentLifecycle.of(inode).confirmed(generation)
            inode = self._tree.update(ino, file_id=remote.file_id, **life._asdict())
            self._remotes.show(remote.file_id, ino)
            freed = [*intent.replaces, *self._given_up(before, relabelled=intent.kind is IntentKind.REUPLOAD)]
            self._journal.remove(intent.seq)
            self.free(freed, confirmed=ino)
            if inode.nlink == 0:
                self.unlinked(inode)
            else:
                self.schedule(inode)

    def drop_content(self, file_id: str) -> None:
        """The content of an id may be removed from this disk."""
        self._garbage.append(file_id)
        self._wakeup.set()

    def drop_staged(self, ino: int, generation: int) -> None:
        """A staged file may be removed: its row lets go of it, in this transaction or an earlier one."""
        with self._db.transaction():
            self._labels.void_staged(ino, generation)
        self._staged_garbage.append((ino, generation))
        self._wakeup.set()

    @property
    def has_garbage(self) -> bool:
        """Whether there is something to take."""
        return bool(self._garbage or self._staged_garbage) and not self._holders

    @contextmanager
    def holding_garbage(self) -> Iterator[None]:
        """Give nothing up while the block lasts: what goes meanwhile can be taken after it."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            self._wakeup.set()

    def take_garbage(self) -> tuple[list[str], list[tuple[int, int]]]:
        """What was given up since the last call: ids whose content may go, and (inode, generation) of staged files.

        Their transactions may still be undone, by a power cut or because they never commit.
        """
        if self._holders:
            return [], []
        garbage, self._garbage = self._garbage, []
        staged, self._staged_garbage = self._staged_garbage, []
        return garbage, staged

    def give_garbage_back(self, garbage: list[str], staged: list[tuple[int, int]]) -> None:
        """What was taken could not be removed yet."""
        self._garbage += garbage
        self._staged_garbage += staged

    def resume(self) -> None:
        """Take over the intents of an earlier run, whose due times another clock told, maybe a wrong one.

        None waits longer than it would if it had been scheduled, or had failed, just now; and no handle that held a
        DELETE back is open any more.
        """
        waits = self._config
        longest_s = max(
            waits.upload_delay_s,
            waits.empty_grace_s,
            waits.temporary_grace_s,
            waits.reupload_wait_s,
            waits.delete_wait_s,
        )
        now = self._clock()
        for intent in self._journal.pending():
            wait_s = longest_s if intent.reason is None else backoff_s(1.0, REFUSED_LONGEST_S, intent.tries)
            latest_ns = now + int(wait_s * _NS)
            if latest_ns < intent.due_ns and (intent.due_ns < NEVER_NS or intent.kind is IntentKind.DELETE):
                self._journal.reschedule(intent.seq, due_ns=latest_ns)

    # -- rules

    def _is_retrying(self, intent: Intent | None) -> bool:
        """Whether what goes first is frozen and was tried in vain: a close is no reason to try again sooner."""
        return intent is not None and intent.reason is not None and self._churn.is_frozen(intent.ino or 0)

    def _left_ns(self, inode: Inode) -> int:
        """Return what is left of the wait that began with the last close, whatever the wall clock did since."""
        delay_ns = self._delay_ns(inode)
        return min(max(delay_ns - (time.time_ns() - inode.closed_ns), 0), delay_ns)

    def _delay_ns(self, inode: Inode) -> int:
        if self.is_temporary(inode):
            return int(self._config.temporary_grace_s * _NS)
        if inode.size == 0:
            return int(self._config.empty_grace_s * _NS)
        delay_s = self._config.upload_delay_s if self._config.durability == "local" else 0.0
        return int(max(delay_s, self._churn.delay_s(inode.ino)) * _NS)

    def _may(self, inode: Inode, reupload: bool | None) -> bool:
        return self._wants_relabel(inode) and (self.may_reupload([inode]) if reupload is None else reupload)

    def _wants_relabel(self, inode: Inode) -> bool:
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if remote is None or remote.origin != Origin.OURS:
            return False
        here = inode.staged_gen is not None or inode.size == 0 or self._holdings.has_all(remote.file_id)
        return here and remote.asked_name != self.remote_name(inode)

    def _reupload(self, inode: Inode, intent: Intent | None, *, wanted: bool) -> None:
        if wanted:
            self._journal.put(
                IntentKind.REUPLOAD, inode.ino, due_ns=self._clock() + int(self._config.reupload_wait_s * _NS)
            )
        elif intent is not None and intent.attempt is None:
            self._cancel(intent)

    def _cancel(self, intent: Intent) -> None:
        self._journal.remove(intent.seq)
        self.free(intent.replaces)

    def _given_up(self, file_id: str | None, *, relabelled: bool) -> list[str]:
        """The id that an upload takes the place of; W8 keeps somebody else's original beside an edit of it.

        It stays in any case where replies gave less than was listed: the edit may be one of an error's text.
        """
        remote = self._remotes.find(file_id) if file_id else None
        if remote is None:
            return []
        edited_original = remote.origin == Origin.FOREIGN and remote.downloadable and not relabelled
        if edited_original and (not self._config.replace_downloadable or remote.size < remote.size_as_listed):
            self._remotes.show(remote.file_id, None)
            return []
        return [remote.file_id]

    def _succeed(self, inode: Inode) -> None:
        """What was removed under one of the inode's names, and is not deleted yet, waits for its upload (W5)."""
        if not self._journal.has_deletes() or self.is_local(inode):
            return
        removed = self._removed(self._tree.paths_of(inode.ino))
        pending = self._pending_upload(inode) if removed else None
        if pending is None:
            return
        with self._db.transaction():
            self._journal.add_replaces(pending.seq, removed)
            for intent in removed.values():
                self._journal.remove(intent.seq)

    def _removed(self, paths: Iterable[str]) -> dict[str, Intent]:
        """By id the DELETEs, not under way, of files that had one of the paths here or have it at the service."""
        found: list[Intent] = []
        for path in paths:
            found += self._journal.deletes_at(path)
            namesakes = [remote for remote in self._remotes.named(names.remote_name(path).name) if remote.tombstoned]
            found += filter(None, (self._journal.delete_of(remote.file_id) for remote in namesakes))
        # One with an inode is of a file whose place is taken already: that inode's open handles hold it back.
        return {
            i.file_id: i for i in found if i.file_id and i.ino is None and not self._in_flight.is_deleting(i.file_id)
        }

    def _pending_upload(self, inode: Inode) -> Intent | None:
        """The intent that will bind the inode's bytes to a new id."""
        pending = self._journal.of_inode(inode.ino)
        if pending is None and inode.state == ContentState.DIRTY:
            # Given its name before its close: that close will make this upload due.
            pending = self._journal.put(IntentKind.UPLOAD, inode.ino, due_ns=NEVER_NS)
        return pending

    def _replacement(self, remote: Remote, replaced_by: int | None) -> Intent | None:
        """The pending upload that takes the remote file's place: named by a rename, or else by its path."""
        if replaced_by is not None:
            heir = self._tree.find(replaced_by)
        else:
            path = names.decode(remote.filename)
            heir = self._tree.resolve(path) if path else None
        if heir is None or heir.nlink == 0 or self.is_local(heir):
            return None
        return self._pending_upload(heir)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
