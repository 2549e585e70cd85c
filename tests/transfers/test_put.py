"""`put` without a mount: the files of this machine come into the tree whole, and to the service once."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.faults import FaultyServer, LostReply, Reply
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
    write(source, b"two")
    second = (await put(tmp_path, server, request(source)))["a.txt"]
    assert (second.outcome, uploads(server)) == ("sent", 2)
    async with running(tmp_path, server) as host:
        assert host.remote_ids() == {second.file_id}
        assert await host.read("a.txt") == b"two"


async def test_a_lost_reply_makes_one_file(tmp_path: Path, server: Server, clock: Clock) -> None:
    lost = server.script.add(LostReply(), op="upload")
    done = await put(tmp_path, server, request(write(tmp_path / "a.txt", b"once")))
    assert lost.hits == 1
    assert done["a.txt"].outcome == "sent"
    [stored] = server.store.list(__import__("remotefs.server.queries", fromlist=["x"]).ListQuery(limit=10)).records
    assert stored.id == done["a.txt"].file_id


async def test_what_does_not_get_through_is_sent_by_the_next_put(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.script.add(Reply(500), op="upload", times=None)
    first = await put(tmp_path, server, request(write(tmp_path / "a.txt", b"a")))
    assert first["a.txt"].outcome == "pending"
    assert first["a.txt"].reason
    server.script.clear()
    second = await put(tmp_path, server, request(write(tmp_path / "b.txt", b"b")))
    assert second["b.txt"].outcome == "sent"
    async with running(tmp_path, server) as host:
        assert host.remote_names() == ["a.txt", "b.txt"]
        assert host.pending() == []
