"""Ids to which nothing here refers any more: each is deleted, but never before its replacement is up (S3, W5).

A freed id goes behind the upload that replaces it, if one is pending: the intent's `replaces` lists it, and it is freed
again once that upload is confirmed. Any other id gets a DELETE of its own, which waits a moment. A file that takes its
path meanwhile, and is to be uploaded, is its successor, and takes the id behind its own upload.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from remotefs import names
from remotefs.data.intents.due_times import DueTimes
from remotefs.data.intents.garbage import Garbage
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.paths import InodePaths
from remotefs.data.kernel import Usage, is_referred
from remotefs.store.journal import Journal
from remotefs.store.records import NEVER_NS, ContentState, Inode, Intent, IntentKind, Remote
from remotefs.store.store import Store

# A file may have 65,000 names. Of so many of them the ids that were removed under them go after its upload (W5).
_NAMES_THAT_SUCCEED = 100


class FreedIds:
    """Turns freed ids into DELETEs, or puts them behind the upload that replaces them."""

    def __init__(
        self,
        store: Store,
        paths: InodePaths,
        garbage: Garbage,
        due_times: DueTimes,
        usage: Usage,
        in_flight: UploadsInFlight,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._paths = paths
        self._garbage = garbage
        self._due_times = due_times
        self._usage = usage
        self._in_flight = in_flight

    def free(
        self,
        file_ids: Iterable[str],
        *,
        replaced_by: int | None = None,
        confirmed: int | None = None,
        path: str | None = None,
    ) -> None:
        """Let the service delete ids to which nothing here refers, because the user unlinked or replaced them (S3).

        The inode `replaced_by` will take their place at the service, `confirmed` has done so; without either, a file
        that comes to have their `path` may.
        """
        due_ns = self._due_times.of_delete(is_replaced=confirmed is not None)
        for file_id in file_ids:
            remote = self._remotes.find(file_id)
            if remote is None or is_referred(file_id, self._tree, self._usage):
                continue
            self._remotes.tombstone(file_id)
            self._garbage.drop_content(file_id)
            pending = self._replacement(remote, replaced_by)
            if pending is not None:
                self._journal.add_replaces(pending.seq, [file_id])
            else:
                self._journal.put_delete(file_id, due_ns=due_ns, held_by=confirmed, path=path)

    def cancel(self, intent: Intent) -> None:
        """Remove an upload that is not to be sent, and free the ids that it was to replace."""
        self._journal.remove(intent.seq)
        self.free(intent.replaces)

    def put_behind_upload_of(self, inode: Inode) -> None:
        """Put ids behind the inode's upload that were removed under one of its names and are not deleted yet (W5)."""
        if not self._journal.has_deletes() or self._paths.is_local(inode):
            return
        removed = self._removed(islice(self._tree.each_path_of(inode.ino), _NAMES_THAT_SUCCEED))
        pending = pending_upload(self._journal, inode) if removed else None
        if pending is None:
            return
        with self._db.transaction():
            self._journal.add_replaces(pending.seq, removed)
            for intent in removed.values():
                self._journal.remove(intent.seq)

    def _removed(self, paths: Iterable[str]) -> dict[str, Intent]:
        """Return by id the DELETEs, not under way, of files that had one of the paths here or at the service."""
        found: list[Intent] = []
        for path in paths:
            found += self._journal.deletes_at(path)
            namesakes = [remote for remote in self._remotes.named(names.remote_name(path)) if remote.tombstoned]
            found += filter(None, (self._journal.delete_of(remote.file_id) for remote in namesakes))
        # A DELETE with an inode is of a file whose place is taken already: that inode's open handles hold it back.
        return {
            i.file_id: i for i in found if i.file_id and i.ino is None and not self._in_flight.is_deleting(i.file_id)
        }

    def _replacement(self, remote: Remote, replaced_by: int | None) -> Intent | None:
        """Return the pending upload that takes the remote file's place: named by a rename, or else by its path."""
        if replaced_by is not None:
            successor = self._tree.find(replaced_by)
        else:
            path = names.decode(remote.filename)
            successor = self._tree.resolve(path) if path else None
        if successor is None or successor.nlink == 0 or self._paths.is_local(successor):
            return None
        return pending_upload(self._journal, successor)


def pending_upload(journal: Journal, inode: Inode) -> Intent | None:
    """Return the intent that will bind the inode's bytes to a new id; a dirty file gets one if it has none."""
    pending = journal.of_inode(inode.ino)
    if pending is None and inode.state == ContentState.DIRTY:
        # The file got its name before its close: that close will make this upload due.
        pending = journal.put(IntentKind.UPLOAD, inode.ino, due_ns=NEVER_NS)
    return pending
