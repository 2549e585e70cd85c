"""The file system without a kernel: the parts of a mount, against a server on a real socket, and a small kernel.

`Kernel` (tests/model/kernel.py) asks as the real one does. `Mount` is the life of the parts with everything but the
kernel's own; `Portal` lets a test without a loop call both.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from remotefs import names
from remotefs.api.budget import Priority
from remotefs.config import CacheConfig, Config, RefreshConfig, Secret, ServiceConfig, WritebackConfig
from remotefs.errors import RemotefsError
from remotefs.fuse.translate import errno_of
from remotefs.mount.assembly import assemble
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.store.database import Database
from remotefs.store.records import ContentState
from tests.faults import FaultyServer
from tests.model.kernel import Kernel, failure
from tests.model.model import Model
from tests.model.served import assert_served, served

T = TypeVar("T")

# What a test waits for at most, in seconds.
PATIENCE_S = 20.0


class Mount:
    """The parts of a mount at work on a state folder, from `open` to `close` or `crash`."""

    def __init__(self, settings: MountSettings, nursery: trio.Nursery) -> None:
        self._settings = settings
        self._nursery = nursery
        self._end = trio.CancelScope()
        self._ended = trio.Event()
        self.database = Database(settings.state_dir / "state.db")
        self.parts = assemble(settings, self.database)
        self.kernel = Kernel(self.parts.fs)

    async def open(self) -> None:
        """Serve; like mount/session.py without the kernel, the control socket and what works by the clock."""
        await self._nursery.start(self._serve)

    async def _serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        parts = self.parts
        with self._end:
            async with parts.client, trio.open_nursery() as nursery:
                await nursery.start(parts.downloader.run)
                await parts.recovery.run()
                await parts.connectivity.watch(lambda: parts.listings.walk(priority=Priority.FIRST_LISTING))
                await nursery.start(parts.writeback.run)
                task_status.started()
                await trio.sleep_forever()
        self._ended.set()

    async def close(self) -> None:
        """As an unmount ends it, without the drain."""
        await self.kernel.close_all()
        await self._stop()
        self.parts.tree.save_notes()
        self.database.close()

    async def crash(self) -> None:
        """What is in memory is lost."""
        await self._stop()
        self.database.close()

    async def _stop(self) -> None:
        # A reply that is lost is looked for at the next start, for 15 s (W6): that has tests of its own.
        await _until(lambda: not len(self.parts.in_flight))
        self._end.cancel()
        await self._ended.wait()
        self.parts.content.close()
        self.parts.staging.close()


class Harness:
    """The model's verbs, by a kernel on a mount that can be closed, crash and be opened again."""

    def __init__(self, state_dir: Path, server: FaultyServer, writeback: WritebackConfig, portal: Portal) -> None:
        self.server = server
        self._portal = portal
        self._settings = MountSettings(state_dir / "mnt", state_dir, _config(server, writeback), FuseOptions())
        self._ids_of_others: dict[str, str] = {}
        state_dir.mkdir(mode=0o700, parents=True)
        self.mount = portal.call(self._start)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """A verb of the kernel's."""
        return lambda *arguments: self._portal.call(self._ask, verb, arguments)

    async def _start(self) -> Mount:
        mount = Mount(self._settings, self._portal.nursery)
        await mount.open()
        return mount

    async def _ask(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        kernel = self.mount.kernel
        try:
            with trio.fail_after(PATIENCE_S):
                return await getattr(kernel, verb)(*arguments)
        except RemotefsError as error:
            raise failure(errno_of(error)[0]) from error
        finally:
            kernel.forget(all_but_open=False)

    # -- what happens to a mount

    def foreign(self, path: str, data: bytes, downloadable: bool, label: str) -> None:
        added = self.server.store.add(names.remote_name(path), data, downloadable=downloadable)
        self._ids_of_others[label] = added.id
        self._portal.call(self.mount.parts.listings.poll)

    def vanish(self, label: str, gone: list[str]) -> None:
        self.server.store.delete(self._ids_of_others[label])
        self._portal.call(self.mount.parts.refresh.accept_removals)

    def drop_caches(self) -> None:
        self._portal.call_sync(self.mount.kernel.forget)

    def remount(self) -> None:
        self._portal.call(self.mount.close)
        self.mount = self._portal.call(self._start)

    def crash(self) -> None:
        self._portal.call(self.mount.crash)
        self.mount = self._portal.call(self._start)

    def drain(self) -> None:
        """Wait until the service has everything."""
        left = self._portal.call(self.mount.parts.drainer.drain, PATIENCE_S)
        assert not left, f"left after a drain: {left}"

    def end(self) -> None:
        self._portal.call(self.mount.close)

    # -- what the service has

    def assert_served(self, model: Model) -> None:
        """After a drain: what the service has follows the tree, and the parts of the state agree with each other."""
        assert_served(served(self.server), model, self._ids_of_others)
        found = self._portal.call(check_state, self.mount.parts, Scope(working=True, service=True))
        assert found == [], found

    # -- what is left

    def assert_nothing_leaks(self) -> None:
        """With all closed and forgotten there are no handles, no inodes without a name, no bytes of nobody."""
        self._portal.call(self.mount.kernel.close_all)
        self.drain()
        self._portal.call(self._assert_clean)

    async def _assert_clean(self) -> None:
        parts = self.mount.parts
        statistics = parts.handles.statistics()
        assert (statistics.files, statistics.directories, statistics.known_inodes) == (0, 0, 0)
        assert parts.tree.unlinked() == []
        # What was uploaded becomes content after those were told who wait for the upload.
        await _until(lambda: all(inode.state != ContentState.CLEAN for inode in parts.tree.staged()), parts.tree.staged)

        # What was given up goes once a power cut cannot bring its name back.
        def left_over() -> set[tuple[int, int | None]]:
            staged: set[tuple[int, int | None]] = {(inode.ino, inode.staged_gen) for inode in parts.tree.staged()}
            return staged ^ {(entry.inode, entry.generation) for entry in parts.staging.scan()}

        await _until(lambda: not left_over(), left_over)


class Portal:
    """A trio loop in a thread; `call` waits for what it does there."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="portal")
        self._thread.start()
        self._ready.wait()

    async def _main(self) -> None:
        async with trio.open_nursery() as self.nursery:
            self._token = trio.lowlevel.current_trio_token()
            self._ready.set()
            await trio.sleep_forever()

    def call(self, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Await it in the loop."""
        return trio.from_thread.run(work, *arguments, trio_token=self._token)

    def call_sync(self, work: Callable[[], T]) -> T:
        """The same for what awaits nothing."""
        return trio.from_thread.run_sync(work, trio_token=self._token)

    def close(self) -> None:
        """End the loop and all that runs in it."""
        self._token.run_sync_soon(self.nursery.cancel_scope.cancel)
        self._thread.join()


@contextmanager
def portal() -> Iterator[Portal]:
    """A running portal."""
    running = Portal()
    try:
        yield running
    finally:
        running.close()


async def _until(claim: Callable[[], bool], show: Callable[[], object] = lambda: "it did not come true") -> None:
    """Wait for what the workers do by themselves."""
    with trio.move_on_after(PATIENCE_S):
        while not claim():  # noqa: ASYNC110 - there is no event for it
            await trio.sleep(0.001)
    assert claim(), show()


def _config(server: FaultyServer, writeback: WritebackConfig) -> Config:
    return Config(
        service=ServiceConfig(base_url=server.url, api_key=Secret(server.key), requests_per_minute=0),
        cache=CacheConfig(reserve_bytes=1 << 20, reserve_fraction=0.0),
        writeback=writeback,
        refresh=RefreshConfig(removal_min_age_s=0),
    )
