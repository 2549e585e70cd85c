"""Many machines of one account on one store at the same time: all read what all wrote, at no request of the service."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.data.share.test_uploads import machine
from tests.faults import FaultyServer
from tests.parts import Host

Server = FaultyServer


def content(number: int, name: str) -> bytes:
    return f"{name} of machine {number}\n".encode() * 200


async def write_all(host: Host, number: int, names: list[str]) -> None:
    host.mkdir(f"machine {number}")
    for name in names:
        await host.write(f"machine {number}/{name}", content(number, name))


async def read_all(host: Host, machines: int, names: list[str]) -> None:
    for number in range(machines):
        for name in names:
            assert await host.read(f"machine {number}/{name}") == content(number, name)


@pytest.mark.parametrize(
    ("machines", "files"), [(3, 4), pytest.param(8, 20, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
async def test_all_machines_read_what_all_wrote_and_no_file_costs_a_request_more(
    tmp_path: Path, server: Server, folder: Path, clock: trio.abc.Clock, machines: int, files: int
) -> None:
    names = [f"file {number}" for number in range(files)]
    async with AsyncExitStack() as ends:
        hosts = [
            await ends.enter_async_context(machine(tmp_path, server, folder, f"machine{number}"))
            for number in range(machines)
        ]
        before = server.script.count()
        listings = server.script.count("list")
        async with trio.open_nursery() as nursery:
            for number, host in enumerate(hosts):
                nursery.start_soon(write_all, host, number, names)
        for host in hosts:
            await host.until(lambda host=host: not host.parts.shared.is_any_awaited())  # type: ignore[misc] - bound at once
            await host.walk()
        async with trio.open_nursery() as nursery:
            for host in hosts:
                nursery.start_soon(read_all, host, machines, names)
        # A4: an upload is one request, and a read elsewhere is none; listings come with the time.
        asked = server.script.count() - before - (server.script.count("list") - listings)
        assert asked == server.script.count("upload") == machines * files
