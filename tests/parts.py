"""A mount without its kernel: the parts of one on a state folder, against a server with a script of faults.

    async with running(tmp_path, server) as host:
        await host.write("a.txt", b"hello")
        await host.settled()
        assert host.remote_names() == ["a.txt"]

Time is driven. Trio's clock is the `clock` fixture, which jumps when nothing happens, in threads and at the server
neither; no request has a deadline that such a jump could reach. Due times of the journal are wall time:
`host.make_due()`. Listing goes by the clock and by `wall`, which a test may give.
A crash is a copy of the state folder at a moment that the test chooses (`host.kill_copy`), on which `running` is called
again.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from remotefs.api.budget import Priority
from remotefs.api.models import FileMetadata
from remotefs.clocks import Machine
from remotefs.config import CacheConfig, Config, RefreshConfig, Secret, ServiceConfig, WritebackConfig
from remotefs.data.share.connection import StoreConnection
from remotefs.errors import NotFound
from remotefs.mount.assembly import Components, assemble
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.server.queries import ListQuery
from remotefs.server.records import FileRecord
from remotefs.store.database import Database
from remotefs.store.records import NEVER_NS, ROOT_INO, Inode, Intent, IntentKind, Origin, Remote
from remotefs.vfs.handles import OpenFile
from tests.faults import KEY, FaultyServer, faulty_server

# The clock jumps to any deadline that is one.
FOR_EVER_S = math.inf
# Real seconds between two jumps of the clock while nothing happens in this process.
CALM_S = 0.01
# So many times that, if the server has an answer to give: it may be this side that does not take it.
_PATIENCE = 100
# More than any socket buffer takes: of an upload as large not all is sent while the server does not read.
LARGE = 24 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
# The most that is asked for at once. A listing may claim any size.
_READ_BYTES = 64 << 20
PLAIN = FuseOptions()
Steps = Callable[[], list[str]]


@dataclass(frozen=True)
class User:
    """Who asks."""

    uid: int = 1000
    gid: int = 1000


def settings(state_dir: Path, url: str, *, key: str = KEY, **writeback: Any) -> MountSettings:
    """Settings whose timeouts no jump of the clock reaches; `writeback` changes that section."""
    defaults = {"upload_delay_s": 0.0, "empty_grace_s": 5.0, "close_wait_s": FOR_EVER_S}
    config = Config(
        service=ServiceConfig(
            base_url=url, api_key=Secret(key), shape="ga", requests_per_minute=0,
            connect_timeout_s=FOR_EVER_S, io_timeout_s=FOR_EVER_S, request_deadline_s=FOR_EVER_S, read_wait_s=FOR_EVER_S,
        ),
        cache=CacheConfig(reserve_bytes=0, reserve_fraction=0.0),
        writeback=WritebackConfig(**(defaults | writeback)),
        refresh=RefreshConfig(),
    )  # fmt: skip
    return MountSettings(state_dir.parent / "mnt", state_dir, config, FuseOptions())


@pytest.fixture
def clock() -> trio.abc.Clock:
    """Jumps to the next deadline once nothing has happened for a while: within `running`, in threads and at the server too."""
    return trio.testing.MockClock(autojump_threshold=CALM_S)


async def _jump_when_calm(
    clock: trio.testing.MockClock, server: FaultyServer, store: StoreConnection | None = None
) -> None:
    """Jump in the stead of the clock, which takes a slow disk's sync or a slow answer for nothing happening.

    While a task waits for calm, trio does not let the clock jump by itself.
    """
    threads = trio.to_thread.current_default_thread_limiter()
    while True:
        for _ in range(_PATIENCE):
            await trio.testing.wait_all_tasks_blocked(CALM_S)
            if not server.script.is_at_work:
                break
        ahead_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if not threads.borrowed_tokens and not (store is not None and store.is_at_work) and 0.0 < ahead_s < math.inf:
            clock.jump(ahead_s)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    """The faithful service: uploads cannot be read back."""
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running_server:
        yield running_server


@pytest.fixture
def steps(caplog: pytest.LogCaptureFixture) -> Steps:
    """Call it for the steps on the way to the disk that were reached since the last call, in order."""
    caplog.set_level(logging.DEBUG, "remotefs.crashpoints")

    def reached() -> list[str]:
        messages = [record.getMessage().strip() for record in caplog.records if record.name == "remotefs.crashpoints"]
        caplog.clear()
        return messages

    return reached


@asynccontextmanager
async def running(
    folder: Path,
    server: FaultyServer,
    *,
    state: str = "state",
    working: bool = True,
    key: str = KEY,
    change: Callable[[Config], Config] = lambda config: config,
    wall: Callable[[], int] | None = None,
    machine: Machine | None = None,
    options: FuseOptions = PLAIN,
    **writeback: Any,
) -> AsyncIterator[Host]:
    """The parts on `folder/state`, recovered; with `working` their workers run. At the end all tasks are cancelled.

    `machine` has the clocks; with `wall` all of them go as that one does.

    `folder/server` is where the server keeps its files.
    """
    state_dir = folder / state
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    chosen = settings(state_dir, server.url, key=key, **writeback)
    chosen = MountSettings(chosen.mountpoint, state_dir, change(chosen.config), options)
    database = Database(state_dir / "state.db")
    try:
        if wall is not None:
            machine = Machine(wall, wall, "this run of the machine")
        parts = assemble(chosen, database, machine=machine)
        async with parts.client, trio.open_nursery() as nursery:
            trios = trio.lowlevel.current_clock()
            if isinstance(trios, trio.testing.MockClock):
                nursery.start_soon(_jump_when_calm, trios, server, parts.shared.connection)
            await nursery.start(parts.downloader.run)
            await parts.recovery.run()
            host = Host(parts, server, state_dir, nursery)
            if working:
                await host.start_working()
            yield host
            nursery.cancel_scope.cancel()
        parts.content.close()
        parts.staging.close()
    finally:
        database.close()


class Host:
    """One machine: its parts, and the system calls of a user on paths."""

    def __init__(self, parts: Components, server: FaultyServer, state_dir: Path, nursery: trio.Nursery) -> None:
        self.parts = parts
        self.fs = parts.fs
        self.server = server
        self.state_dir = state_dir
        self.nursery = nursery
        self.user = User()

    # -- life

    async def start_working(self, *, greeting: bool = True) -> None:
        """Let the workers run that send what the journal asks for; with `greeting` the service is asked first."""
        if greeting:
            client = self.parts.client
            await self.parts.connectivity.watch(lambda: client.list_page(None, priority=Priority.POLL, limit=1))
        await self.nursery.start(self.parts.writeback.run)
        self.nursery.start_soon(self.parts.reconnect.run)
        if self.parts.shared.connection is not None:
            self.nursery.start_soon(self.parts.shared.connection.run)
            self.nursery.start_soon(self.parts.sharer.run)
            self.nursery.start_soon(self.parts.releaser.run)
            self.nursery.start_soon(self.parts.exchange.run)
        if self.parts.janitor is not None:
            self.nursery.start_soon(self.parts.janitor.run)

    def kill_copy(self, state: str) -> Path:
        """The state folder as a kill would leave it now, beside it and called `state`."""
        return Path(shutil.copytree(self.state_dir, self.state_dir.with_name(state)))

    async def walk(self) -> None:
        """One complete listing."""
        await self.parts.connectivity.watch(lambda: self.parts.listings.walk(priority=Priority.POLL))

    def make_due(self) -> None:
        """The time of all that waits for its time has come."""
        for intent in self.pending():
            if intent.due_ns != NEVER_NS:
                self.parts.journal.reschedule(intent.seq, due_ns=0)
        self.parts.wakeup.set()

    async def confirm(self, path: str, file_id: str, **fields: Any) -> None:
        """The service confirms the upload of a file as it is now; without a request."""
        inode = self.stat(path)
        name = self.parts.intents.paths.remote_name(inode)
        assert name is not None
        known: dict[str, Any] = {"filename": name, "size": inode.size, "mime_type": "text/plain", "created_ns": 1}
        known |= {"expires_ns": None, "downloadable": False, "origin": Origin.OURS} | fields
        self.parts.intents.binder.bind(inode.ino, Remote(file_id, **known), inode.content_gen)
        await self.parts.promotion.promote_to_content(inode.ino)

    async def settled(self, *, tries: int = 300) -> None:
        """Return once the journal is empty, whatever it is waiting for, and what went up is content; renames are followed."""
        for _ in range(tries):
            if not self.pending() and self.parts.store.renames.first() is None:
                with trio.move_on_after(60.0):
                    await self.parts.promoter.finish()
                return
            self.make_due()
            await trio.sleep(1.0)
        raise AssertionError(f"never settled: {self.pending()}")

    async def until(self, condition: Callable[[], bool], *, tries: int = 2000) -> None:
        """Let time pass until something is so."""
        for _ in range(tries):
            if condition():
                return
            await trio.sleep(1.0)
        raise AssertionError(f"never came; pending: {self.pending()}")

    # -- what a user does

    async def open(self, path: str, flags: int = os.O_RDONLY) -> OpenFile:
        """open(2)."""
        parent, name = self._place(path)
        if flags & os.O_CREAT:
            _, handle = await self.fs.files.create(parent, name, 0o100644, flags, self.user)
            return handle
        return await self.fs.files.open(self.fs.namespace.lookup(parent, name).ino, flags, self.user)

    async def close(self, handle: OpenFile) -> None:
        """close(2) of the only descriptor."""
        try:
            await self.fs.files.flush(handle.fh)
        finally:
            await self.fs.files.release(handle.fh)

    async def write(self, path: str, data: bytes, flags: int = _CREATE) -> None:
        """`echo data > path`."""
        handle = await self.open(path, flags)
        try:
            await self.fs.files.write(handle.fh, 0, data)
        finally:
            await self.close(handle)

    async def read(self, path: str) -> bytes:
        """`cat path`."""
        handle = await self.open(path)
        try:
            return await self._read_to_end(handle.fh, self.stat(path).size)
        finally:
            await self.close(handle)

    async def _read_to_end(self, fh: int, size: int) -> bytes:
        """Read up to the size that stat(2) told, in bounded calls."""
        data = await self.fs.files.read(fh, 0, min(size, _READ_BYTES))
        while data and len(data) < size:
            piece = await self.fs.files.read(fh, len(data), min(size - len(data), _READ_BYTES))
            if not piece:
                break
            data += piece
        return data

    def stat(self, path: str) -> Inode:
        """stat(2)."""
        parent, name = self._place(path)
        return self.fs.namespace.lookup(parent, name)

    def ls(self, path: str = "") -> list[str]:
        """The names in a directory."""
        fh = self.fs.namespace.opendir(self.stat(path).ino if path else ROOT_INO)
        try:
            return sorted(entry.name for entry in self.fs.namespace.readdir(fh, 2))
        finally:
            self.fs.namespace.releasedir(fh)

    def mkdir(self, path: str) -> None:
        """mkdir(2)."""
        self.fs.namespace.mkdir(*self._place(path), 0o755, self.user)

    def unlink(self, path: str) -> None:
        """unlink(2)."""
        self.fs.namespace.unlink(*self._place(path))

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        """renameat2(2)."""
        self.fs.namespace.rename(*self._place(old), *self._place(new), flags)

    def link(self, old: str, new: str) -> None:
        """link(2)."""
        self.fs.namespace.link(self.stat(old).ino, *self._place(new))

    def xattr(self, path: str, name: str) -> str:
        """`getfattr -n user.remotefs.NAME path`."""
        return self.fs.xattrs.getxattr(self.stat(path).ino, b"user.remotefs." + name.encode()).decode()

    # -- what came of it

    def pending(self) -> list[Intent]:
        """The journal."""
        return self.parts.journal.pending()

    def intent(self, path: str) -> Intent | None:
        """What is to be sent of a file."""
        return self.parts.journal.of_inode(self.stat(path).ino)

    def deletes(self) -> set[str]:
        """Ids whose DELETE is asked for."""
        return {i.file_id for i in self.pending() if i.kind is IntentKind.DELETE and i.file_id is not None}

    def id(self, path: str) -> str:
        """The id that a file is bound to."""
        file_id = self.stat(path).file_id
        assert file_id is not None, f"{path} is not with the service"
        return file_id

    def remote(self, path: str) -> Remote:
        """What is known of the remote file that a file is bound to."""
        remote = self.parts.remotes.find(self.id(path))
        assert remote is not None
        return remote

    def stored(self) -> list[FileRecord]:
        """What the service has, the newest first."""
        return list(self.server.store.list(ListQuery(limit=1000)).records)

    def remote_names(self) -> list[str]:
        """The names of what the service has."""
        return sorted(record.filename for record in self.stored())

    def remote_ids(self) -> set[str]:
        """The ids of what the service has."""
        return {record.id for record in self.stored()}

    def remote_bytes(self, filename: str) -> list[bytes]:
        """The contents that the service has under a name, the newest first."""
        blobs = self.state_dir.with_name("server") / "files"
        return [(blobs / record.id).read_bytes() for record in self.stored() if record.filename == filename]

    def _place(self, path: str) -> tuple[int, bytes]:
        folder, _, name = path.rpartition("/")
        parent = self.parts.tree.resolve(folder)
        if parent is None:
            raise NotFound(f"no folder {folder!r}")
        return parent.ino, name.encode()


@contextmanager
def rows_that_cannot_be_written(host: Host, when: str) -> Iterator[None]:
    """As on a full disk: changes of inode rows fail, those for which `when` holds (SQL, of OLD and NEW)."""
    database = host.parts.database
    with database.transaction():
        database.execute(
            f"CREATE TEMP TRIGGER full BEFORE UPDATE ON inode WHEN {when} BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    try:
        yield
    finally:
        with database.transaction():
            database.execute("DROP TRIGGER full")


def listed(file_id: str, filename: str, *, size: int = 3, created_ns: int = 1, **fields: Any) -> FileMetadata:
    """A file as a listing shows it."""
    kind = {"mime_type": "text/plain"} | fields
    return msgspec.convert(
        {"id": file_id, "filename": filename, "size_bytes": size, "created_ns": created_ns} | kind, FileMetadata
    )
