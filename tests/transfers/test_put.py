"""`put` without a mount: the files of this machine come into the tree whole, and to the service once."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import trio

from remotefs.server.queries import ListQuery
from tests.faults import FaultyServer, Hold, HoldReply, LostReply, Reply
from tests.parts import running
from tests.transfers.support import put, request, write

Server, Clock = FaultyServer, trio.abc.Clock


def uploads(server: Server) -> int:
    return server.script.count("upload")


async def test_files_and_folders_are_sent_with_their_looks(tmp_path: Path, server: Server, clock: Clock) -> None:
    write(tmp_path / "src/d/a.txt", b"aaa", mode=0o640)
    write(tmp_path / "src/d/deep/b.bin", b"\0" * 70_000)
    write(tmp_path / "src/d/empty", b"")
    (tmp_path / "src/d/link").symlink_to("a.txt")
    (tmp_path / "src/d/nothing").mkdir()
    one = write(tmp_path / "src/one.pdf", b"%PDF")
    done = await put(tmp_path, server, request(tmp_path / "src/d", one, to="in/2026"))
    assert {path: file.outcome for path, file in done.items()} == dict.fromkeys(
        ["in/2026/d/a.txt", "in/2026/d/deep/b.bin", "in/2026/d/empty", "in/2026/one.pdf"], "sent"
    )
    async with running(tmp_path, server) as host:
        assert host.ls("in/2026/d") == ["a.txt", "deep", "empty", "link", "nothing"]
        assert host.fs.namespace.readlink(host.stat("in/2026/d/link").ino) == b"a.txt"
        inode = host.stat("in/2026/d/a.txt")
        assert (inode.mode & 0o7777, inode.mtime_ns) == (0o640, (tmp_path / "src/d/a.txt").stat().st_mtime_ns)
        assert host.stat("in/2026/d").mtime_ns == (tmp_path / "src/d").stat().st_mtime_ns
        assert inode.file_id == done["in/2026/d/a.txt"].file_id
        assert await host.read("in/2026/d/deep/b.bin") == b"\0" * 70_000
        assert len(host.stored()) == 4


async def test_equal_content_is_not_sent_again_and_other_content_replaces(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    source = write(tmp_path / "a.txt", b"one")
    first = (await put(tmp_path, server, request(source)))["a.txt"]
    again = (await put(tmp_path, server, request(source)))["a.txt"]
    assert (again.outcome, again.file_id, uploads(server)) == ("unchanged", first.file_id, 1)
    async with running(tmp_path, server) as host:
        host.fs.xattrs.setxattr(host.stat("a.txt").ino, b"user.note", b"mine")
    write(source, b"two")
    second = (await put(tmp_path, server, request(source)))["a.txt"]
    assert (second.outcome, uploads(server)) == ("sent", 2)
    async with running(tmp_path, server) as host:
        assert host.remote_ids() == {second.file_id}
        assert await host.read("a.txt") == b"two"
        assert host.fs.xattrs.getxattr(host.stat("a.txt").ino, b"user.note") == b"mine"


async def test_a_lost_reply_makes_one_file(tmp_path: Path, server: Server, clock: Clock) -> None:
    lost = server.script.add(LostReply(), op="upload")
    done = await put(tmp_path, server, request(write(tmp_path / "a.txt", b"once")))
    assert lost.hits == 1
    assert done["a.txt"].outcome == "sent"
    [stored] = server.store.list(ListQuery(limit=10)).records
    assert stored.id == done["a.txt"].file_id
    again = await put(tmp_path, server, request(tmp_path / "a.txt"))
    assert (again["a.txt"].outcome, uploads(server)) == ("unchanged", 1)


async def test_what_does_not_get_through_is_sent_by_the_next_put(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.script.add(Reply(500), op="upload", times=None)
    first = await put(tmp_path, server, request(write(tmp_path / "a.txt", b"a"), stall_s=5.0))
    assert first["a.txt"].outcome == "pending"
    assert first["a.txt"].reason
    server.script.clear()
    second = await put(tmp_path, server, request(write(tmp_path / "b.txt", b"b")))
    assert second["b.txt"].outcome == "sent"
    async with running(tmp_path, server) as host:
        assert host.remote_names() == ["a.txt", "b.txt"]
        assert host.pending() == []


async def test_a_put_that_is_killed_is_finished_by_the_next(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Killed while the service had the file and its answer was on the way."""
    held = server.script.add(HoldReply(), op="upload")
    source = write(tmp_path / "a.txt", b"a" * 1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(put, tmp_path, server, request(source)))
        await held.until_hit()
        shutil.copytree(tmp_path / "state", tmp_path / "killed")
        nursery.cancel_scope.cancel()
    server.script.clear()
    # The same command again: it goes on, and sends the file no second time.
    done = await put(tmp_path, server, request(source), state="killed")
    assert (done["a.txt"].outcome, uploads(server)) == ("sent", 1)
    async with running(tmp_path, server, state="killed") as host:
        assert (host.remote_names(), host.pending()) == (["a.txt"], [])
        assert await host.read("a.txt") == b"a" * 1000


