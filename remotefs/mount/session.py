"""Runs a mount: start, serve, drain, end."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pyfuse3
import trio

from remotefs.control.messages.base import Nothing, Notice, Progress, Ready
from remotefs.control.server import ControlServer
from remotefs.errors import LocalError
from remotefs.fuse.connection import abort, number_of, raise_background_limit, raise_readahead
from remotefs.fuse.invalidation import invalidate_attributes, invalidate_entry
from remotefs.fuse.operations import Operations
from remotefs.mount.assembly import Components, assemble
from remotefs.mount.commands.groups import command_groups
from remotefs.mount.commands.log import LogControl
from remotefs.mount.commands.status import StatusCommands
from remotefs.mount.greeting import Greeting
from remotefs.mount.life_log import LifeLog
from remotefs.mount.opening import count_left, names_left, opened_database, put_away, save_notes
from remotefs.mount.service_status import ServiceStatus
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.mount.subdir import begin_view
from remotefs.place_kinds import listen_address

_log = logging.getLogger(__name__)
EXIT_WORK_LEFT = 3
# Of the 12 that the kernel lets wait where it cannot be told otherwise: the rest is for reads from memory.
_SLOW_READS = 8
# At the end: how long a notification to the kernel may take, and the answers that programs wait for.
_LAST_NOTIFICATION_S = 2.0
_LAST_ANSWERS_S = 1.0
# So many of the changes that are left are named.
_NAMED = 5


async def run_mount(
    settings: MountSettings, *, report: Callable[[Progress], None], log: LogControl | None = None
) -> int:
    """Mount, serve until unmounted, drain. Return the exit status: 3 when work is left for the next mount.

    `log` is what `remotefs log` changes. Raises RemotefsError when it cannot mount.
    """
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with opened_database(settings.state_dir, report) as database:
        parts = assemble(settings, database)
        status = await MountSession(settings, parts, report, log).run()
    await parts.supervisor.guard("copying the database", partial(trio.to_thread.run_sync, parts.copies.make_of_closed))
    return status


class MountSession:
    """One mount from start to end."""

    def __init__(
        self,
        settings: MountSettings,
        parts: Components,
        report: Callable[[Progress], None],
        log: LogControl | None = None,
    ) -> None:
        self._log = log
        self._settings = settings
        self._config = settings.config
        self._greeting = Greeting(parts, settings.config.refresh, report)
        self._parts = parts
        self._report = report
        self._stop = trio.Event()
        self._is_serving = False
        # The number of the connection to the kernel, once it answers.
        self._connection: int | None = None
        # The drain that a signal began, and the one after an unmount.
        self._first_drain: trio.CancelScope | None = None
        self._last_drain: trio.CancelScope | None = None
        self._serving = trio.CancelScope()

    async def run(self) -> int:
        """Run from recovery to the last drain and return the exit status."""
        parts, keep = self._parts, self._parts.supervisor.keep
        parts.guard.check_address()
        async with parts.client, trio.open_nursery() as nursery:
            await nursery.start(parts.downloader.run)
            await parts.recovery.run()
            # The run of the machine in which the folder is in use, which the next recovery has to know.
            with suppress(LocalError):
                parts.timekeeper.note()
            self._greeting.tell_leftovers()
            await self._greeting.greet_service()
            self._begin_view()
            await nursery.start(parts.writeback.run)
            nursery.start_soon(keep, "recording changes of others", parts.event_recorder.run)
            nursery.start_soon(keep, "listing the service", parts.refresh.run)
            if parts.shared.connection is not None:
                nursery.start_soon(keep, "looking at the shared store", parts.shared.connection.run)
                nursery.start_soon(keep, "putting files into the shared store", parts.sharer.run)
                nursery.start_soon(keep, "looking for uploads to evict", parts.releaser.run)
                nursery.start_soon(keep, "exchanging attributes with other machines", parts.exchange.run)
            if parts.janitor is not None:
                nursery.start_soon(keep, "deleting objects of files that are gone", parts.janitor.run)
            nursery.start_soon(keep, "asking whether the service is there", parts.reconnect.run)
            nursery.start_soon(keep, "keeping the log of the database short", parts.database.run_checkpoints)
            nursery.start_soon(keep, "saving sizes and times", partial(save_notes, parts))
            nursery.start_soon(keep, "summing up files that wait", parts.summing.run)
            nursery.start_soon(keep, "copying the database", parts.copies.run)
            nursery.start_soon(keep, "writing the log", LifeLog(self._settings, parts).run)
            commands = command_groups(
                self._settings, parts, stop=self._end, yield_state=self._yield_state, log=self._log
            )
            await nursery.start(ControlServer(self._settings.socket, commands.all()).run)
            if self._config.metrics.listen:
                nursery.start_soon(keep, "serving metrics", partial(self._serve_metrics, commands.status))
            await nursery.start(self._heed_signals)
            if self._config.log.access:
                await parts.supervisor.guard("opening the access log", self._log_access)
            if self._settings.manager is not None:
                is_ending = partial(self._is_ending, commands.mount.is_ending)
                status = ServiceStatus(self._settings.manager, parts, is_ending)
                nursery.start_soon(keep, "telling the service manager", status.run)
            async with self._mounted():
                await self._serve()
            _log.info(
                "unmounted%s", "" if self._stop.is_set() else " from outside: draining", extra={"event": "unmounted"}
            )
            left = await self._drain_after_unmount()
            self._report_left(left)
            nursery.cancel_scope.cancel()
        await trio.to_thread.run_sync(parts.access_log.finish)
        is_put_away = await parts.supervisor.guard("putting the state folder away", partial(put_away, parts))
        return 0 if is_put_away and not left else EXIT_WORK_LEFT

    async def _log_access(self) -> None:
        self._parts.access_log.turn_on()

    def _begin_view(self) -> None:
        options = self._settings.options
        if begin_view(self._parts.tree, self._parts.view, options.subdir, makes=not options.read_only):
            _log.info("made the folder %s, which is the root of the mount", options.subdir)
            self._report(Notice(text=f"subdir={options.subdir}: there was no such folder in the tree: made it"))

    async def _serve_metrics(self, commands: StatusCommands) -> None:
        # Loaded here, because few mounts serve metrics.
        from remotefs.mount.exposition import MetricsServer  # noqa: PLC0415
        from remotefs.mount.metrics import exposition  # noqa: PLC0415

        async def scrape(accept: str) -> tuple[bytes, str]:
            return exposition(accept, await commands.status(Nothing(), lambda _: None))

        address = listen_address(self._config.metrics.listen)
        # A name without a folder is one in the state folder.
        address = self._settings.state_dir / address if isinstance(address, Path) else address
        await MetricsServer(address, scrape).run()

    # -- the kernel

    @asynccontextmanager
    async def _mounted(self) -> AsyncIterator[None]:
        timeout_s = self._config.mount.entry_timeout_s
        operations = Operations(
            self._parts.fs,
            timeout_s=timeout_s,
            note_use=self._parts.refresh.note_use,
            requests=self._parts.requests,
            announcements=self._parts.announcements,
        )
        _spare_the_collector()
        try:
            pyfuse3.init(operations, str(self._settings.mountpoint), kernel_options(self._settings.options))
        except RuntimeError as error:
            raise LocalError(f"{self._settings.mountpoint} cannot be mounted: {error}") from error
        self._parts.notifier.start(invalidate_entry, invalidate_attributes)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._end_notifications)
            pyfuse3.close(unmount=True)

    def _end_notifications(self) -> None:
        """See that no thread is in the session when it is closed; blocks."""
        self._parts.notifier.stop()
        if not self._parts.notifier.join(_LAST_NOTIFICATION_S):
            # It waits in the kernel for a folder, and the program that has the folder for an answer of this mount.
            if self._connection is not None:
                abort(self._connection)
            if not self._parts.notifier.join(_LAST_NOTIFICATION_S):
                _log.error("a notification to the kernel does not end")

    async def _serve(self) -> None:
        """Answer the kernel until somebody unmounts, a signal comes or a command asks for the end."""
        with self._serving:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._answer_kernel, nursery.cancel_scope)
                await self._report_ready()
                if self._config.refresh.events and not self._settings.options.read_only:
                    announce = self._parts.announcer.run
                    nursery.start_soon(self._parts.supervisor.keep, "announcing changes of others", announce)

    async def _answer_kernel(self, whole: trio.CancelScope) -> None:
        self._is_serving = True
        if not self._stop.is_set():
            await pyfuse3.main(min_tasks=1, max_tasks=self._config.mount.max_tasks)
        self._is_serving = False
        whole.cancel()

    def _end(self) -> None:
        """Take no more requests of the kernel: at once, so that what the caller has just seen is still so.

        Those that were taken are answered.
        """
        self._stop.set()
        self._tell_end()
        if self._is_serving:
            pyfuse3.terminate()

    def _is_ending(self, is_unmounting: Callable[[], bool]) -> bool:
        """Return whether it drains before its end: a signal came, it was unmounted, or `remotefs umount` is at work."""
        return self._first_drain is not None or self._last_drain is not None or is_unmounting()

    def _tell_end(self) -> None:
        """Tell the service manager that the mount ends, for certain."""
        if self._settings.manager is not None:
            self._settings.manager.stopping()

    async def _heed_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Drain and end at the first signal; at another one, or one in the drain after an unmount, end at once."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                task_status.started()
                async for _ in signals:
                    if self._first_drain is None and self._last_drain is None:
                        self._first_drain = trio.CancelScope()
                        nursery.start_soon(self._drain_and_end, self._first_drain)
                    else:
                        self._end_now()

    async def _drain_and_end(self, scope: trio.CancelScope) -> None:
        drain_s = self._config.mount.signal_drain_s
        self._tell_end()
        self._report(
            Notice(text=f"asked to end: sending what is left for at most {drain_s:g} s; once more ends at once")
        )
        _log.info("asked to end: draining for at most %g s", drain_s)
        with scope:
            await self._parts.supervisor.guard("draining", partial(self._drain, drain_s))
        self._end()
        if scope.cancelled_caught:
            # Programs that wait for the service would hold up the end.
            await trio.sleep(_LAST_ANSWERS_S)
            self._serving.cancel()

    def _end_now(self) -> None:
        _log.warning("asked to end again: ending at once; the next mount goes on with what is left")
        for drain in filter(None, (self._first_drain, self._last_drain)):
            drain.cancel()
        if self._stop.is_set():
            self._serving.cancel()

    async def _report_ready(self) -> None:
        """Report Ready once the kernel's first request was answered."""
        self._connection = await trio.to_thread.run_sync(number_of, self._settings.mountpoint)
        raised = await trio.to_thread.run_sync(
            raise_background_limit, self._connection, self._config.mount.max_background
        )
        if not raised:
            _log.info("only root can raise the kernel's limit of reads under way: at most %d wait", _SLOW_READS)
            self._parts.downloader.limit_waiting_reads(_SLOW_READS)
        await trio.to_thread.run_sync(
            raise_readahead, self._settings.mountpoint, self._config.mount.kernel_readahead_bytes
        )
        self._report(Ready())

    # -- the end

    async def _drain_after_unmount(self) -> int:
        """Drain after an unmount from outside; `remotefs umount` has drained already. Return the intents left."""
        if not self._stop.is_set():
            self._tell_end()
            drain = partial(self._drain, self._config.mount.signal_drain_s)
            with trio.CancelScope() as self._last_drain:
                await self._parts.supervisor.guard("draining", drain)
        return count_left(self._parts)

    def _report_left(self, left: int) -> None:
        if left:
            names = names_left(self._parts, _NAMED)
            more = ", …" if left > len(names) else ""
            are = "changes are" if left > 1 else "change is"
            text = f"{left:,} {are} left for the next mount of {self._settings.state_dir}: {', '.join(names)}{more}"
            _log.warning("%s", text)
            self._report(Notice(text=text))

    async def _drain(self, timeout_s: float) -> None:
        await self._parts.drainer.drain(timeout_s, leaves_open=True)

    def _yield_state(self) -> bool:
        """Let another mount have the state folder, if this one only drains. Return whether it does (A3)."""
        if self._last_drain is None:
            return False
        self._last_drain.cancel()
        return True


def _spare_the_collector() -> None:
    """Let Python's garbage collector skip what lives as long as the mount: a look at all of it took 60 ms (H8)."""
    gc.collect()
    gc.freeze()


def kernel_options(options: FuseOptions) -> set[str]:
    """Return the mount options for libfuse. The kernel checks permissions (A6)."""
    own = {"default_permissions", f"fsname={options.fsname}", "subtype=remotefs"}
    words = {*pyfuse3.default_options, *own, *options.extra}
    if options.allow_other:
        words.add("allow_other")
    if options.read_only:
        words.add("ro")
    return words
