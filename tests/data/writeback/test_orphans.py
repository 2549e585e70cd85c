"""Bytes whose rows are lost: whatever happened to the database, what was acknowledged comes back under its name (S4, W3)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from remotefs.clocks import Machine, boot_ns
from remotefs.data.content.labels import Label, NoLabel, read_label, write_label
from remotefs.data.files.staging import StagedName
from remotefs.data.writeback.orphans import Fate, fate_of
from remotefs.store.records import ContentState, Inode
from tests.faults import FaultyServer, HoldReply
from tests.parts import Host, running

Server, Clock = FaultyServer, trio.abc.Clock
NAMES = [f"d/f{number}" for number in range(12)]
LABEL = Label(path="d/f")


def bytes_of(name: str) -> bytes:
    return f"the bytes of {name}".encode()


async def populate(host: Host) -> None:
    """Closed files that are only here, and one that was renamed after it was written."""
    host.mkdir("d")
    for name in NAMES[:-1]:
        await host.write(name, bytes_of(name))
    await host.write("d/before", bytes_of(NAMES[-1]))
    host.rename("d/before", NAMES[-1])


# -- what may happen to the database of a mount that was killed; each returns nothing and works on its folder


def flip(state: Path) -> None:
    log = bytearray((state / "state.db-wal").read_bytes())
    log[len(log) // 2] ^= 0x40
    (state / "state.db-wal").write_bytes(log)


def cut(state: Path) -> None:
    os.truncate(state / "state.db-wal", (state / "state.db-wal").stat().st_size // 2)


def without_log(state: Path) -> None:
    (state / "state.db-wal").unlink()


def without_database(state: Path) -> None:
    for file in state.glob("state.db*"):
        file.unlink()


DAMAGES = [flip, cut, without_log, without_database]


async def contents(host: Host) -> dict[str, bytes]:
    return {f"d/{name}": await host.read(f"d/{name}") for name in host.ls("d")}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_w3_files_whose_rows_are_lost_come_back_under_their_names(
    tmp_path: Path, server: Server, clock: Clock, damage: Callable[[Path], None]
) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await populate(host)
        state = host.kill_copy("killed")
    damage(state)
    async with running(tmp_path, server, state="killed", durability="local") as host:
        assert await contents(host) == {name: bytes_of(name) for name in NAMES}
        assert host.parts.recovery.rescued.trashed == 0
        assert host.parts.recovery.rescued.returned > 0
        await host.settled()
        assert sorted(host.remote_names()) == sorted(name.replace("/", "\uff0f") for name in NAMES)
        assert host.stat("d/f3").mode == 0o100644


async def test_the_live_folder_copied_without_its_log(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await populate(host)
        await host.parts.database.checkpoint()
        for name in NAMES[:5]:
            await host.write(name, b"a newer version of " + name.encode())
        host.kill_copy("copy")
    without_log(tmp_path / "copy")
    async with running(tmp_path, server, state="copy", durability="local") as host:
        expected = {name: bytes_of(name) for name in NAMES}
        expected |= {name: b"a newer version of " + name.encode() for name in NAMES[:5]}
        assert await contents(host) == expected


async def test_w6_an_upload_that_only_the_lost_rows_knew_of_is_not_made_twice(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """The service has the file; its row, with the id, was in the log."""
    async with running(tmp_path, server, durability="local", upload_delay_s=0.0) as host:
        await host.parts.database.checkpoint()
        handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"hello")
        await host.fs.files.flush(handle.fh)
        host.make_due()
        await host.until(lambda: host.stat("a").state == ContentState.CLEAN)
        host.kill_copy("killed")
    without_log(tmp_path / "killed")
    async with running(tmp_path, server, state="killed") as host:
        assert await host.read("a") == b"hello"
        await host.settled()
        assert host.remote_names() == ["a"]
        await host.walk()
        assert host.ls() == ["a"]
        assert await host.read("a") == b"hello"


@pytest.mark.parametrize("ahead_s", [3600.0, 6_400_000_000.0], ids=["an hour", "beyond 2200"])
@pytest.mark.parametrize("is_set_right", [False, True])
async def test_w6_it_is_not_made_twice_where_this_machine_was_ahead_of_the_service(
    tmp_path: Path, server: Server, clock: Clock, ahead_s: float, is_set_right: bool
) -> None:
    """The time of the bytes is that of this machine; the time of an upload is the service's."""
    ahead_ns = int(ahead_s * 1e9)
    wrong = Machine(lambda: time.time_ns() + ahead_ns, boot_ns, "one run")
    async with running(tmp_path, server, durability="local", upload_delay_s=0.0, machine=wrong) as host:
        await host.walk()
        host.parts.timekeeper.note()
        await host.parts.database.checkpoint()
        handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"hello")
        written_ns = time.time_ns() + ahead_ns
        await host.fs.files.flush(handle.fh)
        host.make_due()
        await host.until(lambda: host.stat("a").state == ContentState.CLEAN)
        state = host.kill_copy("killed")
    without_log(state)
    for staged in (state / "staging").iterdir():
        os.utime(staged, ns=(written_ns, written_ns))
    right = Machine(time.time_ns, boot_ns, "one run")
    async with running(tmp_path, server, state="killed", machine=right if is_set_right else wrong) as host:
        await host.settled()
        assert (host.remote_names(), server.script.count("upload")) == (["a"], 1)
        assert await host.read("a") == b"hello"


