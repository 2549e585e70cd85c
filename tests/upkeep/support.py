"""What the tests of upkeep share: files of others, machines that believe a listing at once, and the commands."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec

from remotefs.clocks import Machine, boot_ns
from remotefs.config import Config
from tests.faults import FaultyServer
from tests.parts import Host, running

DAY_S = 86_400.0
YEAR_2200 = "Fri, 31 Dec 2199 23:59:59 GMT"


class Time:
    """The clocks of a machine and of the service, which go on together; each may be wrong, by so many seconds."""

    def __init__(self, server: FaultyServer) -> None:
        self.passed_s = 0.0
        self.wall_wrong_s = 0.0
        self.service_wrong_s = 0.0
        # What replies say instead.
        self.said: str | None = None
        server.script.date = self.date
        server.store._clock = lambda: time.time() + self.passed_s

    def machine(self, boot_id: str = "this run of the machine") -> Machine:
        return Machine(
            lambda: time.time_ns() + int((self.passed_s + self.wall_wrong_s) * 1e9),
            lambda: boot_ns() + int(self.passed_s * 1e9),
            boot_id,
        )

    def date(self) -> str | None:
        return self.said or formatdate(time.time() + self.passed_s + self.service_wrong_s, usegmt=True)


def at_once(config: Config) -> Config:
    """A file may be missed from the moment on in which it is known."""
    return msgspec.structs.replace(config, refresh=msgspec.structs.replace(config.refresh, removal_min_age_s=0.0))


def machine(folder: Path, server: FaultyServer, **options: Any) -> AbstractAsyncContextManager[Host]:
    """A machine with the service's usual limits that need not wait half a minute before it misses a file."""
    return running(folder, server, **({"change": at_once} | options))


def add(
    server: FaultyServer,
    name: str,
    data: bytes = b"theirs",
    *,
    downloadable: bool = True,
    expires_in_s: int | None = None,
) -> str:
    """A file of somebody else; its id."""
    name = name.replace("/", "\uff0f")
    return server.store.add(name, data, downloadable=downloadable, expires_in_s=expires_in_s).id


async def walks(host: Host, count: int = 2) -> None:
    """So many complete listings."""
    for _ in range(count):
        await host.walk()


async def view(host: Host, folder: str = "") -> dict[str, bytes | str]:
    """Every file below a folder: what it holds, or why it cannot be read."""
    found: dict[str, bytes | str] = {}
    for name in host.ls(folder):
        path = f"{folder}/{name}" if folder else name
        if host.stat(path).is_dir:
            found |= await view(host, path)
        else:
            readable = host.xattr(path, "readable")
            found[path] = await host.read(path) if readable == "yes" else readable
    return found
