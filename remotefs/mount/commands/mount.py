"""What the control socket may ask of a running mount."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from remotefs.control.address import SOCKET_NAME
from remotefs.control.messages.base import Command, Count, Draining, DrainResult, Nothing, Notice, Report
from remotefs.control.messages.mount import TAKEOVER, UMOUNT, TakeoverResult, UmountParams
from remotefs.control.messages.paths import IDENTIFY, FileIdentity, IdentifyParams
from remotefs.control.messages.status import FLUSH, RETRY, STATUS, FlushParams, PathParams, Status
from remotefs.errors import InvalidArgument, LocalError, NotFound, RemotefsError, TransportError
from remotefs.mount.assembly import Components
from remotefs.mount.commands.cache import Caching
from remotefs.mount.commands.check import Care
from remotefs.mount.commands.eta import Eta
from remotefs.mount.commands.status import NAMED, StatusReport
from remotefs.mount.commands.trash import Upkeep, files_at, resolve
from remotefs.mount.settings import MountSettings
from remotefs.store.records import ContentState, Inode, Intent


class Commands:
    """One method a command; `stop` ends the serving of the kernel before it returns."""

    def __init__(
        self, settings: MountSettings, parts: Components, *, stop: Callable[[], None], yield_state: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._stop = stop
        self._yield_state = yield_state
        self._report = StatusReport(settings, parts)
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
            RETRY.bind(self.retry),
            *Upkeep(self._parts).all(),
            *Caching(self._parts).all(),
            *Care(self._settings, self._parts).all(),
        ]

    async def status(self, _: Nothing, __: Report) -> Status:
        """What the mount says of itself."""
        return self._report.now(draining=self._is_ending)

    async def flush(self, params: FlushParams, report: Report) -> DrainResult:
        """Wait until the service has what lies at or below a path."""
        if params.path == "":
            await self._close_dirty(self._parts.tree.staged())
            return await self._drain(params.timeout_s, report, None)
        files = await files_at(self._parts, params.path)
        await self._close_dirty(files)
        return await self._drain(params.timeout_s, report, {file.ino for file in files})

    async def retry(self, params: PathParams, _: Report) -> Count:
        """Try what failed again now; how much that is."""
        inos = None if params.path == "" else {file.ino for file in await files_at(self._parts, params.path)}
        return Count(await self._parts.writeback.retry(inos))

    async def umount(self, params: UmountParams, report: Report) -> DrainResult:
        """Drain, then end. Raises LocalError while files are open: what they write next would be lost to them.

        Those that are opened while it drains are waited for, and what was written to them is drained too.
        """
        if self._open_files:
            raise self._busy()
        self._is_ending = True
        try:
            return await self._drain_and_stop(trio.current_time() + params.timeout_s, report)
        except BaseException:
            self._is_ending = False
            raise

    async def _drain_and_stop(self, until_s: float, report: Report) -> DrainResult:
        while True:
            result = await self._drain(max(0.0, until_s - trio.current_time()), report, None)
            is_time_up = trio.current_time() >= until_s
            if not self._open_files and (is_time_up or not result.left):
                # Invariant: no await since the look at what is open; nothing is served after this.
                self._stop()
                return result
            if is_time_up:
                raise self._busy()
            if self._open_files:
                report(Notice(text=f"{self._open_files} files were opened meanwhile: waiting until they are closed"))
                with trio.move_on_at(until_s):
                    await self._parts.handles.all_closed()

    @property
    def _open_files(self) -> int:
        return self._parts.handles.statistics().files

    def _busy(self) -> LocalError:
        return LocalError(
            f"{self._settings.mountpoint} is busy: {self._open_files} files are open (`fuser -vm` shows by whom)"
        )

    async def identify(self, params: IdentifyParams, report: Report) -> FileIdentity:
        """Which file of the service a path is; what is pending is sent first."""
        inode = resolve(self._parts, params.path)
        if not inode.is_file:
            raise InvalidArgument(f"{params.path}: only a regular file is a file of the service")
        await self._close_dirty([inode])
        result = await self._drain(params.timeout_s, report, {inode.ino})
        # What is saved by a rename is another file by now.
        inode = resolve(self._parts, params.path)
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
            if file.state == ContentState.CLEAN:
                continue
            try:
                await self._parts.file_bytes.close(file.ino)
            except NotFound:  # gone while others were closed
                continue
            except (RemotefsError, OSError) as error:
                self._parts.closer.failed(file.ino, error)

    async def _drain(self, timeout_s: float, report: Report, inos: set[int] | None) -> DrainResult:
        eta = Eta(self._parts.journal.count(), trio.current_time())

        def tell(intents: list[Intent]) -> None:
            left = len(intents)
            path = self._report.label(intents[0])
            # What an upload replaces is deleted after it.
            requests = sum(1 + len(intent.replaces) for intent in intents)
            eta_s = eta.seconds(left, trio.current_time(), least_s=self._parts.budget.pace_s(requests))
            report(Draining(left=left, path=path, eta_s=eta_s))

        left = await self._parts.writeback.drain(timeout_s, inos, tell)
        return DrainResult(left=len(left), leftovers=tuple(self._report.leftover(intent) for intent in left[:NAMED]))
