"""The verbs on names, without a kernel and with a service that nobody ever asks (A1)."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from remotefs.errors import (
    AccessDenied,
    AlreadyExists,
    BadName,
    InvalidArgument,
    NameTooLong,
    NotFound,
    NotPermitted,
    RemotefsError,
)
from remotefs.store.records import ROOT_INO
from remotefs.vfs.namespace import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.faults import FaultyServer
from tests.parts import Host, Steps, User, running


@pytest.fixture
async def host(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Host]:
    """A machine without a network: at the end no request was made."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        yield host
        assert server.script.count() == 0


@pytest.mark.parametrize(
    ("name", "refused"),
    [(b"x" * 256, NameTooLong), (b"\xff", BadName), (b"", InvalidArgument), (b"a/b", InvalidArgument)],
)
async def test_n2_names_that_cannot_be(host: Host, name: bytes, refused: type[RemotefsError]) -> None:
    for verb in (
        lambda: host.fs.namespace.mkdir(ROOT_INO, name, 0o755, host.user),
        lambda: host.fs.namespace.lookup(ROOT_INO, name),
        lambda: host.fs.namespace.unlink(ROOT_INO, name),
    ):
        with pytest.raises(refused):
            verb()


async def test_n4_the_reserved_name_belongs_to_remotefs(host: Host) -> None:
    host.mkdir("d")
    for verb in (lambda: host.mkdir(".remotefs"), lambda: host.rename("d", ".remotefs")):
        with pytest.raises(AccessDenied):
            verb()
    host.mkdir("d/.remotefs")
    assert host.ls() == ["d"]


async def test_dot_and_dotdot(host: Host) -> None:
    host.mkdir("d")
    ino = host.stat("d").ino
    assert host.fs.namespace.lookup(ino, b".").ino == ino
    assert host.fs.namespace.lookup(ino, b"..").ino == ROOT_INO
    assert host.fs.namespace.lookup(ROOT_INO, b"..").ino == ROOT_INO


async def test_what_is_not_there(host: Host) -> None:
    with pytest.raises(NotFound, match="nothing"):
        host.stat("nothing")
    with pytest.raises(NotFound):
        host.rename("nothing", "a")


async def test_n5_what_others_make_belongs_to_them_or_to_the_folders_group(host: Host) -> None:
    host.user = User(uid=5, gid=6)
    host.mkdir("d")
    host.parts.tree.update(host.stat("d").ino, gid=99, mode=stat.S_IFDIR | stat.S_ISGID | 0o775)
    host.mkdir("d/e")
    assert (host.stat("d").uid, host.stat("d/e").gid) == (5, 99)
    assert host.stat("d/e").mode & stat.S_ISGID


async def test_n5_symlinks_and_special_nodes(host: Host) -> None:
    host.fs.namespace.symlink(ROOT_INO, b"l", b"\xff target", host.user)
    assert host.fs.namespace.readlink(host.stat("l").ino) == b"\xff target"
    assert host.stat("l").size == len(b"\xff target")
    fifo = host.fs.namespace.mknod(ROOT_INO, b"p", stat.S_IFIFO | 0o600, 0, host.user)
    device = host.fs.namespace.mknod(ROOT_INO, b"null", stat.S_IFCHR | 0o600, os.makedev(1, 3), host.user)
    assert (stat.S_ISFIFO(fifo.mode), device.rdev) == (True, os.makedev(1, 3))
    with pytest.raises(InvalidArgument):
        host.fs.namespace.readlink(fifo.ino)


async def test_a_folder_has_one_name(host: Host) -> None:
    host.mkdir("d")
    with pytest.raises(NotPermitted):
        host.link("d", "e")


async def test_a_removed_file_cannot_be_linked(host: Host) -> None:
    handle = await host.open("a", os.O_RDWR | os.O_CREAT)
    host.unlink("a")
    with pytest.raises(NotFound):
        host.fs.namespace.link(handle.ino, ROOT_INO, b"b")
    await host.close(handle)


