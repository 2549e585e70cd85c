"""M5 below the kernel: what the helper process may ask for, and what is announced at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyfuse3
import pytest
import trio
from msgspec.structs import replace

from remotefs.config import Config
from remotefs.fuse.operations import Operations
from remotefs.store.records import ROOT_INO
from remotefs.vfs.announcements import HELPER_FH, Kind
from tests.faults import FaultyServer
from tests.parts import Host, clock, running, server

__all__ = ["clock", "server"]

HELPER = cast("pyfuse3.RequestContext", SimpleNamespace(pid=4_000_001, uid=0, gid=0, umask=0))
SOMEBODY = cast("pyfuse3.RequestContext", SimpleNamespace(pid=4_000_002, uid=0, gid=0, umask=0))
FILE = stat.S_IFREG | 0o644
NAME = b"f"
OTHER = b"other"
ROOT = pyfuse3.InodeT(ROOT_INO)


class Scene:
    """A machine whose kernel a test plays, as somebody or as the helper."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.announcements = host.parts.announcements
        self.announcements.pids = {HELPER.pid}
        self.announcements.begin()
        self.uses = 0
        self.operations = Operations(
            host.fs, timeout_s=3600.0, note_use=self._note_use, requests=host.parts.requests,
            announcements=self.announcements,
        )  # fmt: skip

    def _note_use(self) -> None:
        self.uses += 1

    def add(self, filename: str = "f") -> str:
        """A file of somebody else; its id."""
        return self.host.server.store.add(filename, b"xyz", downloadable=True).id

    async def add_and_walk(self, filename: str = "f") -> None:
        self.add(filename)
        await self.host.walk()

    async def remove_and_walk(self, file_id: str) -> None:
        self.host.server.store.delete(file_id)
        await self.host.walk()
        await self.host.walk()

    async def lookup(self, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext = HELPER) -> pyfuse3.EntryAttributes:
        return await self.operations.lookup(ROOT, name, ctx)

    def left(self) -> list[tuple[Kind, str]]:
        """The announcements that are left."""
        found = []
        while (it := self.announcements.next()) is not None:
            found.append((it.kind, it.name))
        return found


@pytest.fixture
async def scene(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Scene]:
    async with running(
        tmp_path, server, working=False, durability="local",
        change=_without_a_least_age,
    ) as host:  # fmt: skip
        # A listing that lacks all files would not be believed (S1).
        server.store.add("stays", b"xyz", downloadable=True)
        await host.walk()
        yield Scene(host)


def _without_a_least_age(config: Config) -> Config:
    return replace(config, refresh=replace(config.refresh, removal_min_age_s=0.0))


async def refused(request: Any) -> int:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await request
    return caught.value.errno


async def test_m5_a_file_that_came_is_made_by_the_helper_without_being_made(scene: Scene) -> None:
    await scene.add_and_walk()
    inode = scene.host.stat("f")
    due = scene.announcements.next()
    assert due is not None
    assert (due.kind, due.name) == (Kind.CREATE, "f")
    assert (await scene.lookup(NAME)).st_ino == 0
    # For everybody else it is there.
    assert (await scene.lookup(NAME, SOMEBODY)).st_ino == inode.ino
    made = await scene.operations.mknod(ROOT, NAME, FILE, 0, HELPER)
    assert made.st_ino == inode.ino
    assert scene.host.stat("f") == inode
    assert scene.host.pending() == []


async def test_m5_a_file_that_went_is_removed_by_the_helper_without_being_removed(scene: Scene) -> None:
    gone = scene.add()
    await scene.host.walk()
    inode = scene.host.stat("f")
    assert scene.left() == [(Kind.CREATE, "f")]
    await scene.remove_and_walk(gone)
    due = scene.announcements.next()
    assert due is not None
    assert due.kind == Kind.DELETE
    shown = await scene.lookup(NAME)
    # The kernel must not keep it.
    assert (shown.st_ino, shown.entry_timeout) == (inode.ino, 0.0)
    assert (await scene.lookup(NAME, SOMEBODY)).st_ino == 0
    await scene.operations.unlink(ROOT, NAME, HELPER)
    assert scene.host.pending() == []
    assert scene.host.ls() == ["stays"]


