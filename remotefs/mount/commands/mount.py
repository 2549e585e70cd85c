"""The end of a mount: `umount`, and the hand-over of its state folder to the next one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from remotefs.control.messages.base import Command, DrainResult, Nothing, Notice, Report
from remotefs.control.messages.mount import TAKEOVER, UMOUNT, TakeoverResult, UmountParams
from remotefs.errors import LocalError
from remotefs.mount.commands.pending import Drain
from remotefs.vfs.handles import Handles


class MountCommands:
    """Ends a mount. `stop` ends the serving of the kernel before it returns; `yield_state` ends a last drain."""

    def __init__(
        self,
        mountpoint: Path,
        handles: Handles,
        drain: Drain,
        *,
        stop: Callable[[], None],
        yield_state: Callable[[], bool],
    ) -> None:
        self._mountpoint = mountpoint
        self._handles = handles
        self._drain = drain
        self._stop = stop
        self._yield_state = yield_state
        self._is_ending = False

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [UMOUNT.bind(self.umount), TAKEOVER.bind(self.takeover)]

    def is_ending(self) -> bool:
        """Return whether `umount` is at work."""
        return self._is_ending

    async def umount(self, params: UmountParams, report: Report) -> DrainResult:
        """Drain, then end. Return what is left.

        Raises LocalError while files are open, because programs would lose what they write next. Files that are opened
        during the drain are waited for, and what was written to them is drained too.
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
            result = await self._drain.run(max(0.0, until_s - trio.current_time()), report)
            is_time_up = trio.current_time() >= until_s
            if not self._open_files and (is_time_up or not result.left or not self._drain.may_go_on()):
                # Invariant: no await since the look at what is open; nothing is served after this.
                self._stop()
                return result
            if is_time_up:
                raise self._busy()
            if self._open_files:
                report(Notice(text=f"{self._open_files} files were opened meanwhile: waiting until they are closed"))
                with trio.move_on_at(until_s):
                    await self._handles.all_closed()

    @property
    def _open_files(self) -> int:
        return self._handles.statistics().files

    def _busy(self) -> LocalError:
        return LocalError(f"{self._mountpoint} is busy: {self._open_files} files are open (`fuser -vm` shows by whom)")

    async def takeover(self, _: Nothing, __: Report) -> TakeoverResult:
        """Let go of the state folder for another mount, if this one has nothing left to do but drain."""
        return TakeoverResult(yielding=self._yield_state())
