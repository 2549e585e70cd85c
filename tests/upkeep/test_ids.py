"""A5: what a file is to the service, and files by their id; W10: what the service does not take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from remotefs.control.messages.paths import PathsParams
from remotefs.errors import CallerError, NotFound
from remotefs.store.records import ROOT_INO
from tests.commands import commands, quietly
from tests.faults import FaultyServer, faulty_server
from tests.parts import Host
from tests.upkeep.support import add, machine, walks

Server, Clock = FaultyServer, trio.abc.Clock


def _by_id(host: Host) -> int:
    """The directory `.remotefs/by-id`."""
    reserved = host.fs.namespace.lookup(ROOT_INO, b".remotefs")
    return host.fs.namespace.lookup(reserved.ino, b"by-id").ino


async def test_a5_attributes_tell_what_a_file_is_to_the_service(tmp_path: Path, server: Server, clock: Clock) -> None:
    record = server.store.add("f.json", b"{}", downloadable=True, expires_in_s=5000)
    async with machine(tmp_path, server) as host:
        await host.walk()
        names = ("id", "mime_type", "downloadable", "readable", "state")
        assert [host.xattr("f.json", name) for name in names] == [record.id, "application/json", "true", "yes", "clean"]
        assert host.xattr("f.json", "created_at") < host.xattr("f.json", "expires_at")
        await host.write("mine", b"x")
        await host.settled()
        assert (host.xattr("mine", "downloadable"), host.xattr("mine", "readable")) == ("false", "yes")
        assert host.xattr("mine", "expires_at") == "never"


async def test_a5_the_state_follows_the_file(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server, working=False, durability="local") as host:
        add(server, "f")
        await host.walk()
        assert host.xattr("f", "state") == "clean"
        handle = await host.open("f", 2)
        await host.fs.files.write(handle.fh, 0, b"x")
        assert host.xattr("f", "state") == "dirty"
        await host.close(handle)
        assert host.xattr("f", "state") == "pending"
        with pytest.raises(CallerError):
            host.xattr("f", "id")
        await host.start_working()
        await host.settled()
        assert host.xattr("f", "state") == "clean"


async def test_a5_a_file_is_found_by_its_id(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        theirs = add(server, "d/f")
        await host.walk()
        await host.write("mine", b"x")
        await host.settled()
        for path, file_id in (("d/f", theirs), ("mine", host.id("mine"))):
            assert host.fs.namespace.lookup(_by_id(host), file_id.encode()).ino == host.stat(path).ino


async def test_a5_unknown_old_and_removed_ids_are_not_there(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        theirs = add(server, "f")
        await host.walk()
        await host.write("mine", b"x")
        await host.settled()
        old = host.id("mine")
        await host.write("mine", b"y")
        host.unlink("f")
        await host.settled()
        for file_id in (theirs, old, "file_nowhere", "..%2f", "f"):
            with pytest.raises(NotFound):
                host.fs.namespace.lookup(_by_id(host), file_id.encode())


async def test_a5_the_folder_is_not_listed_and_nothing_can_be_made_in_it(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    file_id = add(server, "f")
    async with machine(tmp_path, server) as host:
        await host.walk()
        assert host.ls() == ["f"]
        names, by_id = host.fs.namespace, _by_id(host)
        for attempt in (
            lambda: names.mkdir(by_id, b"d", 0o755, host.user),
            lambda: names.mknod(by_id, b"n", 0o100644, 0, host.user),
            lambda: names.symlink(by_id, b"s", b"f", host.user),
            lambda: names.link(host.stat("f").ino, by_id, b"l"),
            lambda: names.unlink(by_id, file_id.encode()),
            lambda: names.rename(by_id, file_id.encode(), ROOT_INO, b"g", 0),
            lambda: names.rename(ROOT_INO, b"f", by_id, b"g", 0),
            lambda: names.rmdir(ROOT_INO, b".remotefs"),
        ):
            with pytest.raises(CallerError):
                attempt()
        assert host.ls() == ["f"]


async def test_a5_the_paths_of_ids(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        old, new = add(server, "d/f.txt"), add(server, "d/f.txt")
        await host.walk()
        result = await commands(host).paths.paths(PathsParams((new, "file_nowhere", old)), quietly)
        assert result.paths == ("d/f.txt", None, f"d/f [{old}].txt")
        host.rename("d/f.txt", "moved")
        host.unlink(f"d/f [{old}].txt")
        assert (await commands(host).paths.paths(PathsParams((new, old)), quietly)).paths == ("moved", None)


@pytest.fixture
def picky(tmp_path: Path) -> Iterator[FaultyServer]:
    """A service that takes no empty files."""
    with faulty_server(tmp_path / "server", uploads_downloadable=False, empty_files=False) as server:
        yield server


async def test_w10_where_empty_files_are_refused_one_stays_here_and_says_so(
    tmp_path: Path, picky: FaultyServer, clock: Clock
) -> None:
    async with machine(tmp_path, picky) as host:
        await host.write("empty", b"")
        host.make_due()
        await host.until(lambda: host.xattr("empty", "state").startswith("failed: "))
        assert "empty" in host.xattr("empty", "state")
        await walks(host, 3)
        assert (host.ls(), host.remote_names()) == (["empty"], [])
        assert await host.read("empty") == b""
        await host.write("empty", b"no longer")
        await host.settled()
        assert host.remote_bytes("empty") == [b"no longer"]
        assert host.xattr("empty", "state") == "clean"


async def test_w10_refused_empty_it_can_be_removed_and_outlives_a_restart(
    tmp_path: Path, picky: FaultyServer, clock: Clock
) -> None:
    async with machine(tmp_path, picky) as host:
        await host.write("a", b"")
        await host.write("b", b"")
        host.make_due()
        await host.until(lambda: all(host.xattr(name, "state").startswith("failed: ") for name in "ab"))
        host.unlink("a")
    async with machine(tmp_path, picky) as host:
        await walks(host, 3)
        assert (host.ls(), await host.read("b")) == (["b"], b"")


async def test_w10_a_file_emptied_keeps_what_the_service_has_until_it_takes_the_new(
    tmp_path: Path, picky: FaultyServer, clock: Clock
) -> None:
    async with machine(tmp_path, picky) as host:
        await host.write("f", b"words")
        await host.settled()
        await host.write("f", b"")
        host.make_due()
        await host.until(lambda: host.xattr("f", "state").startswith("failed: "))
        await walks(host, 3)
        assert (host.ls(), await host.read("f"), host.remote_bytes("f")) == (["f"], b"", [b"words"])
        assert picky.script.count("delete") == 0