async def test_m5_what_belongs_to_no_announcement_is_refused_and_changes_nothing(scene: Scene) -> None:
    await scene.host.write("mine", b"bytes")
    await scene.add_and_walk()
    due = scene.announcements.next()
    assert due is not None
    mine, before, intents = b"mine", scene.host.stat("mine"), scene.host.pending()
    ops = scene.operations
    rdwr = os.O_RDWR
    requests = [
        ops.mknod(ROOT, OTHER, FILE, 0, HELPER),
        ops.mkdir(ROOT, NAME, 0o755, HELPER),
        ops.mkdir(ROOT, OTHER, 0o755, HELPER),
        ops.symlink(ROOT, OTHER, NAME, HELPER),
        ops.unlink(ROOT, mine, HELPER),
        ops.unlink(ROOT, NAME, HELPER),
        ops.rmdir(ROOT, mine, HELPER),
        ops.rename(ROOT, mine, ROOT, OTHER, 0, HELPER),
        ops.link(pyfuse3.InodeT(before.ino), ROOT, OTHER, HELPER),
        ops.create(ROOT, OTHER, FILE, rdwr, HELPER),
        ops.open(pyfuse3.InodeT(before.ino), os.O_WRONLY, HELPER),
        ops.open(pyfuse3.InodeT(due.inode.ino), rdwr, HELPER),
        ops.open(pyfuse3.InodeT(due.inode.ino), os.O_WRONLY | os.O_TRUNC, HELPER),
        ops.opendir(ROOT, HELPER),
        ops.setxattr(pyfuse3.InodeT(before.ino), b"user.x", b"", HELPER),
    ]
    assert [await refused(request) for request in requests] == [errno.EPERM] * len(requests)
    assert scene.host.ls() == ["f", "mine", "stays"]
    assert (scene.host.stat("mine"), scene.host.pending()) == (before, intents)
    scene.announcements.done()
    assert await refused(ops.mknod(ROOT, NAME, FILE, 0, HELPER)) == errno.EPERM


async def test_m5_the_helper_changes_no_attribute_and_writes_nothing(scene: Scene) -> None:
    await scene.add_and_walk()
    due = scene.announcements.next()
    assert due is not None
    inode = scene.host.stat("f")
    ino = pyfuse3.InodeT(inode.ino)
    same, other = pyfuse3.EntryAttributes(), pyfuse3.EntryAttributes()
    same.st_mode, other.st_mode = FILE, stat.S_IFREG | 0o600
    fields = cast("pyfuse3.SetattrFields", SimpleNamespace(
        update_mode=True, update_size=False, update_uid=False, update_gid=False, update_atime=False, update_mtime=False,
    ))  # fmt: skip
    assert await refused(scene.operations.setattr(ino, other, fields, None, HELPER)) == errno.EPERM
    answer = await scene.operations.setattr(ino, same, fields, None, HELPER)
    assert answer.st_ctime_ns == inode.ctime_ns
    info = await scene.operations.open(ino, os.O_WRONLY, HELPER)
    assert info.fh == HELPER_FH
    assert not scene.host.parts.handles.is_open(inode.ino)
    await scene.operations.flush(info.fh)
    await scene.operations.release(info.fh)
    assert (scene.host.stat("f"), scene.host.pending()) == (inode, [])


async def test_m5_a_file_that_somebody_has_open_is_not_hidden_from_the_helper(scene: Scene) -> None:
    """The kernel would drop its entry, and show it as deleted in /proc/PID/fd. The helper changes it instead."""
    await scene.add_and_walk()
    handle = await scene.host.open("f")
    assert scene.announcements.next() is not None
    assert (await scene.lookup(NAME)).st_ino == scene.host.stat("f").ino
    await scene.host.close(handle)
    assert (await scene.lookup(NAME)).st_ino == 0


