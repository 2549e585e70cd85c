"""M8, M4: the files below paths, from the tree alone, in bounded pages; and the wait of `remotefs id`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import xxhash

from remotefs.control.messages.ls import FilesParams, ListedFile, LsParams
from remotefs.control.messages.paths import ArriveParams
from remotefs.errors import InvalidArgument, NotFound
from remotefs.mount.commands import ls as handler
from remotefs.store.records import ROOT_INO, Origin, Remote
from tests.commands import commands, quietly
from tests.faults import FaultyServer
from tests.parts import Host
from tests.turns import BOUND, Turns
from tests.upkeep.support import Time, add, machine

Server, Clock = FaultyServer, trio.abc.Clock
MANY = 2_000


async def listed(host: Host, *paths: str, skip_missing: bool = False) -> list[ListedFile]:
    """All pages."""
    group = commands(host).ls
    files: list[ListedFile] = []
    page = await group.ls(LsParams(paths=paths, skip_missing=skip_missing), quietly)
    files += page.files
    while page.place is not None:
        params = LsParams(paths=paths, skip_missing=skip_missing, place=page.place, after=page.after)
        page = await group.ls(params, quietly)
        files += page.files
    return files


async def test_m8_files_come_in_the_order_of_their_paths_with_what_is_known(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    theirs = add(server, "d/theirs.csv", b"four", downloadable=False, expires_in_s=5000)
    output = add(server, "d/e/output.png", b"made")
    async with machine(tmp_path, server) as host:
        await host.walk()
        await host.write("b.txt", b"words")
        await host.settled()
        host.parts.connectivity.suspend(NotFound("nothing is sent any more"))
        await host.write("d.txt", b"new")
        used = server.script.count("list") + server.script.count("upload")
        files = {file.path: file for file in await listed(host, "")}
        assert list(files) == ["b.txt", "d/e/output.png", "d/theirs.csv", "d.txt"]
        mine, new = files["b.txt"], files["d.txt"]
        foreign, made = files["d/theirs.csv"], files["d/e/output.png"]
        assert (mine.state, mine.size, mine.file_id) == ("clean", 5, host.id("b.txt"))
        assert (mine.readable, mine.here, mine.downloadable, mine.generated) == (True, True, False, False)
        assert mine.digest == xxhash.xxh3_128_hexdigest(b"words")
        assert (new.state, new.file_id, new.readable, new.here) == ("pending", None, True, True)
        assert (foreign.file_id, foreign.readable, foreign.here, foreign.mime_type) == (
            theirs,
            False,
            False,
            "text/csv",
        )
        assert foreign.expires_ns is not None
        assert foreign.created_ns is not None
        assert foreign.expires_ns - foreign.created_ns == pytest.approx(5000e9, abs=1e9)
        assert (made.file_id, made.generated, made.readable, made.here) == (output, True, True, False)
        assert server.script.count("list") + server.script.count("upload") == used
        assert server.script.count("content") + server.script.count("metadata") == 0


async def test_m8_several_paths_keep_their_order_and_missing_ones_may_be_skipped(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    for name in ("a", "d/b", "d/e/c"):
        add(server, name)
    async with machine(tmp_path, server) as host:
        await host.walk()
        found = [(file.place, file.below, file.path) for file in await listed(host, "d", "a", "d/e")]
        assert found == [(0, "b", "d/b"), (0, "e/c", "d/e/c"), (1, "", "a"), (2, "c", "d/e/c")]
        with pytest.raises(NotFound, match="d/none"):
            await listed(host, "a", "d/none")
        assert [file.path for file in await listed(host, "d/none", "a", skip_missing=True)] == ["a"]
        host.fs.namespace.mknod(ROOT_INO, b"pipe", 0o010644, 0, host.user)
        with pytest.raises(InvalidArgument, match="pipe"):
            await listed(host, "pipe")
        assert "pipe" not in [file.path for file in await listed(host, "")]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
async def test_m8_pages_of_any_length_have_every_file_once(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(handler, "_PAGE", size)
    names = ["a", "a.b/x", "a/d", "b/b/b/b", "b/b/c", "b/e", "c/.x", "d-", "d/e", "é/ö"]
    async with machine(tmp_path, server, working=False, durability="local") as host:
        for name in names:
            folders = name.split("/")[:-1]
            for depth in range(len(folders)):
                if host.parts.tree.resolve("/".join(folders[: depth + 1])) is None:
                    host.mkdir("/".join(folders[: depth + 1]))
            if name != "a":
                await host.write(name, b"x")
        found = [file.path for file in await listed(host, "", "b", "d/e")]
        below = sorted(names[1:], key=lambda name: name.split("/"))
        assert found == [*below, "b/b/b/b", "b/b/c", "b/e", "d/e"]


async def test_m8_a_page_of_long_paths_is_shorter(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply has a bound in bytes, and a path has none."""
    monkeypatch.setattr(handler, "_PAGE_CHARACTERS", 100)
    async with machine(tmp_path, server, working=False, durability="local") as host:
        for number in range(9):
            await host.write(f"{number}" * 60, b"x")
        page = await commands(host).ls.ls(LsParams(paths=("",)), quietly)
        assert (len(page.files), page.place) == (2, 0)
        assert len(await listed(host, "")) == 9


