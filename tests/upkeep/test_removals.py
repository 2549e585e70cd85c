"""S4, W8, R4: what was deleted elsewhere goes here, after enough evidence, and what was made here stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.errors import RemotefsError, StaleError
from remotefs.mount.check.inspection import check_state
from tests.faults import Action, EditJson, FaultyServer, HalfBody, LostReply, Raw, Reply, Request
from tests.parts import Host
from tests.upkeep.support import add, at_once, machine, view, walks

Server, Clock = FaultyServer, trio.abc.Clock


def _half_of_it(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"data": page["data"][:1], "next_page": "page_nowhere"}


NO_NEWS: list[Action] = [
    Reply(500), Reply(503), Reply(401), Reply(404), Reply(200, b""), Reply(200, {"data": None}), Reply(200, b"<html>"),
    Raw(b"\0"), HalfBody(), LostReply(), EditJson(_half_of_it), EditJson(lambda page: {}),
]  # fmt: skip


async def test_s4_a_file_goes_after_two_complete_listings_and_not_after_one(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "kept")
    gone = add(server, "gone")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        server.store.delete(gone)
        await host.walk()
        assert host.ls() == ["gone", "kept"]
        await host.walk()
        assert host.ls() == ["kept"]
        assert host.parts.remotes.find(gone) is None


async def test_s4_a_single_page_is_a_complete_listing(tmp_path: Path, server: Server, clock: Clock) -> None:
    """A2: so two polls are enough in a small account."""
    add(server, "kept")
    gone = add(server, "gone")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        server.store.delete(gone)
        await host.parts.listings.poll()
        assert host.ls() == ["gone", "kept"]
        await host.parts.listings.poll()
        assert host.ls() == ["kept"]


async def test_s4_the_two_listings_have_to_be_in_a_row(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    add(server, "wavers")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        for _ in range(4):
            server.script.add(EditJson(_without("wavers")), op="list", times=1)
            await walks(host, 2)
        assert host.ls() == ["kept", "wavers"]


@pytest.mark.parametrize("fault", NO_NEWS, ids=lambda fault: f"{type(fault).__name__}{getattr(fault, 'status', '')}")
async def test_s4_an_answer_that_is_no_whole_listing_counts_for_nothing(
    tmp_path: Path, server: Server, clock: Clock, fault: Action
) -> None:
    add(server, "kept")
    gone = add(server, "gone")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        server.store.delete(gone)
        await host.walk()
        server.script.add(fault, op="list", times=None)
        for _ in range(3):
            with pytest.raises(RemotefsError):
                await host.walk()
        assert host.ls() == ["gone", "kept"]
        server.script.clear()
        await host.walk()
        assert host.ls() == ["kept"]


async def test_s4_a_file_that_became_known_just_now_is_not_missed(tmp_path: Path, server: Server, clock: Clock) -> None:
    """A listing may lag behind an upload."""
    add(server, "kept")
    async with machine(tmp_path, server, change=lambda config: config) as host:
        await host.walk()
        await host.write("new", b"x")
        server.script.add(EditJson(_without("new")), op="list", times=3)
        await walks(host, 3)
        assert host.ls() == ["kept", "new"]
        assert await host.read("new") == b"x"


async def test_s4_a_404_on_reading_is_looked_at_and_then_believed(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    gone = add(server, "gone", b"x" * 100)
    async with machine(tmp_path, server) as host:
        await host.walk()
        await host.nursery.start(host.parts.refresh.run)
        server.store.delete(gone)
        asked = server.script.count("metadata")
        with pytest.raises(StaleError):
            await host.read("gone")
        await host.until(lambda: host.ls() == ["kept"])
        assert server.script.count("metadata") == asked + 1


async def test_s4_a_404_on_reading_that_metadata_denies_removes_nothing(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "there", b"x" * 100)
    async with machine(tmp_path, server) as host:
        await host.walk()
        await host.nursery.start(host.parts.refresh.run)
        server.script.add(Reply(404), op="content")
        with pytest.raises(StaleError):
            await host.read("there")
        await host.until(lambda: server.script.count("metadata") > 0)
        await host.until(lambda: host.parts.connectivity.is_up)
        assert await host.read("there") == b"x" * 100


async def _reported(host: Host, names: list[str]) -> None:
    """The files went away elsewhere, and readers found them missing."""
    ids = [host.id(name) for name in names]
    for file_id in ids:
        host.server.store.delete(file_id)
        host.parts.reported_missing.report(file_id)


@pytest.mark.parametrize("answer", [Reply(400), LostReply(), Reply(500)], ids=["refused", "lost", "failing"])
async def test_s4_one_that_cannot_be_asked_for_holds_up_no_other(
    tmp_path: Path, server: Server, clock: Clock, answer: Action
) -> None:
    """All others are asked for at the latest in the next round, and new files show meanwhile."""
    names = [f"gone{number}" for number in range(6)]
    for name in ("kept", *names):
        add(server, name)
    async with machine(tmp_path, server, change=_without_walks) as host:
        await host.walk()
        await _reported(host, names)
        first: list[str] = []

        def is_the_first(request: Request) -> bool:
            first.append(request.path)
            return request.path == first[0]

        server.script.add(answer, op="metadata", when=is_the_first, times=None)
        server.script.add(EditJson(_of_many), op="list", times=None)
        add(server, "new")
        await host.nursery.start(host.parts.refresh.run)
        await host.until(lambda: len(host.ls()) == 3, tries=60)
        left = set(host.ls()) - {"kept", "new"}
        assert [f"/v1/files/{host.id(name)}" for name in left] == first[:1]


async def test_s4_in_a_viewed_folder_one_that_is_refused_holds_up_no_other(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    names = [f"d／{number}" for number in range(4)]
    ids = [add(server, name) for name in ("kept", *names)]
    async with machine(tmp_path, server, change=_without_walks) as host:
        await host.walk()
        for file_id in ids[1:]:
            server.store.delete(file_id)
        server.script.add(EditJson(_of_many), op="list", when=lambda it: "ids%5B%5D" not in it.query, times=None)
        server.script.add(Reply(400), op="metadata", when=lambda it: it.path.endswith(min(ids[1:])), times=None)
        host.ls("d")
        await host.nursery.start(host.parts.refresh.run)
        await host.until(lambda: len(host.ls("d")) == 1, tries=300)
        assert host.id(f"d/{host.ls('d')[0]}") == min(ids[1:])


def _without_walks(config: Config) -> Config:
    config = at_once(config)
    return msgspec.structs.replace(
        config, refresh=msgspec.structs.replace(config.refresh, walk_every_s=1e6, poll_overlap_s=-1e6)
    )


def _of_many(page: dict[str, Any]) -> dict[str, Any]:
    """As the newest page of a large account: it says nothing about files that it lacks."""
    return page | {"next_page": "page_more"}


@pytest.mark.parametrize("status", [500, 502, 503, 529, 403])
async def test_s4_another_refusal_on_reading_removes_nothing(
    tmp_path: Path, server: Server, clock: Clock, status: int
) -> None:
    add(server, "there", b"x" * 100)
    async with machine(tmp_path, server) as host:
        await host.walk()
        server.script.add(Reply(status), op="content", times=None)
        with pytest.raises(RemotefsError):
            await host.read("there")
        assert (host.ls(), len(host.parts.reported_missing)) == (["there"], 0)
        server.script.clear()
        assert await host.read("there") == b"x" * 100


async def test_a_folder_that_only_remote_names_made_goes_with_its_last_file(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "kept")
    tombstoned = [add(server, "theirs/deep/f"), add(server, "made/f"), add(server, "used/f")]
    async with machine(tmp_path, server, working=False) as host:
        host.mkdir("made")
        await host.walk()
        # Something of this machine was put into it, and taken out again.
        host.mkdir("used/here")
        host.fs.namespace.rmdir(host.stat("used").ino, b"here")
        for file_id in tombstoned:
            server.store.delete(file_id)
        await walks(host)
        assert (host.ls(), host.ls("made"), host.ls("used")) == (["kept", "made", "used"], [], [])


async def test_r4_open_it_reads_on_and_is_gone_at_the_last_close(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    gone = add(server, "gone", b"still here")
    async with machine(tmp_path, server) as host:
        await host.walk()
        handle = await host.open("gone")
        assert await host.fs.files.read(handle.fh, 0, 5) == b"still"
        server.store.delete(gone)
        await walks(host)
        assert host.ls() == ["kept"]
        assert await host.fs.files.read(handle.fh, 0, 100) == b"still here"
        await host.close(handle)
        assert host.parts.tree.holders(gone) == []
        await host.settled()
        assert server.script.count("delete") == 0


async def test_r4_unlinked_here_and_deleted_elsewhere_an_open_file_reads_on(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "kept")
    gone = add(server, "gone", b"still here")
    async with machine(tmp_path, server) as host:
        await host.walk()
        handle = await host.open("gone")
        assert await host.fs.files.read(handle.fh, 0, 10) == b"still here"
        host.unlink("gone")
        server.store.delete(gone)
        await walks(host, 3)
        assert await host.fs.files.read(handle.fh, 0, 10) == b"still here"
        await host.close(handle)
        await host.settled()
        assert host.ls() == ["kept"]


async def test_w8_an_edit_here_of_a_file_deleted_elsewhere_wins(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    async with machine(tmp_path, server, working=False, durability="local") as host:
        gone = add(server, "f", b"old")
        await host.walk()
        await host.write("f", b"mine")
        server.store.delete(gone)
        await walks(host, 3)
        assert await host.read("f") == b"mine"
        await host.start_working()
        await host.settled()
        assert host.remote_bytes("f") == [b"mine"]
        await walks(host, 3)
        assert await view(host) == {"f": b"mine", "kept": b"theirs"}
        assert host.parts.trash.entries() == []


async def test_w8_what_is_being_written_is_not_taken_away(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    gone = add(server, "f", b"old words")
    async with machine(tmp_path, server) as host:
        await host.walk()
        handle = await host.open("f", os.O_RDWR)
        await host.fs.files.write(handle.fh, 0, b"new")
        server.store.delete(gone)
        await walks(host, 3)
        assert host.ls() == ["f", "kept"]
        await host.fs.files.write(handle.fh, 9, b"!")
        await host.close(handle)
        await host.settled()
        # Nor does the content that it was stay behind, which no row names any more.
        assert await check_state(host.parts) == []
        assert host.remote_bytes("f") == [b"new words!"]


async def test_r4_a_file_vanishes_when_it_expires(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.store.add("kept", b"x", downloadable=True)
    server.store.add("short", b"x", downloadable=True, expires_in_s=3600)
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        assert host.ls() == ["kept", "short"]
        server.script.add(EditJson(_expired), op="list", times=None)
        await walks(host)
        assert host.ls() == ["kept"]
        assert server.script.count("delete") == 0


def _without(name: str) -> Any:
    return lambda page: page | {"data": [entry for entry in page["data"] if entry["filename"] != name]}


def _expired(page: dict[str, Any]) -> dict[str, Any]:
    for entry in page["data"]:
        if entry.get("expires_at"):
            entry["expires_at"] = "2020-01-01T00:00:00Z"
    return page
