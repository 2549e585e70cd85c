"""A service, a mount below the kernel and one clock, in a folder in memory: what each case of a fuzzer lives in.

    async def life(world: World) -> list[str]:
        async with world.mounted() as host:
            await host.walk()
            ...
            return await complaints(host, ledger, log)

    found = run_world(life)

Time is virtual: nothing sleeps, and the mount has the timeouts that it really has. `world.clock.now_s` is moved by
`jumping` alone; `world.machine` shows it to the mount, and a test may set its clocks apart.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import certifi
import msgspec
import trio

from remotefs.clocks import Machine
from remotefs.config import Config, RefreshConfig, ServiceConfig, WritebackConfig
from tests.fuzz.service import Clock, Service, jumping, serving
from tests.parts import Host, running

T = TypeVar("T")

# When it begins, in seconds since the epoch.
START_S = 1_800_000_000
_NS = 1_000_000_000
# Polls come seldom: they are most of the requests of a case, and of its time.
POLL_S = 15.0
_MEMORY = Path("/dev/shm")
_TIMEOUTS = ("connect_timeout_s", "io_timeout_s", "request_deadline_s", "read_wait_s", "requests_per_minute")


@dataclass
class World:
    """One machine and one service. All offsets are in seconds and may change at any time."""

    folder: Path
    clock: Clock
    server: Service
    # What the wall clock of the machine, and the service's clock, are ahead of the true time.
    wall_ahead_s: float = 0.0
    service_ahead_s: float = 0.0
    # How long the machine was suspended so far: CLOCK_BOOTTIME counts it, trio's clock does not.
    suspended_s: float = 0.0
    # What the server's side saw that must not be: sentences for people.
    notes: list[str] = field(default_factory=list)

    @property
    def true_s(self) -> float:
        """Return the true time in seconds since the epoch."""
        return START_S + self.clock.now_s + self.suspended_s

    @property
    def wall_s(self) -> float:
        """Return what the wall clock of the machine shows, in seconds since the epoch."""
        return self.true_s + self.wall_ahead_s

    @property
    def service_s(self) -> float:
        """Return what the service's clock shows, in seconds since the epoch."""
        return self.true_s + self.service_ahead_s

    def machine(self, boot_id: str = "this run of the machine", booted_s: float = 0.0) -> Machine:
        """Return the machine's clocks; `booted_s` is when it started, in seconds after the world's beginning."""
        return Machine(
            lambda: int(self.wall_s * _NS),
            lambda: int((self.true_s - START_S - booted_s) * _NS),
            boot_id,
        )

    @asynccontextmanager
    async def mounted(
        self,
        *,
        state: str = "state",
        working: bool = True,
        machine: Machine | None = None,
        change: Callable[[Config], Config] = lambda config: config,
        tasks: bool = True,
    ) -> AsyncIterator[Host]:
        """The parts of a mount at work, as tests/parts.py makes them, with real settings; with `tasks` it lists too.

        The service is not listed before: `await host.walk()`.
        """
        chosen = partial(_as_real, change=change)
        machine = machine or self.machine()
        async with running(
            self.folder, self.server, state=state, working=working, machine=machine, change=chosen
        ) as host:
            if tasks:
                host.nursery.start_soon(host.parts.supervisor.keep, "listing the service", host.parts.refresh.run)
            yield host


def run_world(life: Callable[[World], Awaitable[T]], **server: Any) -> T:
    """Live in a world of its own; the settings are those of `remotefs.server.Settings`. Return what `life` returns."""
    clock = Clock()
    folder = Path(tempfile.mkdtemp(prefix="remotefs-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        return trio.run(_lived, life, folder, clock, {"uploads_downloadable": False} | server, clock=clock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def trust_little() -> None:
    """Trust one certificate, as tests/conftest.py does: to read all of them takes longer than a case."""
    end = "-----END CERTIFICATE-----\n"
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
        file.write(Path(certifi.where()).read_text().partition(end)[0] + end)
    os.environ["SSL_CERT_FILE"] = file.name


async def _lived(life: Callable[[World], Awaitable[T]], folder: Path, clock: Clock, settings: dict[str, Any]) -> T:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jumping, clock)
        times: list[World] = []
        async with serving(folder / "server", lambda: times[0].service_s, **settings) as server:
            times.append(World(folder, clock, server))
            result = await life(times[0])
        nursery.cancel_scope.cancel()
    return result


def _as_real(config: Config, change: Callable[[Config], Config]) -> Config:
    real = {name: getattr(ServiceConfig(), name) for name in _TIMEOUTS}
    service = msgspec.structs.replace(config.service, **real)
    refresh = RefreshConfig(poll_in_use_s=POLL_S)
    return change(msgspec.structs.replace(config, service=service, writeback=WritebackConfig(), refresh=refresh))
