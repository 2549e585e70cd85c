"""`remotefs status`, `flush` and `retry`. `status` waits for nobody: people call it when things go wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import trio

from remotefs import __version__
from remotefs.control.messages.base import Command, Count, DrainResult, Nothing, Report
from remotefs.control.messages.status import (
    FLUSH,
    RETRY,
    STATUS,
    ContentUse,
    ExpiringFiles,
    FailedRequest,
    FlushParams,
    InMemory,
    PathParams,
    PendingKind,
    Requests,
    SharedUse,
    Status,
    TaskFailed,
    Uploading,
)
from remotefs.data.writeback.drainer import Drainer
from remotefs.mount.assembly import Components
from remotefs.mount.commands.lookup import NAMED, files_at
from remotefs.mount.commands.pending import Drain, PendingReasons
from remotefs.mount.counting import counters_of
from remotefs.mount.settings import MountSettings
from remotefs.store.records import Intent, IntentKind
from remotefs.store.tree import Tree

# The sizes of so many pending files are added up; of more, their mean counts for the others (H8).
_MOST_ADDED_UP = 1_000
# For this long the uploads that have a second copy are not counted again.
_MEASURED_S = 30.0


class StatusCommands:
    """Shows the state of a mount, waits for its pending changes and repeats those that failed."""

    def __init__(
        self, report: StatusReport, tree: Tree, drain: Drain, drainer: Drainer, is_ending: Callable[[], bool]
    ) -> None:
        self._report = report
        self._tree = tree
        self._drain = drain
        self._drainer = drainer
        self._is_ending = is_ending

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [STATUS.bind(self.status), FLUSH.bind(self.flush), RETRY.bind(self.retry)]

    async def status(self, _: Nothing, __: Report) -> Status:
        """Return the state of the mount."""
        return await self._report.now(draining=self._is_ending())

    async def flush(self, params: FlushParams, report: Report) -> DrainResult:
        """Wait until the service has what lies at or below a path. Return what is left."""
        if params.path == "":
            await self._drain.close_dirty(self._tree.unclosed())
            return await self._drain.run(params.timeout_s, report)
        files = await files_at(self._tree, params.path)
        await self._drain.close_dirty(files)
        return await self._drain.run(params.timeout_s, report, {file.ino for file in files}, with_attributes=True)

    async def retry(self, params: PathParams, _: Report) -> Count:
        """Try changes that failed again now. Return how many."""
        inos = None if params.path == "" else {file.ino for file in await files_at(self._tree, params.path)}
        return Count(await self._drainer.retry(inos))


class StatusReport:
    """Gathers the state of all parts, so it is given all of them."""

    def __init__(self, settings: MountSettings, parts: Components, reasons: PendingReasons) -> None:
        self._settings = settings
        self._parts = parts
        self._reasons = reasons

    async def now(self, *, draining: bool) -> Status:
        """Return the state of this moment. A thread reads the folders: they may hold thousands of files (H8)."""
        parts, facts = self._parts, self._parts.meta.facts
        staged_bytes = await trio.to_thread.run_sync(parts.staging.used_bytes)
        trashed = await trio.to_thread.run_sync(parts.trash.entries)
        second = await parts.releaser.measure(at_most_s=_MEASURED_S)
        link, content = parts.connectivity.statistics(), parts.content.statistics()
        listings, pending = parts.listings.statistics(), self._kinds()
        failures = parts.supervisor.failures()
        return Status(
            mountpoint=str(self._settings.mountpoint),
            state_dir=str(self._settings.state_dir),
            base_url=self._settings.config.service.base_url,
            pid=os.getpid(),
            version=__version__,
            organization=facts.organization,
            workspace=facts.workspace,
            read_only=self._settings.options.read_only,
            subdir=parts.view.path,
            online=link.online,
            trouble=link.trouble,
            draining=draining,
            files=listings.known_files,
            pending=pending,
            pending_bytes=self._pending_bytes(pending),
            uploading=self._uploading(),
            failed=tuple(self._reasons.failed(NAMED)),
            renamed=tuple(path for ino in parts.store.renames.folders(NAMED) for path in parts.tree.paths_of(ino)),
            errors=tuple(FailedRequest(at=e.at_s, message=e.message, request_id=e.request_id) for e in link.errors),
            damaged=(*content.damaged, *parts.damaged_staged()),
            failures=tuple(TaskFailed(task=f.task, count=f.count, at=f.at_s, reason=f.reason) for f in failures),
            unwritable=parts.database.trouble,
            removals_held=facts.removals_held + facts.expiries_held,
            expiring=self._expiring(),
            trashed=len(trashed),
            trashed_bytes=sum(entry.size for entry in trashed),
            content=ContentUse(
                pinned_bytes=content.pinned_bytes - second.bytes,
                evictable_bytes=content.evictable_bytes + second.bytes,
                staging_bytes=staged_bytes,
                pinned_files=content.pinned_files - second.files,
            ),
            shared=self._shared(),
            requests=self._requests(),
            in_memory=self._in_memory(),
            counters=counters_of(parts),
            last_poll_at=listings.polled_s or None,
            last_walk_at=listings.walked_s or None,
        )

    def _shared(self) -> SharedUse | None:
        connection, shares, janitor = self._parts.shared.connection, self._parts.store.shares, self._parts.janitor
        if connection is None or janitor is None:
            return None
        gone = janitor.statistics()
        return SharedUse(
            store=connection.url, trouble=connection.trouble, stored_files=shares.stored_count(),
            waiting_files=shares.waiting_count(), failed=tuple(self._reasons.unshared(NAMED, failed_only=True)),
            orphans=gone.objects, orphan_bytes=gone.bytes, orphans_held=gone.held, orphans_trouble=gone.trouble,
        )  # fmt: skip

    def _kinds(self) -> tuple[PendingKind, ...]:
        journal, kinds = self._parts.journal, []
        for kind, count in journal.counts().items():
            oldest = journal.oldest(kind)
            assert oldest is not None
            reason = self._parts.failures.reason(oldest)
            kinds.append(
                PendingKind(kind=kind.value, count=count, oldest_reason=reason, oldest_age_s=self._age_s(oldest))
            )
        return tuple(kinds)

    def _pending_bytes(self, pending: Sequence[PendingKind]) -> int:
        uploads = sum(kind.count for kind in pending if kind.kind != IntentKind.DELETE)
        return self._parts.journal.upload_bytes(_MOST_ADDED_UP, uploads)

    def _expiring(self) -> ExpiringFiles:
        soon = self._parts.expiry_notices.soon()
        if not soon.count:
            return ExpiringFiles()
        return ExpiringFiles(count=soon.count, first=soon.path, first_at=soon.at_ns / 1e9)

    def _age_s(self, intent: Intent) -> float | None:
        inode = self._parts.tree.find(intent.ino) if intent.ino is not None else None
        return max(0.0, time.time() - inode.closed_ns / 1e9) if inode is not None and inode.closed_ns else None

    def _uploading(self) -> tuple[Uploading, ...]:
        uploads = []
        for ino, upload in self._parts.in_flight.under_way.items():
            inode = self._parts.tree.find(ino)
            path = self._parts.intents.paths.shown(inode) if inode else f"inode {ino}"
            uploads.append(Uploading(path=path, size=upload.size_bytes, sent=upload.sent_bytes))
        return tuple(uploads)

    def _requests(self) -> Requests:
        budget = self._parts.budget.statistics()
        limit = budget.limit_per_minute
        return Requests(
            used=budget.granted,
            limit_per_minute=None if limit is None else round(limit),
            waiting=sum(budget.waiting.values()),
            rate_limited=budget.rate_limited,
            paused_s=budget.paused_s,
        )

    def _in_memory(self) -> InMemory:
        handles = self._parts.handles.statistics()
        return InMemory(
            kernel_inodes=handles.known_inodes,
            open_files=handles.files,
            open_directories=handles.directories,
            tasks=trio.lowlevel.current_statistics().tasks_living,
        )
