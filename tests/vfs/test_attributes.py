"""Attributes, extended attributes, and what the mount tells of a file (A5, N5)."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.errors import (
    AttributeTooBig,
    InvalidArgument,
    NoAttribute,
    NotFound,
    NotPermitted,
    RemotefsError,
    Unsupported,
)
from remotefs.store.records import ROOT_INO
from remotefs.vfs.attributes import AttributeChange
from remotefs.vfs.xattrs import MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES
from tests.faults import FaultyServer, HoldReply
from tests.parts import Host, running


@pytest.fixture
async def host(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Host]:
    """A machine whose workers run; close does not wait."""
    async with running(tmp_path, server, durability="local") as host:
        yield host


async def test_setattr_changes_what_it_is_told_and_no_more(host: Host) -> None:
    await host.write("a", b"x")
    before = host.stat("a")
    change = AttributeChange(mode=stat.S_IFDIR | 0o7711, uid=8, gid=9, atime_ns=5, mtime_ns=6)
    after = await host.fs.attributes.setattr(before.ino, change, None)
    assert (after.mode, after.uid, after.gid) == (stat.S_IFREG | 0o7711, 8, 9)
    assert (after.atime_ns, after.mtime_ns, after.size) == (5, 6, before.size)
    assert after.ctime_ns >= before.ctime_ns
    with pytest.raises(NotFound):
        await host.fs.attributes.setattr(999, AttributeChange(mode=0), None)


async def test_m8_a_file_that_cannot_be_read_here_is_shown_without_read_bits(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    server.store.add("theirs", b"not to be had", downloadable=False)
    server.store.add("made", b"for all", downloadable=True)

    def hiding(config: Config) -> Config:
        return msgspec.structs.replace(config, names=msgspec.structs.replace(config.names, unreadable_mode="no-read"))

    async with running(tmp_path, server, durability="local", change=hiding) as host:
        await host.walk()
        await host.write("mine", b"readable")
        shown = host.fs.attributes.shown
        bits = {name: shown(host.stat(name))[0].mode & 0o444 for name in host.ls()}
        assert [name for name, mode in bits.items() if not mode] == ["theirs"]
        before = host.stat("theirs")
        # As `chmod u+x` does it, which starts from the mode that is shown.
        change = AttributeChange(mode=shown(before)[0].mode | 0o100)
        after = await host.fs.attributes.setattr(before.ino, change, None)
        assert (after.mode, shown(after)[0].mode & 0o777) == (before.mode | 0o100, (before.mode & 0o333) | 0o100)
        await host.write("theirs", b"replaced")
        assert shown(host.stat("theirs"))[0].mode & 0o400


async def test_a_folder_whose_mode_was_set_is_the_users_own(host: Host) -> None:
    host.mkdir("d")
    host.parts.tree.update(host.stat("d").ino, implied=1)
    await host.fs.attributes.setattr(host.stat("d").ino, AttributeChange(mode=0o700), None)
    assert host.stat("d").implied == 0


@pytest.mark.parametrize(("storage_bytes", "free_blocks"), [(3 * 4096, 1), (4096, 0)])
async def test_n5_statfs_shows_no_more_free_than_the_service_takes(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock, storage_bytes: int, free_blocks: int
) -> None:
    def small(config: Config) -> Config:
        return msgspec.structs.replace(
            config, service=msgspec.structs.replace(config.service, storage_bytes=storage_bytes)
        )

    async with running(tmp_path, server, working=False, durability="local", change=small) as host:
        await host.write("a", b"x" * 2 * 4096)
        told = host.fs.attributes.statfs()
        assert (told.free_blocks, told.blocks) == (free_blocks, 2 + free_blocks)


async def test_n5_statfs_counts_what_is_there(host: Host) -> None:
    before = host.fs.attributes.statfs()
    await host.write("a", b"x" * (1 << 20))
    after = host.fs.attributes.statfs()
    assert after.files == before.files + 1
    assert after.blocks - after.free_blocks == (before.blocks - before.free_blocks) + (1 << 20) // 4096


# -- extended attributes


async def test_user_attributes_are_kept(host: Host) -> None:
    xattrs = host.fs.xattrs
    xattrs.setxattr(ROOT_INO, b"user.x", b"1")
    xattrs.setxattr(ROOT_INO, b"user.x", b"\0\xff")
    xattrs.setxattr(ROOT_INO, b"user.y", b"")
    assert xattrs.getxattr(ROOT_INO, b"user.x") == b"\0\xff"
    assert sorted(xattrs.listxattr(ROOT_INO)) == [b"user.x", b"user.y"]
    xattrs.removexattr(ROOT_INO, b"user.x")
    with pytest.raises(NoAttribute):
        xattrs.removexattr(ROOT_INO, b"user.x")
    with pytest.raises(NoAttribute):
        xattrs.getxattr(ROOT_INO, b"user.x")


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        (b"security.capability", b"x", Unsupported),
        (b"trusted.x", b"x", Unsupported),
        (b"system.posix_acl_access", b"x", Unsupported),
        (b"user.remotefs.id", b"x", NotPermitted),
        (b"user.", b"x", InvalidArgument),
        (b"user." + b"n" * MAX_XATTR_NAME_BYTES, b"x", AttributeTooBig),
        (b"user.x", b"x" * (MAX_XATTR_VALUE_BYTES + 1), AttributeTooBig),
    ],
)
async def test_what_cannot_be_set(host: Host, name: bytes, value: bytes, refused: type[RemotefsError]) -> None:
    with pytest.raises(refused):
        host.fs.xattrs.setxattr(ROOT_INO, name, value)
    assert host.fs.xattrs.listxattr(ROOT_INO) == []


async def test_there_is_a_limit_to_all_together(host: Host) -> None:
    for number in range(3):
        host.fs.xattrs.setxattr(ROOT_INO, b"user.%d" % number, b"x" * MAX_XATTR_VALUE_BYTES)
    with pytest.raises(AttributeTooBig):
        host.fs.xattrs.setxattr(ROOT_INO, b"user.more", b"x" * MAX_XATTR_VALUE_BYTES)
    host.fs.xattrs.setxattr(ROOT_INO, b"user.0", b"smaller")


@pytest.mark.parametrize("name", [b"security.capability", b"user.none", b"user.remotefs.none", b"user.remotefs.id"])
async def test_what_is_not_there(host: Host, name: bytes) -> None:
    host.mkdir("d")
    with pytest.raises(NoAttribute):
        host.fs.xattrs.getxattr(host.stat("d").ino, name)


@pytest.mark.parametrize(
    "name", [b"system.posix_acl_access", b"security.selinux", b"security.ima", b"trusted.a", b"system.nfs4_acl", b"a"]
)
async def test_other_namespaces_are_not_supported_so_that_tools_ask_once(host: Host, name: bytes) -> None:
    host.mkdir("d")
    with pytest.raises(Unsupported):
        host.fs.xattrs.getxattr(host.stat("d").ino, name)


# -- what the mount tells (A5)


async def test_a5_facts_of_a_remote_file(host: Host) -> None:
    made = host.server.store.add("a.txt", b"x", downloadable=True, expires_in_s=7200)
    await host.walk()
    assert host.xattr("a.txt", "id") == made.id
    assert host.xattr("a.txt", "mime_type") == "text/plain"
    assert host.xattr("a.txt", "downloadable") == "true"
    for name in ("created_at", "expires_at"):
        assert host.xattr("a.txt", name).endswith("Z")
    assert host.fs.xattrs.listxattr(host.stat("a.txt").ino) == []


async def test_a5_the_life_of_a_file(host: Host) -> None:
    handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, b"x")
    assert host.xattr("a", "state") == "dirty"
    held = host.server.script.add(HoldReply(), op="upload")
    await host.fs.files.flush(handle.fh)
    assert host.xattr("a", "state") in {"pending", "uploading"}
    await host.fs.files.release(handle.fh)
    await held.until_hit()
    assert host.xattr("a", "state") == "uploading"
    with pytest.raises(NoAttribute):
        host.xattr("a", "id")
    held.release()
    await host.settled()
    assert (host.xattr("a", "state"), host.xattr("a", "expires_at"), host.xattr("a", "readable")) == (
        "clean", "never", "yes",
    )  # fmt: skip


async def test_a5_the_id_is_not_told_while_the_content_differs(host: Host) -> None:
    await host.write("a", b"old")
    await host.settled()
    handle = await host.open("a", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"new")
    with pytest.raises(NoAttribute):
        host.xattr("a", "id")
    await host.close(handle)


async def test_the_control_socket_is_told_by_the_root_alone(host: Host) -> None:
    host.mkdir("d")
    assert host.fs.xattrs.getxattr(ROOT_INO, b"user.remotefs.control").startswith(os.fsencode(host.state_dir))
    with pytest.raises(NoAttribute):
        host.xattr("d", "control")