async def test_a_service_that_answers_late_gets_the_files_all_the_same(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """No listing follows that would find out that it is there."""
    await put(tmp_path, server, request(write(tmp_path / "a.txt", b"a")))
    silent = server.script.add(Hold(), op="list")
    done = await put(tmp_path, server, request(write(tmp_path / "b.txt", b"b")))
    assert (silent.hits, done["b.txt"].outcome) == (1, "sent")


async def test_a_service_that_refuses_everything_for_a_while_gets_them_too(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    await put(tmp_path, server, request(write(tmp_path / "a.txt", b"a")))
    server.script.add(Reply(503), op="upload", times=2)
    assert (await put(tmp_path, server, request(write(tmp_path / "b.txt", b"b"))))["b.txt"].outcome == "sent"


async def test_too_many_requests_are_waited_for(tmp_path: Path, server: Server, clock: Clock) -> None:
    """The wait that the service asks for is longer than nothing may move."""
    server.script.add(Reply(429, headers={"retry-after": "45"}), op="upload", times=3)
    files = [write(tmp_path / f"src/{number}", b"%d" % number) for number in range(20)]
    done = await put(tmp_path, server, request(*files, stall_s=20.0))
    assert {file.outcome for file in done.values()} == {"sent"}
    assert len(server.store.list(ListQuery(limit=100)).records) == 20


async def test_a_refusal_is_told_and_nothing_is_lost(tmp_path: Path, server: Server, clock: Clock) -> None:
    refused = Reply(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "not so"}})
    server.script.add(refused, op="upload", times=None)
    done = await put(tmp_path, server, request(write(tmp_path / "a.txt", b"a")))
    assert (done["a.txt"].outcome, "not so" in (done["a.txt"].reason or "")) == ("refused", True)
    server.script.clear()
    assert (await put(tmp_path, server, request(tmp_path / "a.txt")))["a.txt"].outcome == "sent"