async def test_an_unlinked_inode_lives_while_the_kernel_knows_its_number(host: Host) -> None:
    await host.write("a", b"x")
    host.mkdir("d")
    for name in ("a", "d"):
        host.fs.handles.looked_up(host.stat(name).ino)
    file, folder = host.stat("a").ino, host.stat("d").ino
    host.unlink("a")
    host.fs.namespace.rmdir(ROOT_INO, b"d")
    assert host.fs.attributes.getattr(file).nlink == 0
    assert host.fs.attributes.getattr(folder).nlink == 0
    for ino in (file, folder):
        host.fs.namespace.forget(ino, 1)
        with pytest.raises(NotFound):
            host.fs.attributes.getattr(ino)


async def test_forgotten_while_open_it_still_reads(host: Host) -> None:
    """W9."""
    await host.write("a", b"x")
    handle = await host.open("a")
    host.fs.handles.looked_up(handle.ino)
    host.unlink("a")
    host.fs.namespace.forget(handle.ino, 1)
    assert await host.fs.files.read(handle.fh, 0, 1) == b"x"
    await host.close(handle)
    with pytest.raises(NotFound):
        host.fs.attributes.getattr(handle.ino)


async def test_a_forget_of_what_has_names_changes_nothing(host: Host) -> None:
    await host.write("a", b"x")
    ino = host.stat("a").ino
    host.fs.handles.looked_up(ino)
    host.fs.handles.looked_up(ino)
    host.fs.namespace.forget(ino, 1)
    host.fs.namespace.forget(ino, 1)
    assert host.stat("a").ino == ino


async def test_rename_flags(host: Host) -> None:
    await host.write("a", b"a")
    await host.write("b", b"b")
    with pytest.raises(AlreadyExists):
        host.rename("a", "b", RENAME_NOREPLACE)
    with pytest.raises(NotFound):
        host.rename("a", "c", RENAME_EXCHANGE)
    for flags in (4, RENAME_NOREPLACE | RENAME_EXCHANGE):
        with pytest.raises(InvalidArgument):
            host.rename("a", "c", flags)
    host.rename("a", "b", RENAME_EXCHANGE)
    assert (await host.read("a"), await host.read("b")) == (b"b", b"a")
    host.rename("a", "c", RENAME_NOREPLACE)
    assert host.ls() == ["b", "c"]


async def test_a_folder_is_not_moved_into_itself(host: Host) -> None:
    host.mkdir("d")
    host.mkdir("d/e")
    await host.write("f", b"x")
    with pytest.raises(InvalidArgument):
        host.rename("d", "d/e/x")
    with pytest.raises(InvalidArgument):
        host.rename("d/e", "d", RENAME_EXCHANGE)
    host.rename("d", "d")
    assert host.ls("d") == ["e"]


async def test_rename_over_an_empty_folder_and_over_a_file(host: Host) -> None:
    host.mkdir("d")
    host.mkdir("e")
    await host.write("d/x", b"x")
    await host.write("y", b"y")
    host.rename("d", "e")
    host.rename("y", "e/x")
    assert (host.ls(), await host.read("e/x")) == (["e"], b"y")
    await host.parts.sweeper.sweep()
    assert len(host.parts.staging.scan()) == 1


async def test_readdir_goes_on_where_it_stopped(host: Host) -> None:
    for number in range(600):
        host.mkdir(f"d{number}")
    fh = host.fs.namespace.opendir(ROOT_INO)
    seen: list[str] = []
    cookie = 0
    while batch := [entry for entry, _ in zip(host.fs.namespace.readdir(fh, cookie), range(100), strict=False)]:
        seen += [entry.name for entry in batch]
        cookie = batch[-1].cookie
    assert seen[:2] == [".", ".."]
    assert sorted(seen[2:]) == sorted(f"d{number}" for number in range(600))
    host.fs.namespace.releasedir(fh)
    with pytest.raises(InvalidArgument):
        next(host.fs.namespace.readdir(fh, 0))


async def test_a_folder_that_was_changed_here_is_the_users_own(host: Host) -> None:
    """One that only remote names imply goes with its last remote file, this one does not."""
    host.mkdir("d")
    host.parts.tree.update(host.stat("d").ino, implied=1)
    await host.write("d/a", b"x")
    assert host.stat("d").implied == 0


async def test_w3_fsync_of_a_folder(host: Host, steps: Steps) -> None:
    await host.fs.namespace.fsyncdir()
    host.mkdir("d")
    steps()
    await host.fs.namespace.fsyncdir()
    assert steps() == ["database is on the disk"]
