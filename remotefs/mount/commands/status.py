"""What `remotefs status` tells. Nothing here waits: it is asked when things go wrong."""

from __future__ import annotations

import os
import time
from itertools import islice

from remotefs.control.messages.base import Leftover
from remotefs.control.messages.status import (
    ContentUse,
    FailedRequest,
    PendingKind,
    Requests,
    Status,
    TaskFailed,
    Uploading,
)
from remotefs.mount.assembly import Components
from remotefs.mount.settings import MountSettings
from remotefs.store.records import Intent

# Of what is left, this much is named.
NAMED = 20


class StatusReport:
    """Made anew each time it is asked for."""

    def __init__(self, settings: MountSettings, parts: Components) -> None:
        self._settings = settings
        self._parts = parts

    def now(self, *, draining: bool) -> Status:
        """A record of now."""
        parts, facts = self._parts, self._parts.meta.facts
        link, content, listings = (
            parts.connectivity.statistics(),
            parts.content.statistics(),
            parts.listings.statistics(),
        )
        pending, trashed = parts.journal.pending(), parts.trash.entries()
        failures = parts.supervisor.failures()
        return Status(
            mountpoint=str(self._settings.mountpoint),
            state_dir=str(self._settings.state_dir),
            base_url=self._settings.config.service.base_url,
            pid=os.getpid(),
            organization=facts.organization,
            workspace=facts.workspace,
            read_only=self._settings.options.read_only,
            online=link.online,
            trouble=link.suspended or link.reason,
            draining=draining,
            files=listings.known_files,
            pending=self._kinds(pending),
            uploading=self._uploading(),
            failed=tuple(map(self.leftover, islice(filter(self._has_failed, pending), NAMED))),
            errors=tuple(FailedRequest(at=e.at_s, message=e.message, request_id=e.request_id) for e in link.errors),
            damaged=tuple(content.damaged),
            failures=tuple(TaskFailed(task=f.task, count=f.count, at=f.at_s, reason=f.reason) for f in failures),
            unwritable=parts.database.trouble,
            removals_held=facts.removals_held + facts.expiries_held,
            trashed=len(trashed),
            trashed_bytes=sum(entry.size for entry in trashed),
            content=ContentUse(
                pinned_bytes=content.pinned_bytes,
                evictable_bytes=content.evictable_bytes,
                staging_bytes=parts.staging.used_bytes(),
                pinned_files=content.pinned_files,
            ),
            requests=self._requests(),
            last_poll_at=listings.polled_s or None,
            last_walk_at=listings.walked_s or None,
        )

    def leftover(self, intent: Intent) -> Leftover:
        """What is not done yet, and why."""
        known = self._unclosed(intent) or self._parts.writeback.reason(intent)
        reason = known or self._parts.connectivity.statistics().reason or "pending"
        return Leftover(path=self.label(intent), reason=reason)

    def _has_failed(self, intent: Intent) -> bool:
        return self._parts.writeback.reason(intent) is not None or self._unclosed(intent) is not None

    def _unclosed(self, intent: Intent) -> str | None:
        reason = self._parts.closer.reason(intent.ino) if intent.ino is not None else None
        return f"it could not be closed: {reason}" if reason else None

    def label(self, intent: Intent) -> str:
        """What it is about."""
        return self._parts.writeback.label(intent)

    def _kinds(self, pending: list[Intent]) -> tuple[PendingKind, ...]:
        kinds: dict[str, list[Intent]] = {}
        for intent in pending:
            kinds.setdefault(intent.kind.value, []).append(intent)
        return tuple(
            PendingKind(
                kind=kind,
                count=len(intents),
                oldest_reason=self._parts.writeback.reason(intents[0]),
                oldest_age_s=self._age_s(intents[0]),
            )
            for kind, intents in kinds.items()
        )

    def _age_s(self, intent: Intent) -> float | None:
        inode = self._parts.tree.find(intent.ino) if intent.ino is not None else None
        return max(0.0, time.time() - inode.closed_ns / 1e9) if inode is not None and inode.closed_ns else None

    def _uploading(self) -> tuple[Uploading, ...]:
        told = []
        for ino, flight in self._parts.in_flight.under_way.items():
            inode = self._parts.tree.find(ino)
            path = (self._parts.planner.path(inode) if inode else None) or f"inode {ino}"
            told.append(Uploading(path=path, size=flight.size_bytes, sent=flight.sent_bytes))
        return tuple(told)

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
