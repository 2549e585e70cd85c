"""`check` on the state of a mount: nothing to say while it works, each damage named, and put right where it can be."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import trio

from remotefs.config import Config
from remotefs.control.lock import Holder, lock_state
from remotefs.errors import NotFound, StateLocked
from remotefs.mount import offline
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.mount.check.repair import Repair
from tests.faults import FaultyServer, Hold, Reply
from tests.parts import Host, running

Server, Clock = FaultyServer, trio.abc.Clock


async def found(host: Host, *, service: bool = True, working: bool = True) -> list[tuple[str, str]]:
    """Kind and path of each finding."""
    return [(f.kind.value, f.path) for f in await check_state(host.parts, Scope(working=working, service=service))]


async def populate(host: Host) -> None:
    """Uploads of ours, one of them pending, a generated file, links, a folder, an open file without a name."""
    host.server.store.add("made．csv", b"1,2", downloadable=True)
    host.mkdir("d")
    await host.write("d/a", b"first")
    await host.write("empty", b"")
    host.link("d/a", "again")
    await host.settled()
    await host.walk()
    await host.walk()


async def test_a_mount_in_use_is_sound(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        assert await found(host) == []
        # Half written, unlinked and open, renamed, replaced, waiting for the service.
        handle = await host.open("d/a", os.O_RDWR)
        await host.fs.files.write(handle.fh, 0, b"second")
        gone = await host.open("gone", os.O_RDWR | os.O_CREAT)
        await host.fs.files.write(gone.fh, 0, b"x")
        host.unlink("gone")
        held = server.script.add(Hold(), op="upload", times=None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.write, "pending", b"later")
            await held.until_hit()
            host.rename("empty", "d/renamed")
            assert await found(host) == []
            nursery.cancel_scope.cancel()
        server.script.clear()


async def damaged(host: Host, *statements: str) -> None:
    """Rows as a defect or a broken disk may leave them."""
    with host.parts.database.transaction():
        for statement in statements:
            host.parts.database.execute(statement)


async def repaired(host: Host) -> list[str]:
    """What is still wrong once everything was put right that can be; the kinds."""
    for _ in range(3):
        Repair(host.parts).put_right(await check_state(host.parts))
    return [finding.kind.value for finding in await check_state(host.parts)]


async def test_a_tree_that_is_damaged_is_put_right_and_nothing_in_it_is_lost(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        host.mkdir("loop")
        host.mkdir("loop/in")
        await host.write("loop/in/kept", b"kept")
        await host.settled()
        loop, inner = host.stat("loop").ino, host.stat("loop/in").ino
        await damaged(
            host,
            f"UPDATE dentry SET parent = {inner} WHERE ino = {loop}",
            f"UPDATE inode SET parent = {inner} WHERE ino = {loop}",
            "INSERT INTO dentry (parent, name, ino) VALUES (1, 'ghost', 4711)",
            f"UPDATE inode SET nlink = 7 WHERE ino = {host.stat('d/a').ino}",
        )
        assert {kind for kind, _ in await found(host)} == {
            "out of reach", "name of nothing", "wrong number of links",
        }  # fmt: skip
        assert await repaired(host) == []
        assert await host.read(f"recovered/{loop}/in/kept") == b"kept"
        assert "ghost" not in host.ls()
        assert host.stat("d/a").nlink == 2


async def test_bytes_that_nothing_refers_to_are_kept_in_the_trash(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        host.parts.staging.create(99, 1).write(0, b"whose?")
        await damaged(host, f"DELETE FROM remote WHERE file_id = '{host.id('d/a')}'")
        unknown = host.id("d/a")
        assert ("staged bytes of no file", "(inode 99)") in await found(host, service=False)
        assert ("bound to an unknown id", "d/a") in await found(host, service=False)
        await repaired(host)
        trashed = [host.parts.trash.bytes_of(entry.number).read_bytes() for entry in host.parts.trash.entries()]
        assert trashed == [b"whose?"]
        # The id may come back with the next listing; its bytes are not touched.
        assert host.parts.content.has_all(unknown)


async def test_damage_of_the_only_copy_is_found_by_reading_it(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        host.parts.content.close()
        with host.parts.content.where(host.id("d/a")).open("r+b") as file:
            file.write(b"F")
        assert [finding.kind.value for finding in await check_state(host.parts, Scope(read=False))] == []
        assert await found(host) == [("damaged bytes", "d/a")]
        assert await repaired(host) == ["damaged bytes"]


async def test_work_that_was_lost_is_asked_for_again(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("late", b"bytes")
        await damaged(host, "DELETE FROM intent")
        assert await found(host) == [("nothing sends it", "late")]
        Repair(host.parts).put_right(await check_state(host.parts))
        await host.start_working()
        await host.settled()
        assert host.remote_names() == ["late"]
        assert await found(host) == []


async def test_the_service_is_compared_by_one_listing(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        before = server.script.count("list")
        lost = host.id("d/a")
        server.store.delete(lost)
        await damaged(host, "UPDATE remote SET created_ns = 1")
        assert ("missing at the service", "d/a") in await found(host)
        assert server.script.count("list") == before + 1
        server.script.add(Reply(500), op="list", times=None)
        said: list[str] = []
        await check_state(host.parts, Scope(service=True), lambda notice: said.append(notice.text))
        assert any("the service was not asked" in line for line in said)


async def test_an_idle_state_folder_is_checked_under_its_lock(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        state_dir = host.kill_copy("copy")
    checking = partial(offline.check, state_dir, Config(), repair=False, read=True, report=lambda _: None)
    assert (await trio.to_thread.run_sync(checking)).count == 0
    with lock_state(state_dir, Holder.here("elsewhere")), pytest.raises(StateLocked):
        await trio.to_thread.run_sync(checking)
    with pytest.raises(NotFound):
        offline.check(tmp_path, Config(), repair=False, read=True, report=lambda _: None)