async def test_what_its_user_removed_stays_removed(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Unlinked, replaced and unlinked while open, killed before the bytes went: no label, no trash."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        for name in ("gone", "replaced", "open", "kept"):
            await host.write(name, name.encode())
        handle = await host.open("open", os.O_RDWR)
        await host.fs.files.write(handle.fh, 0, b"later")
        host.unlink("open")
        host.unlink("gone")
        host.rename("kept", "replaced")
        killed = host.kill_copy("killed")
    assert len(list((killed / "staging").iterdir())) == 4
    async with running(tmp_path, server, state="killed", durability="local") as host:
        assert host.ls() == ["replaced"]
        assert await host.read("replaced") == b"kept"
        assert host.parts.trash.entries() == []
        await host.settled()
        assert host.remote_names() == ["replaced"]
    without_database(killed)
    (killed / "staging").rename(killed / "spent")
    async with running(tmp_path, server, state="killed") as host:
        assert host.ls() == []


async def test_a_removal_that_does_not_commit_leaves_the_label(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"x")
        with pytest.raises(RuntimeError), host.parts.database.transaction():
            host.unlink("a")
            raise RuntimeError
        inode = host.stat("a")
        assert inode.staged_gen is not None
        label = read_label(host.parts.staging.place(inode.ino, inode.staged_gen))
        assert isinstance(label, Label)
        assert label.path == "a"


async def test_a_name_that_is_taken_does_not_overwrite(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Lost was the log in which `a` was replaced: both versions are there."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"first")
        await host.parts.database.checkpoint()
        await host.write("t", b"second")
        host.rename("t", "a")
        host.kill_copy("killed")
    without_log(tmp_path / "killed")
    async with running(tmp_path, server, state="killed", durability="local") as host:
        assert await host.read("a") == b"first"
        assert await host.read("recovered/a") == b"second"


async def test_what_nobody_can_name_is_in_the_trash(tmp_path: Path, server: Server, clock: Clock) -> None:
    """A file system without attributes keeps no labels."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"bytes")
        killed = host.kill_copy("killed")
    [file] = (killed / "staging").iterdir()
    os.removexattr(file, "user.remotefs.label")
    without_database(killed)
    async with running(tmp_path, server, state="killed") as host:
        [entry] = host.parts.trash.entries()
        assert (entry.size, host.parts.trash.bytes_of(entry.number).read_bytes()) == (5, b"bytes")
        assert host.parts.staging.scan() == []
        assert host.parts.recovery.rescued.trashed == 1
        # It has no term: nobody else may have these bytes. A person can empty the trash.
        assert await host.parts.trash.expire(0.0) == 0
        assert await host.parts.trash.empty() == 1


async def test_a_copy_that_was_being_made_when_the_kill_came_is_nobodys(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"content")
        await host.settled()
        source = host.parts.content.path_of(host.id("a"))
        assert source is not None
        await host.parts.staging.clone(host.stat("a").ino, 99, source, 7)
        await host.parts.staging.clone(4711, 1, source, 7)
        host.kill_copy("killed")
    async with running(tmp_path, server, state="killed") as host:
        assert host.parts.staging.scan() == []
        assert host.parts.trash.entries() == []
        assert await host.read("a") == b"content"


async def test_a_file_whose_intent_alone_is_lost_is_uploaded(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"x")
        for intent in host.pending():
            host.parts.journal.remove(intent.seq)
        host.kill_copy("killed")
    async with running(tmp_path, server, state="killed") as host:
        await host.settled()
        assert host.remote_names() == ["a"]


async def test_numbers_of_files_that_came_back_are_not_given_again(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await populate(host)
        killed = host.kill_copy("killed")
    without_database(killed)
    async with running(tmp_path, server, state="killed", working=False, durability="local") as host:
        before = {host.stat(name).ino for name in NAMES}
        for number in range(30):
            await host.write(f"new{number}", b"x")
        assert before.isdisjoint({host.stat(f"new{number}").ino for number in range(30)})


# -- the decision and the labels


def row(generation: int, *, nlink: int = 1) -> Inode:
    values: dict[str, object] = dict.fromkeys(Inode._fields, 0) | {"ino": 7, "mode": 0o100644, "nlink": nlink}
    return Inode(**(values | {"content_gen": generation}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "size", "inode", "fate"),
    [
        (NoLabel.VOID, 5, None, Fate.GO),
        (LABEL, 0, None, Fate.GO),
        (LABEL, 5, None, Fate.RETURN),
        (NoLabel.ABSENT, 5, None, Fate.KEEP),
        (LABEL, 5, row(2), Fate.RENEW),
        (NoLabel.ABSENT, 5, row(2), Fate.RENEW),
        (LABEL, 5, row(3), Fate.KEEP),
        (LABEL, 5, row(2, nlink=0), Fate.KEEP),
        (NoLabel.VOID, 5, row(2), Fate.GO),
    ],
)
def test_what_becomes_of_bytes_without_a_row(
    label: Label | NoLabel, size: int, inode: Inode | None, fate: Fate
) -> None:
    assert fate_of(StagedName(7, 3, size, 1), label, inode) is fate


def test_a_label_keeps_the_end_of_a_path_that_is_too_long(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    path = "/".join(["é" * 100] * 30 + ["name"])
    write_label(file, Label.of(row(1), path))
    label = read_label(file)
    assert isinstance(label, Label)
    assert path.endswith("/" + label.path)
    assert label.path.endswith("é/name")


@pytest.mark.parametrize("rubbish", [b"{", b"[]", b'{"path": 3}', b"\xff"])
def test_a_label_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, rubbish: bytes) -> None:
    file = tmp_path / "f"
    file.touch()
    os.setxattr(file, "user.remotefs.label", rubbish)
    assert read_label(file) is NoLabel.ABSENT


async def test_a_label_that_points_out_of_the_tree_is_not_followed(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"bytes")
        killed = host.kill_copy("killed")
    [file] = (killed / "staging").iterdir()
    without_database(killed)
    for number, path in enumerate(["../../etc/x", "", "a//b", ".", ".remotefs/by-id/x"], start=50):
        shutil.copy(file, killed / "staging" / f"{number}-1")
        write_label(killed / "staging" / f"{number}-1", Label(path=path))
    async with running(tmp_path, server, state="killed", working=False) as host:
        assert host.ls() == ["a"]
        assert len(host.parts.trash.entries()) == 5


async def test_a_rename_under_way_to_the_service_does_not_hold_up_its_label(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """Renamed while its upload is being sent."""
    async with running(tmp_path, server) as host:
        held = server.script.add(HoldReply(), op="upload")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.write, "old", b"x")
            await held.until_hit()
            host.rename("old", "new")
            killed = host.kill_copy("killed")
            held.release()
    without_database(killed)
    async with running(tmp_path, server, state="killed", working=False) as host:
        assert host.ls() == ["new"]
