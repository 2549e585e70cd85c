"""`get` without a mount: whole files under their names, hostile ones too, and what cannot be had by its reason."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest
import trio

from remotefs.server.queries import ListQuery
from tests.failing import below as is_below
from tests.failing import failing
from tests.faults import CutBody, FaultyServer, Reply
from tests.parts import running
from tests.transfers.support import get, get_request, put, request, write

Server, Clock = FaultyServer, trio.abc.Clock
FETCHED, PRESENT = ("fetched", None), ("present", None)


def made(server: Server, name: str, data: bytes) -> str:
    """A file as the code execution tool makes it; its id."""
    return server.store.add(name, data, downloadable=True).id


def below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def files_with(folder: Path, data: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == data]


async def test_paths_ids_and_folders_come_with_their_looks(tmp_path: Path, server: Server, clock: Clock) -> None:
    one, _, _ = made(server, "one.csv", b"1"), made(server, "d／a.txt", b"a" * 300_000), made(server, "d／e／b", b"")
    out = tmp_path / "out"
    assert await get(tmp_path, server, get_request(one, "d", into=out)) == dict.fromkeys(
        ["one.csv", "d/a.txt", "d/e/b"], FETCHED
    )
    assert below(out) == {"one.csv": b"1", "d/a.txt": b"a" * 300_000, "d/e/b": b""}
    async with running(tmp_path, server) as host:
        assert (out / "d/a.txt").stat().st_mtime_ns == host.stat("d/a.txt").mtime_ns
    assert (await get(tmp_path, server, get_request("one.csv", into=tmp_path / "renamed"))) == {"one.csv": FETCHED}
    assert (tmp_path / "renamed").read_bytes() == b"1"
    # A folder goes into its destination, there or not: a second run finds it.
    assert (await get(tmp_path, server, get_request("d", into=tmp_path / "new")))["d/a.txt"] == FETCHED
    assert (await get(tmp_path, server, get_request("d", into=tmp_path / "new")))["d/a.txt"] == PRESENT


async def test_a_second_run_skips_what_is_there_and_fetches_the_rest(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    names = [f"{number}.bin" for number in range(4)]
    for name in names:
        made(server, name, name.encode() * 1000)
    broken = server.script.add(Reply(500), op="content", nth=4, times=None)
    out = tmp_path / "out"
    first = await get(tmp_path, server, get_request(generated=True, into=out))
    assert sorted(outcome for outcome, _ in first.values()) == ["failed", *["fetched"] * 3]
    assert len(below(out)) == 3
    server.script.remove(broken)
    before = server.script.count("content")
    second = await get(tmp_path, server, get_request(generated=True, into=out))
    assert sorted(outcome for outcome, _ in second.values()) == ["fetched", *["present"] * 3]
    assert server.script.count("content") - before == 1
    assert sorted(below(out)) == names


async def test_a_file_that_was_cut_goes_on_where_it_was(tmp_path: Path, server: Server, clock: Clock) -> None:
    size = 6 << 20
    made(server, "large", os.urandom(size))
    [record] = server.store.list(ListQuery(limit=10)).records
    content = (tmp_path / "server" / "files" / record.id).read_bytes()
    rules = [server.script.add(CutBody(4 << 20), op="content"), server.script.add(Reply(500), op="content", times=None)]
    out = tmp_path / "out"
    [(outcome, reason)] = (await get(tmp_path, server, get_request("large", into=out))).values()
    assert outcome == "failed"
    assert reason
    assert not out.exists()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".part")] == []
    for rule in rules:
        server.script.remove(rule)
    assert await get(tmp_path, server, get_request("large", into=out)) == {"large": FETCHED}
    assert out.read_bytes() == content
    ranges = [r.headers.get("range") for r in server.script.requests("content")]
    assert int((ranges[-1] or "").removeprefix("bytes=").split("-")[0]) >= 2 << 20


async def test_only_files_made_lately_are_asked_for(tmp_path: Path, server: Server, clock: Clock) -> None:
    # The service's clock is known by whole seconds, so a file of this moment may be a second old or young.
    server.store._clock = lambda: time.time() - 100.0
    made(server, "d／new", b"new")
    server.store._clock = time.time
    await put(tmp_path, server, request(write(tmp_path / "mine", b"mine")))
    out = tmp_path / "out"
    assert await get(tmp_path, server, get_request(generated=True, since_s=3600, into=out)) == {"d/new": FETCHED}
    assert below(out) == {"d/new": b"new"}
    assert await get(tmp_path, server, get_request(generated=True, since_s=60, into=out)) == {}


async def test_what_cannot_be_had_is_named_and_the_others_come(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.store.add("theirs", b"uploaded elsewhere", downloadable=False)
    made(server, "made", b"m")
    out = tmp_path / "out"
    found = await get(tmp_path, server, get_request("theirs", "made", "nothing", into=out))
    assert found["made"] == FETCHED
    assert "does not give back what was uploaded elsewhere" in (found["theirs"][1] or "")
    assert found["nothing"] == ("failed", "no file or folder of the tree, and no id of one")
    assert below(out) == {"made": b"m"}


async def test_no_name_of_the_service_leads_out_of_the_destination(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    for name in ["..", "..／..／escape", "／etc／passwd", "a／..／..／b", "．．／c", "link／inside"]:
        made(server, name, b"hostile")
    out, outside = tmp_path / "o/u/t", tmp_path / "outside"
    out.mkdir(parents=True)
    outside.mkdir()
    (out / "link").symlink_to(outside)
    found = await get(tmp_path, server, get_request("", into=out))
    assert found["link/inside"][0] == "failed"
    assert os.listdir(outside) == []
    hostile = {str(path.relative_to(tmp_path)).split("/")[0] for path in files_with(tmp_path, b"hostile")}
    assert hostile == {"o", "server", "state"}
    assert all(out in path.parents for path in files_with(tmp_path / "o", b"hostile"))
    assert len(below(out)) == 5


async def test_another_file_is_replaced_only_by_force(tmp_path: Path, server: Server, clock: Clock) -> None:
    made(server, "a", b"theirs")
    out = write(tmp_path / "out/a", b"edited here").parent
    [(outcome, reason)] = (await get(tmp_path, server, get_request("a", into=out))).values()
    assert (outcome, reason) == ("failed", "it exists and is another; --force replaces it")
    assert server.script.count("content") == 0
    assert await get(tmp_path, server, get_request("a", into=out, force=True)) == {"a": FETCHED}
    assert below(out) == {"a": b"theirs"}


async def test_a_full_disk_leaves_no_half_file(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(server, "a", b"a" * 100)
    made(server, "b", b"b" * 5)
    out = tmp_path / "out"
    with failing(monkeypatch, "write", errno.ENOSPC, when=lambda fd, data: is_below(out)(fd) and len(data) > 50):
        found = await get(tmp_path, server, get_request(generated=True, into=out))
    assert found == {"a": ("failed", "the disk of the destination is full"), "b": FETCHED}
    assert below(out) == {"b": b"b" * 5}


async def test_get_sends_nothing_and_removes_nothing(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await host.write("kept", b"k")
        await host.settled()
        await host.write("pending", b"p")
        host.unlink("kept")
    made(server, "a", b"a")
    before = server.script.count("upload")
    await get(tmp_path, server, get_request("a", "pending", into=tmp_path / "out"))
    assert below(tmp_path / "out") == {"a": b"a", "pending": b"p"}
    assert (server.script.count("upload"), server.script.count("delete")) == (before, 0)