async def test_removals_of_an_earlier_mount_are_left_to_the_next(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        for name in ("removed", "renamed", "replaced"):
            await host.write(name, name.encode())
        await host.settled()
        replaced = host.id("replaced")
        server.script.add(Reply(500), times=None)
        host.unlink("removed")
        host.rename("renamed", "new name")
    server.script.clear()
    await put(tmp_path, server, request(write(tmp_path / "replaced", b"other bytes")))
    async with running(tmp_path, server, working=False) as host:
        assert host.remote_names() == ["removed", "renamed", "replaced"]
        assert replaced not in host.remote_ids()
        assert len(host.pending()) == 2


async def test_what_cannot_be_read_is_named_and_the_others_go(tmp_path: Path, server: Server, clock: Clock) -> None:
    write(tmp_path / "src/a", b"a")
    os.mkfifo(tmp_path / "src/pipe")
    (tmp_path / "src" / os.fsdecode(b"latin\xe9")).write_bytes(b"l")
    (tmp_path / "src/DS").mkdir()
    write(tmp_path / "src/DS/.DS_Store", b"")
    done = await put(tmp_path, server, request(tmp_path / "src", tmp_path / "missing"))
    assert done["src/a"].outcome == "sent"
    assert (done["src/DS/.DS_Store"].outcome, done["missing"].outcome) == ("local", "failed")
    assert done["src/pipe"].reason == "it is neither a regular file, a folder nor a symbolic link"
    assert done[os.fsdecode(b"src/latin\xe9")].reason == "its name is not UTF-8"


async def test_over_a_generated_file_the_original_stays(tmp_path: Path, server: Server, clock: Clock) -> None:
    original = server.store.add("made.csv", b"generated", downloadable=True).id
    done = await put(tmp_path, server, request(write(tmp_path / "made.csv", b"edited")))
    assert done["made.csv"].outcome == "sent"
    assert {record.id for record in server.store.list(ListQuery(limit=10)).records} == {
        original, done["made.csv"].file_id,
    }  # fmt: skip


async def test_folders_and_files_do_not_take_each_others_place(tmp_path: Path, server: Server, clock: Clock) -> None:
    write(tmp_path / "one/x/inside", b"1")
    write(tmp_path / "two/x", b"2")
    await put(tmp_path, server, request(tmp_path / "one/x"))
    assert (await put(tmp_path, server, request(tmp_path / "two/x")))["x"].reason == "a folder has that path"
    assert (await put(tmp_path, server, request(tmp_path / "two/x", to="x")))["x/x"].outcome == "sent"
    write(tmp_path / "three/x/x/deep/er", b"3")
    done = await put(tmp_path, server, request(tmp_path / "three/x"))
    assert done["x/x"].reason == "x/x is there and is not a folder"
    assert done["x/x/deep/er"].reason == "the folder above it could not be made"


async def test_the_type_and_the_expiry_are_those_that_were_asked_for(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    source = write(tmp_path / "notes.md", b"# Notes")
    wanted = request(source, mime_type="text/x-notes", expires_in="7d")
    first = (await put(tmp_path, server, wanted))["notes.md"]
    again = (await put(tmp_path, server, wanted))["notes.md"]
    assert (again.outcome, again.file_id, uploads(server)) == ("unchanged", first.file_id, 1)
    # The same bytes with another type are another file of the service.
    other = (await put(tmp_path, server, request(source, mime_type="text/plain")))["notes.md"]
    [record] = server.store.list(ListQuery(limit=10)).records
    assert (record.id, record.mime_type) == (other.file_id, "text/plain")
    # New bytes keep what was chosen for the file.
    await put(tmp_path, server, request(write(source, b"# More notes")))
    [record] = server.store.list(ListQuery(limit=10)).records
    assert record.mime_type == "text/plain"
    assert record.expires_us == record.created_us + 7 * 86_400_000_000


async def test_a_file_whose_other_type_is_on_its_way_is_replaced(tmp_path: Path, server: Server, clock: Clock) -> None:
    source = write(tmp_path / "notes.md", b"# Notes")
    await put(tmp_path, server, request(source))
    async with running(tmp_path, server, working=False) as host:
        host.fs.xattrs.setxattr(host.stat("notes.md").ino, b"user.remotefs.mime_type", b"text/x-notes")
        host.fs.xattrs.setxattr(host.stat("notes.md").ino, b"user.mine", b"kept")
    done = await put(tmp_path, server, request(write(source, b"# More notes")))
    assert (done["notes.md"].outcome, done["notes.md"].reason) == ("sent", None)
    [record] = server.store.list(ListQuery(limit=10)).records
    assert record.mime_type == "text/x-notes"
    async with running(tmp_path, server, working=False) as host:
        assert host.fs.xattrs.listxattr(host.stat("notes.md").ino) == [b"user.mine"]


async def test_a_type_that_cannot_be_is_named_and_nothing_is_made(tmp_path: Path, server: Server, clock: Clock) -> None:
    done = await put(tmp_path, server, request(write(tmp_path / "a", b"a"), mime_type="nonsense"))
    assert "nonsense" in (done["a"].reason or "")
    async with running(tmp_path, server) as host:
        assert (host.ls(), host.stored()) == ([], [])
