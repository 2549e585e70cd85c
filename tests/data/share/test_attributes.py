"""Modes, owners, times, attributes, folders, links and nodes are the same on all machines (X3, X4)."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import trio

from remotefs.data.intents.upload_options import PREFIX
from remotefs.data.share.records import FileRecord, file_key
from remotefs.data.share.shared_records import record_of
from remotefs.store.records import Inode
from remotefs.vfs.attributes import AttributeChange
from tests.data.share.test_uploads import machine, plug, unplug
from tests.faults import FaultyServer
from tests.parts import Host, running

Server = FaultyServer
Clock = trio.abc.Clock


async def exchanged(*hosts: Host) -> None:
    """Whatever was done is with every machine."""
    for host in hosts:
        await host.settled()
        await host.until(lambda host=host: not host.parts.shared.is_any_awaited())  # type: ignore[misc] - bound at once
    # A removal counts after two complete listings (S4).
    for _ in range(3):
        await trio.sleep(30.0)
        for host in hosts:
            await host.walk()
    await trio.sleep(30.0)


def tree(host: Host, *, own_choices: bool = True) -> dict[str, tuple[object, ...]]:
    """All that a user sees of the tree, without the bytes of files; `own_choices`: with what stays on its machine."""
    found: dict[str, tuple[object, ...]] = {}
    for entry in host.parts.tree.beneath(1):
        inode, xattrs = host.parts.tree.get(entry.ino), host.parts.store.xattrs.of(entry.ino)
        shown = {name: value for name, value in xattrs.items() if own_choices or not name.startswith(PREFIX)}
        for path in host.parts.tree.paths_of(entry.ino):
            found[path] = (*_attributes(inode), shown)
    return found


def _attributes(inode: Inode) -> tuple[object, ...]:
    if inode.implied:
        # Only what lies in it keeps it: no machine says anything of the folder itself.
        return (inode.mode,)
    links = 0 if inode.is_dir else inode.nlink
    return inode.mode, inode.uid, inode.gid, inode.mtime_ns, inode.size, inode.target, inode.rdev, links


async def chattr(host: Host, path: str, **changes: int) -> None:
    """chmod(2), chown(2), utimensat(2)."""
    await host.fs.attributes.setattr(host.stat(path).ino, AttributeChange(**changes), None)


async def furnish(host: Host) -> None:
    """A tree with everything in it."""
    for path in ("d", "d/empty", "d/deep", "d/deep/er"):
        host.mkdir(path)
    for path in ("top", "d/a", "d/deep/er/b"):
        await host.write(path, f"bytes of {path}".encode())
    host.fs.namespace.symlink(host.stat("d").ino, b"link", b"../top", host.user)
    host.fs.namespace.mknod(host.stat("d").ino, b"pipe", stat.S_IFIFO | 0o640, 0, host.user)
    host.link("d/a", "d/deep/hard")
    host.fs.xattrs.setxattr(host.stat("d/a").ino, b"user.colour", b"blue")
    host.fs.xattrs.setxattr(host.stat("d/empty").ino, b"user.note", b"keep")
    await chattr(host, "d/a", mode=0o600, uid=1234, gid=99, mtime_ns=1_500_000_000_123_456_789)
    for path in ("d/deep/er", "d/deep", "d/empty", "d"):
        await chattr(host, path, mode=0o750, mtime_ns=1_400_000_000_000_000_000 + len(path))


async def test_a_whole_tree_is_the_same_on_another_machine(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await furnish(one)
        await exchanged(one, two)
        assert tree(two) == tree(one)
        assert set(tree(one)) == {
            "d", "d/a", "d/deep", "d/deep/er", "d/deep/er/b", "d/deep/hard", "d/empty", "d/link", "d/pipe", "top",
        }  # fmt: skip
        assert await two.read("d/deep/hard") == b"bytes of d/a"


async def test_a_new_machine_gets_it_all_after_the_first_is_lost(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await exchanged(one)
        wanted = tree(one)
    async with machine(tmp_path, server, folder, "new") as new:
        await exchanged(new)
        assert tree(new) == wanted
    async with machine(tmp_path, server, folder, "new") as new:
        await exchanged(new)
        # It has nothing to add to what it was told, although it does not know the digests of files.
        assert new.parts.meta.facts.shared_sequence == 0
        await chattr(new, "top", mode=0o444)
        await exchanged(new)
        row = new.parts.store.shared_log.find(file_key(new.stat("top").file_id or ""))
        assert row is not None
        record = record_of(row)
        assert isinstance(record, FileRecord)
        assert record.digest is not None


@pytest.mark.long
async def test_a_mount_that_nobody_uses_looks_less_often_and_at_once_when_it_is_used_again(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with (
        machine(tmp_path, server, folder, "one") as one,
        machine(tmp_path, server, folder, "two", idle_after_s=60.0) as two,
    ):
        refresh = two.parts.refresh
        await one.write("a", b"bytes")
        await exchanged(one, two)

        async def shows(mode: int, within_s: float) -> bool:
            for _ in range(round(within_s)):
                await trio.sleep(1.0)
                if two.stat("a").mode & 0o777 == mode:
                    return True
            return False

        refresh.note_use()
        await chattr(one, "a", mode=0o600)
        assert await shows(0o600, 15), "it is in use"
        await trio.sleep(400.0)
        await chattr(one, "a", mode=0o640)
        assert not await shows(0o640, 30)
        refresh.note_use()
        assert await shows(0o640, 5)
        await trio.sleep(400.0)
        await chattr(one, "a", mode=0o644)
        assert await shows(0o644, 305)


@pytest.mark.long
async def test_changes_and_removals_follow(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await furnish(one)
        await exchanged(one, two)
        await chattr(two, "top", mode=0o444)
        two.fs.xattrs.removexattr(two.stat("d/a").ino, b"user.colour")
        two.unlink("d/link")
        two.fs.namespace.rmdir(two.stat("d").ino, b"empty")
        two.rename("d/pipe", "tube")
        await exchanged(two, one)
        assert tree(one) == tree(two)
        assert stat.S_IMODE(one.stat("top").mode) == 0o444
        assert {"d/link", "d/empty", "d/pipe"}.isdisjoint(tree(one))
        assert "tube" in tree(one)


@pytest.mark.long
async def test_a_renamed_folder_is_renamed_everywhere(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await furnish(one)
        await exchanged(one, two)
        one.rename("d", "moved")
        await exchanged(one, two)
        assert tree(two) == tree(one)
        assert not any(path == "d" or path.startswith("d/") for path in tree(two))
        assert await two.read("moved/deep/er/b") == b"bytes of d/deep/er/b"


@pytest.mark.long
async def test_a_name_that_is_taken_for_a_while_is_given_later(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    """A file with two names goes up again, for one of them changed; the old file has the other until it is gone."""
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        one.mkdir("d")
        await one.write("d/first", b"bytes")
        one.link("d/first", "second")
        await exchanged(one, two)
        one.rename("d", "moved")
        await exchanged(one, two)
        assert one.remote_names() == ["moved／first"]
        assert tree(two) == tree(one)
        assert two.stat("second").ino == two.stat("moved/first").ino


@pytest.mark.long
async def test_the_later_change_of_one_file_wins_on_both(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await one.write("a", b"bytes")
        await exchanged(one, two)
        await chattr(one, "a", mode=0o600)
        await trio.sleep(0.2)
        await chattr(two, "a", mode=0o640)
        await exchanged(one, two)
        assert tree(one) == tree(two)


@pytest.mark.long
async def test_changes_without_the_store_arrive_once_it_is_back(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await one.write("a", b"bytes")
        await exchanged(one, two)
        unplug(folder)
        await chattr(one, "a", mode=0o600)
        one.mkdir("new")
        await trio.sleep(100.0)
        plug(folder)
        await one.until(lambda: one.parts.shared.is_up)
        await exchanged(one, two)
        assert tree(two) == tree(one)
        assert stat.S_IMODE(two.stat("a").mode) == 0o600


async def test_a_copied_state_folder_takes_a_writer_id_of_its_own(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await exchanged(one)
        one.kill_copy("copy")
        async with machine(tmp_path, server, folder, "copy") as copy:
            one.mkdir("of one")
            await exchanged(one)
            copy.mkdir("of the copy")
            await exchanged(copy, one)
            assert tree(copy) == tree(one)
            assert {"of one", "of the copy"} <= set(tree(one))
            assert copy.parts.meta.facts.shared_writer != one.parts.meta.facts.shared_writer


@pytest.mark.long
async def test_a_mount_without_the_store_in_between_is_made_up_for(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"bytes")
        await exchanged(one)
    async with running(tmp_path, server, state="one") as one:
        await chattr(one, "a", mode=0o600)
        one.mkdir("alone")
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await exchanged(one, two)
        assert tree(two) == tree(one)
        assert stat.S_IMODE(two.stat("a").mode) == 0o600
        assert "alone" in tree(two)


async def test_a_drain_of_one_path_waits_for_attributes_when_it_is_asked_to(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"bytes")
        await exchanged(one)
        before = one.parts.meta.facts.shared_sequence
        await chattr(one, "a", mode=0o600)
        ino = one.stat("a").ino
        await one.parts.drainer.drain(100.0, {ino})
        assert one.parts.meta.facts.shared_sequence == before
        await one.parts.drainer.drain(100.0, {ino}, with_attributes=True)
        assert one.parts.meta.facts.shared_sequence == before + 1


async def test_a_renamed_file_keeps_its_name_on_all_machines_against_a_new_one(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await two.write("a", b"renamed")
        await exchanged(one, two)
        await two.write("b", b"new")
        one.rename("a", "b")
        await exchanged(one, two)
        assert tree(one) == tree(two)
        assert len(one.ls()) == 2
        assert (await one.read("b"), await two.read("b")) == (b"renamed", b"renamed")
