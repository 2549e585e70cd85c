"""W7: what a rename means for the service, and `remotefs sync`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.control.messages.sync import SyncParams, SyncResult
from remotefs.errors import NotFound
from tests.commands import commands, quietly
from tests.faults import FaultyServer, Hold, LostReply
from tests.parts import Host
from tests.upkeep.support import add, at_once, machine, walks

Server, Clock = FaultyServer, trio.abc.Clock
MIB = 1 << 20
FEW = 4


async def _sync(host: Host, path: str = "", *, dry_run: bool = False) -> SyncResult:
    return await commands(host).sync.sync(SyncParams(path, dry_run=dry_run), quietly)


async def _tree_of(host: Host, count: int, size: int = 1) -> None:
    """`d` with that many files of ours, all at the service."""
    host.mkdir("d")
    for number in range(count):
        await host.write(f"d/{number}", bytes([number % 256]) * size)
    await host.settled()


def _few(config: Config) -> Config:
    """At most so many files follow a rename at once; 100 are many uploads for a test."""
    return msgspec.structs.replace(
        at_once(config), writeback=msgspec.structs.replace(config.writeback, reupload_max_files=FEW)
    )


async def test_w7_a_folder_of_too_many_files_is_renamed_here_alone_and_sync_follows(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    count = FEW + 1
    async with machine(tmp_path, server, change=_few) as host:
        await _tree_of(host, count)
        before = host.remote_ids()
        host.rename("d", "e")
        await host.settled()
        assert host.remote_ids() == before
        assert {host.xattr(f"e/{number}", "state") for number in range(count)} == {"alias"}
        await walks(host, 2)
        assert host.ls() == ["e"]

        cost = await _sync(host, "e", dry_run=True)
        assert (cost.files, cost.bytes, cost.requests, cost.unreadable) == (count, count, 2 * count, ())
        assert (host.pending(), host.remote_ids()) == ([], before)
        await _sync(host, "e")
        await host.settled()
        assert host.remote_names() == [f"e／{number}" for number in range(count)]
        assert not before & host.remote_ids()
        for number in range(count):
            assert host.xattr(f"e/{number}", "state") == "clean"
            assert await host.read(f"e/{number}") == bytes([number]) == host.remote_bytes(f"e／{number}")[0]


async def test_w7_a_folder_of_as_many_as_may_be_is_renamed_at_the_service_too(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine(tmp_path, server, change=_few) as host:
        await _tree_of(host, FEW)
        host.rename("d", "e")
        await host.settled()
        assert host.remote_names() == [f"e／{number}" for number in range(FEW)]
        assert await host.read("e/3") == bytes([3])


@pytest.mark.parametrize(("limit", "relabelled"), [(3 * MIB, True), (3 * MIB - 1, False)])
async def test_w7_more_bytes_than_the_limit_are_renamed_here_alone(
    tmp_path: Path, server: Server, clock: Clock, limit: int, *, relabelled: bool
) -> None:
    def limited(config: Config) -> Config:
        return msgspec.structs.replace(
            at_once(config), writeback=msgspec.structs.replace(config.writeback, reupload_max_bytes=limit)
        )

    async with machine(tmp_path, server, change=limited) as host:
        await _tree_of(host, 3, MIB)
        host.rename("d", "e")
        await host.settled()
        assert (host.remote_names()[0] == "e／0") is relabelled
        assert (host.xattr("e/0", "state") == "alias") is not relabelled


def test_w7_the_limits_are_100_files_and_100_mib() -> None:
    assert (Config().writeback.reupload_max_files, Config().writeback.reupload_max_bytes) == (100, 100 * MIB)


async def test_w7_renamed_back_nothing_is_an_alias_and_nothing_was_sent(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine(tmp_path, server, change=_few) as host:
        await _tree_of(host, FEW + 1)
        sent = server.script.count("upload")
        host.rename("d", "e")
        host.rename("e", "d")
        await host.settled()
        assert host.xattr("d/0", "state") == "clean"
        assert (await _sync(host)).files == 0
        assert (server.script.count("upload"), server.script.count("delete")) == (sent, 0)


async def test_w7_a_file_of_ours_renamed_back_in_time_is_not_sent(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        await host.write("f", b"x")
        await host.settled()
        host.rename("f", "g")
        assert host.intent("g") is not None
        host.rename("g", "f")
        assert host.pending() == []


async def test_w7_sync_fetches_what_others_made_and_names_what_cannot_follow(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    theirs, closed = add(server, "theirs", b"their words"), add(server, "closed", downloadable=False)
    async with machine(tmp_path, server) as host:
        await host.walk()
        host.rename("theirs", "mine")
        host.rename("closed", "shut")
        await host.settled()
        assert host.remote_ids() == {theirs, closed}
        cost = await _sync(host, dry_run=True)
        assert (cost.files, cost.bytes, cost.requests, cost.unreadable) == (1, 11, 3, ("shut",))
        await _sync(host)
        await host.settled()
        assert host.remote_names() == ["closed", "mine"]
        assert host.remote_bytes("mine") == [b"their words"]
        assert theirs not in host.remote_ids()
        assert await host.read("mine") == b"their words"
        assert host.xattr("shut", "state") == "alias"
        await walks(host, 2)
        assert host.ls() == ["mine", "shut"]


async def test_w7_what_changes_while_sync_fetches_others_is_left_to_its_change(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    for name in ("a", "b", "c", "d", "e"):
        add(server, name, name.encode())
    async with machine(tmp_path, server, durability="local", upload_delay_s=1e6) as host:
        await host.walk()
        for name in ("a", "b", "c", "d", "e"):
            host.rename(name, name * 2)
        held = server.script.add(Hold(), op="content")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_sync, host)
            await held.until_hit()
            await host.write("bb", b"edited")
            host.unlink("cc")
            host.rename("dd", "d")
            held.release()
        await host.settled()
        # The original of what was edited stays (W8).
        assert host.remote_names() == ["aa", "b", "bb", "d", "ee"]
        assert (host.remote_bytes("bb"), await host.read("bb")) == ([b"edited"], b"edited")
        assert (host.xattr("bb", "state"), host.xattr("d", "state")) == ("clean", "clean")


async def test_w7_sync_of_one_file_leaves_the_others(tmp_path: Path, server: Server, clock: Clock) -> None:
    for name in ("a", "b"):
        add(server, name, name.encode())
    async with machine(tmp_path, server) as host:
        await host.walk()
        for name in ("a", "b"):
            host.rename(name, name * 2)
        await _sync(host, "aa")
        await host.settled()
        assert host.remote_names() == ["aa", "b"]
        with pytest.raises(NotFound):
            await _sync(host, "nowhere")


async def test_w7_after_a_sync_another_machine_sees_the_new_names(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server, state="one") as one:
        add(server, "f", b"x")
        await one.walk()
        one.mkdir("d")
        one.rename("f", "d/g")
        await _sync(one)
        await one.settled()
    async with machine(tmp_path, server, state="two") as two:
        await two.walk()
        assert (two.ls(), two.ls("d")) == (["d"], ["g"])


async def test_w7_a_file_that_may_be_somebody_elses_keeps_its_name_there_until_sync(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """W6 took it for ours because it fits; that is no proof (S3)."""
    async with machine(tmp_path, server, change=at_once) as host:
        server.script.add(LostReply(), op="upload")
        await host.write("a", b"hello")
        await host.settled()
        adopted = host.remote_ids()

        host.rename("a", "b")
        await host.settled()
        assert (host.remote_names(), host.remote_ids()) == (["a"], adopted)
        assert await host.read("b") == b"hello"

        await _sync(host, "b")
        await host.settled()
        assert host.remote_names() == ["b"]
        assert await host.read("b") == b"hello"
