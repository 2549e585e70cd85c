"""Pending changes as a person sees them, and waiting until the service has them: for `status`, `flush`, `id`, `umount`.

`flush` and `id` wait for the files of a path, `umount` for all. A file that a program has written to and not closed
yet is closed first, as its last close would do it: then there is an upload to wait for.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from remotefs.api.budget import Budget
from remotefs.api.connectivity import Connectivity
from remotefs.control.messages.base import Draining, DrainResult, Leftover, Report
from remotefs.data.files.writer import FileWriter
from remotefs.data.intents.paths import InodePaths
from remotefs.data.share.contents import SharedContents
from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.drainer import Drainer, Left
from remotefs.data.writeback.failures import Failures
from remotefs.errors import NotFound, RemotefsError
from remotefs.mount.commands.eta import Eta
from remotefs.mount.commands.lookup import NAMED
from remotefs.store.records import ContentState, Inode, Intent, Share, ShareState
from remotefs.store.store import Store


class PendingReasons:
    """Explains why an intent is not carried out yet."""

    def __init__(
        self,
        store: Store,
        paths: InodePaths,
        failures: Failures,
        closer: Closer,
        connectivity: Connectivity,
        shared: SharedContents,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._shares = store.shares
        self._shared = shared
        self._paths = paths
        self._failures = failures
        self._closer = closer
        self._connectivity = connectivity

    def path(self, intent: Intent) -> str:
        """Return the path of the file that an intent is about, or its id."""
        return self._paths.describe(intent)

    def shown(self, inode: Inode) -> str:
        """Return the path of a file, for people."""
        return self._paths.shown(inode)

    def failed(self, at_most: int) -> list[Leftover]:
        """Return at most `at_most` changes whose attempt, or the close before it, has failed, the oldest first."""
        unclosed = [self._journal.of_inode(ino) for ino in self._closer.failing]
        found = {i.seq: i for i in [*self._failures.failed(at_most), *filter(None, unclosed)]}
        return [self.leftover(found[seq]) for seq in sorted(found)[:at_most]]

    def leftover(self, intent: Intent) -> Leftover:
        """Return the path of an intent with the reason why it is still pending."""
        known = self._unclosed(intent) or self._failures.reason(intent)
        reason = known or self._connectivity.statistics().reason or "pending"
        return Leftover(path=self.path(intent), reason=reason)

    def unshared_count(self) -> int:
        """Return the number of uploads that the shared store does not have yet; 0 where there is none."""
        return self._shared.missed_count()

    def is_any_awaited(self) -> bool:
        """Return whether anything is on its way into the shared store."""
        return self._shared.is_any_awaited()

    def unshared(self, at_most: int, *, failed_only: bool = False) -> list[Leftover]:
        """Return at most `at_most` of the uploads that the shared store does not have yet, with the reasons."""
        if not self._shared.is_configured:
            return []
        waiting = [share for share in self._shares.waiting(at_most) if share.reason is not None or not failed_only]
        return [Leftover(path=self._paths.of_id(share.file_id), reason=self._why_unshared(share)) for share in waiting]

    def unshared_of(self, inos: Iterable[int]) -> list[Leftover]:
        """Return those of some inodes that the shared store does not have yet, with the reasons."""
        if not self._shared.is_configured:
            return []
        inodes = filter(None, map(self._tree.find, inos))
        shares = [(inode, self._shares.find(inode.file_id)) for inode in inodes if inode.file_id]
        return [
            Leftover(path=self._paths.shown(inode), reason=self._why_unshared(share))
            for inode, share in shares
            if share is not None and share.state == ShareState.WAITING
        ]

    def _why_unshared(self, share: Share) -> str:
        trouble = self._shared.connection.trouble if self._shared.connection is not None else None
        return share.reason or f"not in the shared store yet: {trouble or 'it is on its way'}"

    def _unclosed(self, intent: Intent) -> str | None:
        reason = self._closer.reason(intent.ino) if intent.ino is not None else None
        return f"it could not be closed: {reason}" if reason else None


class Drain:
    """Waits until the service has what was written."""

    def __init__(
        self,
        store: Store,
        writer: FileWriter,
        closer: Closer,
        drainer: Drainer,
        budget: Budget,
        reasons: PendingReasons,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._renames = store.renames
        self._writer = writer
        self._closer = closer
        self._drainer = drainer
        self._budget = budget
        self._reasons = reasons

    async def close_dirty(self, files: list[Inode]) -> None:
        """Close those of the files that are being written, so that their uploads become due."""
        for file in files:
            if file.state == ContentState.CLEAN:
                continue
            try:
                await self._writer.close(file.ino)
            except NotFound:  # gone while others were closed
                continue
            except (RemotefsError, OSError) as error:
                self._closer.failed(file.ino, error)

    async def run(
        self, timeout_s: float, report: Report, inos: set[int] | None = None, *, with_attributes: bool = False
    ) -> DrainResult:
        """Wait at most `timeout_s` for the intents of `inos`, of all inodes where that is None. Return what is left.

        `with_attributes` waits for changed attributes, too, as for all inodes.
        """
        eta = Eta(self._journal.count(), trio.current_time())

        def report_left(left: Left) -> None:
            path = self._reasons.path(left.first) if left.first is not None else None
            eta_s = eta.seconds(left.intents, trio.current_time(), least_s=self._budget.pace_s(left.requests))
            report(Draining(left=left.intents, path=path, eta_s=eta_s))

        left = await self._drainer.drain(timeout_s, inos, report_left, with_attributes=with_attributes)
        leftovers = [self._reasons.leftover(intent) for intent in left[:NAMED]] + self._not_followed()
        count = len(left) + self._renames.count()
        if inos is None:
            leftovers += self._reasons.unshared(NAMED)
            count += self._reasons.unshared_count()
        else:
            unshared = self._reasons.unshared_of(inos)
            leftovers += unshared[:NAMED]
            count += len(unshared)
        return DrainResult(left=count, leftovers=tuple(leftovers[:NAMED]))

    def may_go_on(self) -> bool:
        """Return whether waiting longer may help: no, if all that is left waits for a store that does not take it."""
        return bool(self._journal.count() or self._renames.count() or self._reasons.is_any_awaited())

    def _not_followed(self) -> list[Leftover]:
        reason = "it was renamed, and its files have not all followed"
        paths = [path for ino in self._renames.folders(NAMED) for path in self._tree.paths_of(ino)]
        return [Leftover(path=path, reason=reason) for path in paths]