async def test_m5_what_the_helper_asks_for_is_no_use_of_the_mount_and_no_request(scene: Scene) -> None:
    await scene.add_and_walk()
    assert scene.announcements.next() is not None
    since = scene.host.server.script.count()
    await scene.lookup(NAME)
    await scene.operations.mknod(ROOT, NAME, FILE, 0, HELPER)
    await scene.operations.getattr(ROOT, HELPER)
    assert (scene.uses, scene.host.server.script.count()) == (0, since)


async def test_m5_a_name_that_changes_here_is_not_announced(scene: Scene) -> None:
    """The kernel has told of it itself."""
    await scene.add_and_walk("f")
    await scene.add_and_walk("other")
    await scene.operations.unlink(ROOT, NAME, SOMEBODY)
    await scene.operations.rename(ROOT, OTHER, ROOT, NAME, 0, SOMEBODY)
    assert scene.left() == []


async def test_m5_a_change_here_while_it_is_announced_ends_the_announcement(scene: Scene) -> None:
    await scene.add_and_walk()
    assert scene.announcements.next() is not None
    await scene.operations.unlink(ROOT, NAME, SOMEBODY)
    await scene.operations.mknod(ROOT, NAME, FILE, 0, SOMEBODY)
    mine = scene.host.stat("f")
    assert await refused(scene.operations.mknod(ROOT, NAME, FILE, 0, HELPER)) == errno.EPERM
    assert scene.host.stat("f") == mine


async def test_m5_only_folders_that_the_kernel_knows_are_announced_in(scene: Scene) -> None:
    scene.add("d／one")
    await scene.host.walk()
    # The folder came just now, so it is known once it was announced.
    first = scene.announcements.next()
    assert first is not None
    assert (first.kind, first.name) == (Kind.CREATE, "d")
    assert scene.left() == []
    await scene.add_and_walk("d／two")
    assert scene.left() == []
    await scene.lookup(b"d", SOMEBODY)
    await scene.add_and_walk("d／three")
    assert scene.left() == [(Kind.CREATE, "three")]


async def test_m5_a_missing_name_is_not_cached_until_its_removal_was_announced(scene: Scene) -> None:
    """The helper could not "remove" a name of which the kernel knows that there is none."""
    gone = scene.add()
    await scene.host.walk()
    scene.left()
    await scene.remove_and_walk(gone)
    assert (await scene.lookup(NAME, SOMEBODY)).entry_timeout == 0.0
    assert (await scene.lookup(OTHER, SOMEBODY)).entry_timeout == 3600.0
    assert scene.left() == [(Kind.DELETE, "f")]
    assert (await scene.lookup(NAME, SOMEBODY)).entry_timeout == 3600.0


async def test_m5_a_file_that_replaces_one_moves_it_away_first(scene: Scene) -> None:
    await scene.add_and_walk()
    old = scene.host.stat("f")
    scene.left()
    await scene.add_and_walk()
    due = scene.announcements.next()
    assert due is not None
    assert (due.kind, due.inode.ino, due.new_name) == (Kind.MOVE, old.ino, f"f [{old.file_id}]")
    assert (await scene.lookup(NAME)).st_ino == old.ino
    new_name = due.new_name.encode()
    assert (await scene.lookup(new_name)).st_ino == 0
    await scene.operations.rename(ROOT, NAME, ROOT, new_name, 0, HELPER)
    assert scene.left() == [(Kind.CREATE, "f")]
    assert scene.host.pending() == []


async def test_m5_a_move_that_failed_is_an_arrival(scene: Scene) -> None:
    await scene.add_and_walk()
    scene.left()
    await scene.add_and_walk()
    due = scene.announcements.next()
    assert due is not None
    scene.announcements.done(failed=True)
    assert scene.left() == [(Kind.CREATE, due.new_name), (Kind.CREATE, "f")]


async def test_m5_a_name_that_the_kernel_knows_for_another_inode_is_not_removed(scene: Scene) -> None:
    """The kernel would take a link from the file that is there."""
    gone = scene.add()
    await scene.host.walk()
    scene.left()
    await scene.remove_and_walk(gone)
    await scene.add_and_walk()
    await scene.lookup(NAME, SOMEBODY)
    assert scene.left() == [(Kind.CREATE, "f")]
