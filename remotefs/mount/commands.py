"""What the control socket may ask of a running mount."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from remotefs.control.address import SOCKET_NAME
from remotefs.control.messages import (
    FLUSH,
    IDENTIFY,
    STATUS,
    TAKEOVER,
    UMOUNT,
    Command,
    ContentUse,
    Draining,
    DrainResult,
    FileIdentity,
    FlushParams,
    IdentifyParams,
    Leftover,
    Nothing,
    PendingKind,
    Report,
    Requests,
    Status,
    TakeoverResult,
    UmountParams,
)
from remotefs.errors import InvalidArgument, LocalError, TransportError
from remotefs.mount.parts import Parts
from remotefs.mount.settings import MountSettings
from remotefs.mount.upkeep import Upkeep, resolve
from remotefs.store.records import ContentState, Inode, Intent

# Of what is left, this much is named.
_NAMED = 20


class Commands:
    """One method a command."""

    def __init__(
        self, settings: MountSettings, parts: Parts, *, stop: Callable[[], None], yield_state: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._stop = stop
        self._yield_state = yield_state
        self._is_ending = False

    @property
    def socket(self) -> Path:
        """Where they are listened for."""
        return self._settings.state_dir / SOCKET_NAME

    def all(self) -> list[Command]:
        """Each command with its endpoint."""
        return [
            STATUS.bind(self.status),
            FLUSH.bind(self.flush),
            UMOUNT.bind(self.umount),
            IDENTIFY.bind(self.identify),
            TAKEOVER.bind(self.takeover),
            *Upkeep(self._parts).all(),
        ]

    async def status(self, _: Nothing, __: Report) -> Status:
        """What the mount says of itself."""
        parts, facts = self._parts, self._parts.meta.facts
        link, content, budget = parts.link.statistics(), parts.content.statistics(), parts.budget.statistics()
        refresh = parts.refresh.statistics()
        limit = budget.limit_per_minute
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
            draining=self._is_ending,
            files=refresh.known_files,
            pending=self._pending(),
            failed=self._failed(),
            damaged=tuple(content.damaged),
            removals_held=facts.removals_held,
            trashed=len(parts.trash.entries()),
            content=ContentUse(
                pinned_bytes=content.pinned_bytes,
                evictable_bytes=content.evictable_bytes,
                staging_bytes=sum(entry.size for entry in parts.staging.scan()),
            ),
            requests=Requests(used=budget.granted, limit_per_minute=None if limit is None else round(limit)),
            last_poll_at=refresh.polled_s or None,
            last_walk_at=refresh.walked_s or None,
        )

    async def flush(self, params: FlushParams, report: Report) -> DrainResult:
        """Wait until the service has what lies at or below a path."""
        inode = resolve(self._parts, params.path)
        files = list(self._parts.tree.files_beneath(inode.ino)) if inode.is_dir else [inode]
        await self._close_dirty(files)
        return await self._drain(params.timeout_s, report, None if params.path == "" else {f.ino for f in files})

    async def umount(self, params: UmountParams, report: Report) -> DrainResult:
        """Drain, then end. Raises LocalError while files are open: what they write next would be lost to them."""
        open_files = self._parts.handles.statistics().files
        if open_files:
            raise LocalError(
                f"{self._settings.mountpoint} is busy: {open_files} files are open (`fuser -vm` shows by whom)"
            )
        self._is_ending = True
        result = await self._drain(params.timeout_s, report, None)
        self._stop()
        return result

    async def identify(self, params: IdentifyParams, report: Report) -> FileIdentity:
        """Which file of the service a path is; what is pending is sent first."""
        inode = resolve(self._parts, params.path)
        if not inode.is_file:
            raise InvalidArgument(f"{params.path}: only a regular file is a file of the service")
        await self._close_dirty([inode])
        result = await self._drain(params.timeout_s, report, {inode.ino})
        inode = self._parts.tree.get(inode.ino)
        remote = self._parts.remotes.find(inode.file_id) if inode.file_id else None
        if remote is None or inode.state != ContentState.CLEAN:
            reasons = "; ".join(leftover.reason for leftover in result.leftovers)
            raise TransportError(
                f"{params.path}: the service does not have it: {reasons or self._parts.fs.attributes.state(inode)}"
            )
        return FileIdentity(file_id=remote.file_id, filename=remote.filename, mime_type=remote.mime_type)

    async def takeover(self, _: Nothing, __: Report) -> TakeoverResult:
        """Another mount wants this state folder."""
        return TakeoverResult(yielding=self._yield_state())

    # -- parts of answers

    async def _close_dirty(self, files: list[Inode]) -> None:
        for file in files:
            if file.state == ContentState.DIRTY:
                await self._parts.filedata.close(file.ino)

    async def _drain(self, timeout_s: float, report: Report, inos: set[int] | None) -> DrainResult:
        left = await self._parts.writeback.drain(
            timeout_s, inos, lambda intents: report(Draining(left=len(intents), path=self._label(intents[0])))
        )
        return DrainResult(left=len(left), leftovers=tuple(self._leftover(intent) for intent in left[:_NAMED]))

    def _pending(self) -> tuple[PendingKind, ...]:
        kinds: dict[str, list[Intent]] = {}
        for intent in self._parts.journal.pending():
            kinds.setdefault(intent.kind.value, []).append(intent)
        return tuple(
            PendingKind(
                kind=kind, count=len(intents), oldest_reason=intents[0].reason, oldest_age_s=self._age_s(intents[0])
            )
            for kind, intents in kinds.items()
        )

    def _failed(self) -> tuple[Leftover, ...]:
        waiting = [intent for intent in self._parts.journal.pending() if intent.reason is not None]
        return tuple(self._leftover(intent) for intent in waiting[:_NAMED])

    def _leftover(self, intent: Intent) -> Leftover:
        return Leftover(
            path=self._label(intent), reason=intent.reason or self._parts.link.statistics().reason or "pending"
        )

    def _label(self, intent: Intent) -> str:
        return self._parts.writeback.label(intent)

    def _age_s(self, intent: Intent) -> float | None:
        inode = self._parts.tree.find(intent.ino) if intent.ino is not None else None
        return max(0.0, time.time() - inode.closed_ns / 1e9) if inode is not None and inode.closed_ns else None
