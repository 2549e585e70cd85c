"""One simulated machine: its disk, its clock, and the mount on it, which starts, ends, is killed and starts again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from remotefs.cli.exit_status import leaves_of
from remotefs.clocks import Machine as Clocks
from remotefs.config import CacheConfig, Config, RefreshConfig, Secret, ServiceConfig, SharedConfig, WritebackConfig
from remotefs.errors import RemotefsError, TransportError
from remotefs.mount.assembly import Components, assemble
from remotefs.mount.opening import check_database
from remotefs.mount.session import MountSession
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.store.database import Database
from tests.faults import KEY
from tests.model.kernel import Kernel
from tests.model.model import Model, Node
from tests.parts import Host
from tests.simulation.disk import Disk, Persistence, own_work
from tests.simulation.history import History
from tests.simulation.network import Link, Network, address
from tests.simulation.scheduler import Chance

# Whose step it is that trio runs.
whose: ContextVar[Machine | None] = ContextVar("whose", default=None)
# After a start that failed for want of the service it is tried again.
_AGAIN_S = 10.0
# The files of a renamed folder with more entries than this follow it in steps; few, so that it happens in a life.
_FOLLOW_AT_ONCE = 1
# So much content is kept on the disk, in bytes: less than some files have, so that files are fetched again in a life.
_EVICTABLE_BYTES = 12_000
_NS = 1_000_000_000


class Serving(MountSession):
    """A session without a kernel: it serves until it is told to end, as an unmount from outside does."""

    def __init__(self, settings: MountSettings, parts: Components, ready: Callable[[], None], end: trio.Event) -> None:
        super().__init__(settings, parts, lambda progress: None)
        self._ready = ready
        self._unmounted = end

    @asynccontextmanager
    async def _mounted(self) -> AsyncIterator[None]:
        yield

    async def _serve(self) -> None:
        self._ready()
        await self._unmounted.wait()

    async def _heed_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()


@dataclass
class Fuse:
    """When a machine is to crash: after so many steps of its tasks, or so many of its crash points."""

    kind: str
    left: int
    persistence: Persistence


@dataclass(eq=False)
class Machine:
    """A machine with a number. Below `folder` it has its state folders: each crash leaves a new one."""

    number: int
    folder: Path
    chance: Chance
    network: Network
    disks: list[Disk]
    nursery: trio.Nursery
    config: Config
    # Told of what happens, in words.
    tell: Callable[[str], None]
    model: Model = field(default_factory=Model)
    fuse: Fuse | None = None
    # The kinds of trouble that excuse a call that fails.
    hurt: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    lives: int = 0
    # Whether trouble of the disk is kept from what looks at it after a crash. Older lives count those calls.
    copies_unseen: bool = False

    def __post_init__(self) -> None:
        self.history = History(self.model)
        self.up = trio.Event()
        self.gone = trio.Event()
        self.parts: Components | None = None
        self.kernel: Kernel | None = None
        # Calls of users under way, each with a way to cut it short.
        self.calls: list[trio.CancelScope] = []
        # How long it stays down when it goes down, in seconds.
        self.down_s = 0.0
        self._serves = False
        self.lost_power = False
        self.asking = 0
        # The bytes that were last written to each shared file, by its number.
        self.written: dict[int, bytes] = {}
        # Files whose bytes a call is changing, with those of before; whether one is making a name.
        self.under_way: dict[Node, bytes] = {}
        self.is_naming = False
        # How it went down, and the first of its tree's shapes that may be found then.
        self.went_down: Persistence | None = None
        self.first_shape = 0
        self._chance = self.chance.source(f"machine {self.number}")
        self._booted_s, self._boots = 0.0, 1
        self._end = trio.Event()
        self._scope = trio.CancelScope()
        self._link: Link | None = None
        self.state = self.folder / f"machine-{self.number}-0"
        self.state.mkdir(parents=True, mode=0o700)
        self.disk = Disk(self.state)
        self.disks.append(self.disk)

    # -- starting and ending

    async def start(self) -> None:
        """Mount; return once the mount serves. A service out of reach, and a disk that fails, are waited for."""
        while True:
            try:
                await self.nursery.start(self._run)
            except Exception as error:
                [reason] = leaves_of(error)
                self.tell(f"machine {self.number} cannot mount: {reason}")
                is_told = isinstance(reason, RemotefsError | OSError)
                if not is_told or (not isinstance(reason, TransportError) and "disk" not in self.hurt):
                    self.complaints.append(f"broken: machine {self.number} cannot mount: {reason!r}")
                    raise
                await trio.sleep(_AGAIN_S)
            else:
                return

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        whose.set(self)
        self.lives += 1
        self._link, self._end, self.gone = self.network.link(self.number), trio.Event(), trio.Event()
        with trio.CancelScope() as self._scope:
            try:
                await self._mount(task_status)
            except RemotefsError as error:
                if not self._serves:
                    raise
                if not self.fuse_is_blown:
                    self.complaints.append(f"ended: the mount of machine {self.number} ends: {error}")
            finally:
                self.go_down()
                self.parts = self.kernel = None
        self._serves = False
        self.gone.set()

    async def _mount(self, task_status: trio.TaskStatus[None]) -> None:
        settings = MountSettings(self.folder / "mnt", self.state, self.config, FuseOptions())
        database = Database(self.state / "state.db")
        self.disk.log_began()
        try:
            await check_database(database)
            parts = assemble(settings, database, machine=self._clocks())
            parts.intents.renamed_folders.at_once = _FOLLOW_AT_ONCE
            self.parts, self.kernel = parts, Kernel(parts.fs)

            def ready() -> None:
                self.tell(f"machine {self.number} serves")
                self._serves = True
                task_status.started()

            try:
                await Serving(settings, parts, ready, self._end).run()
            finally:
                # What a process that is killed leaves to the kernel.
                parts.content.close()
                parts.staging.close()
        finally:
            database.close()

    def _clocks(self) -> Clocks:
        clock = self.chance.clock
        booted_s = self._booted_s
        return Clocks(clock.wall_ns, lambda: int((clock.now_s - booted_s) * _NS), f"boot {self.number}.{self._boots}")

    async def unmount(self) -> None:
        """Unmount from outside, which drains for a while; return once the process has ended."""
        self.tell(f"machine {self.number} is unmounted")
        self._end.set()
        await self.gone.wait()

    def go_down(self) -> None:
        """Let users wait until it is up again; those who wait already go on waiting."""
        if self.up.is_set():
            self.up = trio.Event()

    # -- crashing

    @property
    def fuse_is_blown(self) -> bool:
        """Return whether the process is being killed."""
        return self._link is None

    @property
    def link(self) -> Link | None:
        """Return the connections of the process; None once it is killed."""
        return self._link

    def step(self) -> None:
        """Count a step of its tasks; it may be the last."""
        self._burn("steps")

    def point(self, name: str) -> None:
        """Count a crash point, which may be the last; called in the middle of the product's work."""
        match name:
            case "database has taken its log in":
                self.disk.checkpointed(self._chance)
            case "log begins anew":
                self.disk.log_began()
        self._burn("points")

    def _burn(self, kind: str) -> None:
        if self.fuse is None or self.fuse.kind != kind or self.fuse_is_blown:
            return
        self.fuse.left -= 1
        if self.fuse.left <= 0:
            self.crash(self.fuse.persistence)

    def crash(self, persistence: Persistence) -> None:
        """End the process now, and leave its folder as a kill or a power cut does."""
        self.fuse = None
        self.went_down = persistence
        self.first_shape = max(len(self.history.shapes) - 1 - self.is_naming, 0)
        self.tell(
            f"machine {self.number} {'is killed' if persistence is Persistence.ALL else f'loses power ({persistence})'}"
        )
        target = self.folder / f"machine-{self.number}-{self.lives}"
        self.disk.left(target, persistence, self._chance)
        with own_work() if self.copies_unseen else nullcontext():
            left = Disk(target)
            if persistence is Persistence.ALL:
                left.inherit(self.disk)
        if persistence is not Persistence.ALL:
            self.lost_power = True
            self._booted_s, self._boots = self.chance.clock.now_s, self._boots + 1
        self.disks.remove(self.disk)
        self.disks.append(left)
        self.state, self.disk = target, left
        assert self._link is not None
        link, self._link = self._link, None
        link.cut()
        self.go_down()
        self._scope.cancel()
        for call in self.calls:
            call.cancel()

    # -- for those who look

    def host(self) -> Host:
        """Return the parts as tests know them."""
        assert self.parts is not None
        return Host(self.parts, self.network.service, self.state, self.nursery)


def config_of(machine: int, durability: str, *, store: str = "") -> Config:
    """Return the settings of a machine: real timeouts, small chunks, and listings that come seldom."""
    service: dict[str, Any] = {"base_url": address(machine), "api_key": Secret(KEY), "shape": "ga"}
    return Config(
        service=ServiceConfig(**service),
        cache=CacheConfig(evictable_bytes=_EVICTABLE_BYTES, reserve_bytes=0, reserve_fraction=0.0, chunk_bytes=4096),
        writeback=WritebackConfig(durability=durability),  # type: ignore[arg-type]  # one of its words
        refresh=RefreshConfig(poll_in_use_s=15.0),
        shared=SharedConfig(store=store),
    )
