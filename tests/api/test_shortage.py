"""A machine that has no socket left for a connection: that says nothing about the service."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterable

import pytest
import trio
import trio.testing

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.connectivity import Connectivity
from remotefs.api.http import httpcore
from remotefs.api.pool import Pool, PoolLimits
from remotefs.api.transport import httpx
from remotefs.errors import OutOfSockets, TransportError, Unreachable
from tests.api.support import URGENT, settings

# In a process of its own, all descriptors but one or none are taken; then it asks for a listing.
_STARVED = """
import encodings.idna, resource, sys, trio
from remotefs.api.budget import Budget, Priority
from remotefs.api.client import Client
from remotefs.config import Secret, ServiceConfig

async def main():
    config = ServiceConfig(base_url=sys.argv[1], api_key=Secret("sk-none"), shape="ga")
    async with Client(config, Budget.for_service(config), chance=lambda: 0.0) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True:
                held.append(open("/dev/null"))
        except OSError:
            pass
        try:
            await client.list_page(None, priority=Priority.INTERACTIVE_READ)
        except Exception as error:
            held.clear()
            print(type(error).__name__, error)

trio.run(main)
"""


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "https://api.example.com"])
def test_without_descriptors_the_error_says_so(address: str) -> None:
    """Also where the name has to be looked up: the resolver then says that there is no such name."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", _STARVED, address], capture_output=True, text=True, timeout=60, env=clean, check=True
    )
    assert done.stdout.startswith("OutOfSockets listing: this machine could open no connection to"), done.stdout
    assert "Too many open files" in done.stdout


class Starved(httpcore.AsyncNetworkBackend):
    """Opens no connection: each address that is tried meets one of these errors."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._errors = [OSError(number, os.strerror(number)) for number in numbers]
        self.tried_at: list[float] = []

    async def connect_tcp(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        self.tried_at.append(trio.current_time())
        try:
            self._fail()
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    def _fail(self) -> None:
        """As trio does."""
        raise OSError("all attempts to connect failed") from ExceptionGroup("all of them failed", self._errors)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


def client_on(backend: Starved) -> Client:
    config = settings(base_url="http://127.0.0.1:9")
    pool = Pool(httpx.create_ssl_context(), PoolLimits(connections=9, idle_connections=9, idle_s=9), backend=backend)
    return Client(config, Budget.for_service(config), transport=pool, chance=lambda: 0.0)


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([errno.EMFILE], OutOfSockets),
        ([errno.ENFILE, errno.EADDRNOTAVAIL], OutOfSockets),
        ([errno.ENOMEM], OutOfSockets),
        ([errno.ECONNREFUSED], Unreachable),
        ([errno.EADDRNOTAVAIL, errno.ECONNREFUSED], Unreachable),
    ],
)
async def test_only_a_shortage_here_leaves_the_service_in_reach(
    autojump_clock: trio.testing.MockClock, numbers: list[int], kind: type[TransportError]
) -> None:
    backend, link = Starved(numbers), Connectivity()
    link.up()
    async with client_on(backend) as client:
        with pytest.raises(TransportError) as caught:
            await link.watch(lambda: client.list_page(None, priority=URGENT))
    assert caught.type is kind
    assert link.is_up is (kind is OutOfSockets)
    first, second, third = backend.tried_at
    assert 0.3 < second - first < third - second, "it is tried again, with growing pauses"