async def test_m8_a_list_goes_on_though_its_place_has_gone(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "_PAGE", 4)
    async with machine(tmp_path, server, working=False, durability="local") as host:
        host.mkdir("d")
        for name in ("a", "d/b", "d/c", "d/x", "e"):
            await host.write(name, b"x")
        group = commands(host).ls
        page = await group.ls(LsParams(paths=("",)), quietly)
        assert ([file.path for file in page.files], page.after) == (["a", "d/b"], "d/b")
        for gone, left in (("d/b", ["d/c", "d/x", "e"]), ("d/c", ["d/x", "e"])):
            host.unlink(gone)
            rest = await group.ls(LsParams(paths=("",), place=page.place or 0, after=page.after), quietly)
            assert [file.path for file in rest.files] == left
        host.rename("d", "moved")
        rest = await group.ls(LsParams(paths=("",), place=page.place or 0, after=page.after), quietly)
        assert [file.path for file in rest.files] == ["e", "moved/x"]


def _fill(host: Host) -> None:
    tree, remotes = host.parts.tree, host.parts.remotes
    with host.parts.database.transaction():
        for number in range(MANY):
            file_id = f"file_{number}"
            ino = tree.create(
                ROOT_INO, f"f{number:05}", 0o100644, uid=0, gid=0, now_ns=1, file_id=file_id, size=number
            ).ino  # fmt: skip
            remotes.add(Remote(file_id, f"f{number:05}", number, "text/plain", 1, None, True, Origin.FOREIGN, ino=ino))


async def test_h8_no_turn_of_a_listing_looks_at_many_files(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server, working=False) as host:
        _fill(host)
        await host.parts.content.scan()
        with Turns(host) as turns:
            assert len(await listed(host, "")) == MANY
        assert 0 < turns.longest < BOUND, turns
        assert not turns.folders


def _read(source: str | None) -> bytes | None:
    return None if source is None else Path(source).read_bytes()


async def test_m8_sums_are_those_of_the_bytes_that_are_here(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "cold", b"cold")
    add(server, "warm", b"warm")
    async with machine(tmp_path, server, working=False, durability="local") as host:
        await host.walk()
        await host.write("pending", b"words")
        await host.write("empty", b"")
        assert await host.read("warm") == b"warm"
        handle = await host.open("dirty", os.O_RDWR | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"half")
        paths = ("warm", "cold", "pending", "empty", "dirty", "none")
        result = await commands(host).ls.sums(FilesParams(paths), quietly)
        known = [xxhash.xxh3_128_hexdigest(data) for data in (b"warm", b"words", b"")]
        assert result.digests == (known[0], None, known[1], known[2], None, None)
        found = await commands(host).ls.sources(FilesParams(paths), quietly)
        assert list(map(_read, found.sources)) == [b"warm", None, b"words", b"", b"half", None]
        assert server.script.count("content") == 1
        await host.close(handle)


async def test_m4_arrive_waits_for_the_files_that_are_named_and_for_no_other(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine(tmp_path, server, working=False, durability="local") as host:
        for name in ("a", "b", "other"):
            await host.write(name, b"x")
        host.parts.journal.reschedule(host.intent("other").seq, due_ns=1 << 61)  # type: ignore[union-attr]  # it is pending
        await host.start_working()
        left = await commands(host).paths.arrive(ArriveParams(("a", "b"), 60.0), quietly)
        assert left.left == 0
        assert [file.state for file in await listed(host, "a", "b")] == ["clean", "clean"]
        with pytest.raises(NotFound):
            await commands(host).paths.arrive(ArriveParams(("none",), 60.0), quietly)


async def test_m4_what_is_to_be_uploaded_under_another_name_is_pending(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """Its id goes, so whoever hands it over waits for the next one."""
    async with machine(tmp_path, server) as host:
        host.mkdir("d")
        await host.write("d/f", b"x")
        await host.settled()
        old = host.id("d/f")
        assert [file.pending for file in await listed(host, "")] == [False]
        host.rename("d", "e")
        [file] = await listed(host, "")
        assert (file.path, file.file_id, file.pending) == ("e/f", old, True)
        await commands(host).paths.arrive(ArriveParams(("e/f",), 60.0), quietly)
        [file] = await listed(host, "")
        assert (file.file_id == old, file.pending) == (False, False)


async def test_m2_the_attribute_says_what_a_model_can_use_a_file_as(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    for name in ("f.pdf", "f.png", "f.bin", "f.txt"):
        add(server, name)
    async with machine(tmp_path, server, working=False, durability="local") as host:
        await host.walk()
        await host.write("new.txt", b"x")
        assert {name: host.xattr(name, "usable_as") for name in host.ls()} == {
            "f.bin": "container_upload: no other block takes application/octet-stream",
            "f.pdf": "document: PDF; pages and encryption unknown: not looked at",
            "f.png": "image: pixels unknown: not looked at",
            "f.txt": "document: plain text",
            "new.txt": "none: the service does not have it",
        }


async def test_m2_a_file_that_has_expired_is_of_no_use_before_a_listing_removes_it(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "f.txt", expires_in_s=5000)
    time = Time(server)
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
        assert host.xattr("f.txt", "usable_as") == "document: plain text"
        time.passed_s = 5001.0
        assert host.xattr("f.txt", "usable_as") == "none: it has expired"
        [file] = (page := await commands(host).ls.ls(LsParams(paths=("",)), quietly)).files
        assert file.expires_ns is not None
        assert file.expires_ns <= page.now_ns
