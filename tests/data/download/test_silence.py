"""A service that hangs, seen by the calls of a program: none is held for longer than R7 says."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.errors import DeadlineExceeded, SilentService
from tests.faults import FaultyServer, Hold, Rule
from tests.parts import Host, running

Clock = trio.abc.Clock
WAIT_S = 10.0
CONTENT = bytes(range(256)) * 2000


def patient(config: Config) -> Config:
    """The waits that a mount has by default."""
    return msgspec.structs.replace(config, service=msgspec.structs.replace(config.service, read_wait_s=WAIT_S))


def with_limit(config: Config) -> Config:
    service = msgspec.structs.replace(config.service, read_wait_s=WAIT_S, requests_per_minute=100)
    return msgspec.structs.replace(config, service=service)


async def waits(call: Callable[[], Awaitable[object]], seconds: float, error: type[DeadlineExceeded]) -> None:
    """It ends with that error, after that time."""
    began = trio.current_time()
    with pytest.raises(DeadlineExceeded) as caught:
        await call()
    assert caught.type is error
    assert trio.current_time() - began == pytest.approx(seconds, abs=0.1)


def hang(server: FaultyServer, *ops: str) -> list[Rule]:
    return [server.script.add(Hold(), op=op, times=None) for op in ops]


async def overwrite(host: Host, name: str) -> None:
    """A write into the middle, which needs the rest."""
    handle = await host.open(name, os.O_WRONLY)
    try:
        await host.fs.files.write(handle.fh, 5, b"!")
    finally:
        await host.close(handle)


async def cut(host: Host, name: str) -> None:
    """truncate(2), which needs what stays."""
    await host.fs.files.truncate(host.stat(name).ino, 1000, None)


@pytest.mark.parametrize("call", [Host.read, overwrite, cut], ids=["read", "write", "truncate"])
async def test_r7_a_call_that_needs_cold_bytes_ends_and_the_next_does_not_wait(
    tmp_path: Path, clock: Clock, server: FaultyServer, call: Callable[[Host, str], Awaitable[object]]
) -> None:
    server.store.add_generated("a.bin", CONTENT)
    async with running(tmp_path, server, change=patient) as host:
        await host.walk()
        [held] = hang(server, "content")
        await waits(lambda: call(host, "a.bin"), WAIT_S, DeadlineExceeded)
        await waits(lambda: call(host, "a.bin"), 0, SilentService)
        held.release()
        await host.until(lambda: host.parts.downloader.statistics().streams == 0)
        await call(host, "a.bin")
        assert server.script.count("content") == 1, "what came late is not asked for again"


@pytest.mark.parametrize("size", [0, len(CONTENT)])
async def test_r7_an_open_that_has_to_ask_for_the_length_ends(
    tmp_path: Path, clock: Clock, server: FaultyServer, size: int
) -> None:
    server.store.add_generated("a.png", CONTENT[:size], mime_type="image/png")
    async with running(tmp_path, server, change=patient) as host:
        await host.walk()
        [held] = hang(server, "content")
        await waits(lambda: host.open("a.png"), WAIT_S, DeadlineExceeded)
        held.release()
        await host.until(lambda: host.parts.downloader.statistics().streams == 0)
        assert await host.read("a.png") == CONTENT[:size]


async def test_r7_out_of_reach_nobody_waits_and_one_probe_asks_for_all(
    tmp_path: Path, clock: Clock, server: FaultyServer
) -> None:
    for n in range(30):
        server.store.add_generated(f"{n}.bin", CONTENT)
    async with running(tmp_path, server, change=patient) as host:
        await host.walk()
        rules = hang(server, "content", "list")
        await waits(lambda: host.read("0.bin"), WAIT_S, DeadlineExceeded)
        listings = server.script.count("list")
        for n in range(1, 30):
            await waits(lambda n=n: host.read(f"{n}.bin"), 0, SilentService)
        await trio.sleep(60)
        # At once, and each again when the last one has waited for 10 s, after a pause of 1, 2, 4, 8 s.
        assert server.script.count("list") - listings <= 5
        assert server.script.count("content") == 1
        for rule in rules:
            server.script.remove(rule)
        await host.until(lambda: host.parts.connectivity.is_up)
        assert await host.read("29.bin") == CONTENT


async def test_r7_while_it_answers_others_one_file_that_hangs_is_alone(
    tmp_path: Path, clock: Clock, server: FaultyServer
) -> None:
    server.store.add_generated("bad.bin", CONTENT)
    server.store.add_generated("good.bin", CONTENT)
    async with running(tmp_path, server, change=patient) as host:
        await host.walk()
        bad = host.id("bad.bin")
        server.script.add(Hold(), op="content", times=None, when=lambda request: bad in request.path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_walk_after, host, 5.0)
            await waits(lambda: host.read("bad.bin"), WAIT_S, DeadlineExceeded)
        assert host.parts.connectivity.is_up
        assert await host.read("good.bin") == CONTENT


async def test_r7_waiting_for_the_request_limit_is_no_hang_and_is_logged_once(
    tmp_path: Path, clock: Clock, server: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{n:03}.txt" for n in range(60)]
    for name in names:
        server.store.add_generated(name, name.encode())
    async with running(tmp_path, server, change=with_limit) as host:
        await host.walk()
        began = trio.current_time()
        with caplog.at_level(logging.INFO):
            for name in names:
                assert await host.read(name) == name.encode()
        assert trio.current_time() - began > 25, "the limit was felt"
    assert [message for message in caplog.messages if "request limit" in message] == [
        "reads wait for the request limit (100 a minute); they go on by themselves"
    ]


async def _walk_after(host: Host, seconds: float) -> None:
    await trio.sleep(seconds)
    await host.walk()
