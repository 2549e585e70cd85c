"""`uid=`, `gid=` and `umask=`: what programs see in place of the stored owner and mode (H2)."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.errors import NotPermitted
from remotefs.mount.settings import FuseOptions
from remotefs.store.records import Entry, Inode
from remotefs.vfs.attributes import AttributeChange
from remotefs.vfs.shown import ShownAs
from tests.faults import FaultyServer
from tests.parts import Host, running

ALL = ShownAs(uid=5, gid=6, file_mask=0o137, dir_mask=0o27)


def looks(host: Host, path: str) -> tuple[int, int, int]:
    shown = host.fs.attributes.shown(host.stat(path))[0]
    return shown.uid, shown.gid, stat.S_IMODE(shown.mode)


def stored(host: Host, path: str) -> tuple[int, int, int]:
    inode = host.stat(path)
    return inode.uid, inode.gid, stat.S_IMODE(inode.mode)


def changed(inode: Inode, **fields: int) -> tuple[int, ...]:
    now = inode._replace(**fields)
    return now.uid, now.gid, now.mode, now.mtime_ns, now.size


@pytest.mark.parametrize(
    ("shown_as", "kind", "mode", "expected"),
    [
        (ShownAs(), stat.S_IFREG, 0o6751, 0o6751),
        (ALL, stat.S_IFREG, 0o000, 0o640),
        (ALL, stat.S_IFIFO, 0o777, 0o640),
        (ALL, stat.S_IFDIR, 0o2700, 0o750),
        (ALL, stat.S_IFLNK, 0o777, 0o777),
        (ShownAs(uid=5), stat.S_IFREG, 0o4755, 0o755),
        (ShownAs(gid=5), stat.S_IFDIR, 0o3775, 0o1775),
        (ShownAs(file_mask=0), stat.S_IFREG, 0o000, 0o777),
        (ShownAs(file_mask=0), stat.S_IFDIR, 0o700, 0o700),
    ],
)
def test_h2_the_mask_leaves_the_mode(shown_as: ShownAs, kind: int, mode: int, expected: int) -> None:
    record = Entry(3, "f", 2, kind | mode, 0, 0, 1, 0, 0, 0, 0, 0)
    assert shown_as.of(record).mode == kind | expected


async def test_h2_shown_and_never_stored(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> None:
    async with running(tmp_path, server, durability="local", options=FuseOptions(shown=ALL)) as host:
        await host.write("f", b"one")
        host.mkdir("d")
        assert (looks(host, "f"), looks(host, "d")) == ((5, 6, 0o640), (5, 6, 0o750))
        assert (stored(host, "f"), stored(host, "d")) == ((1000, 1000, 0o644), (1000, 1000, 0o755))
    async with running(tmp_path, server, durability="local") as host:
        assert (looks(host, "f"), looks(host, "d")) == ((1000, 1000, 0o644), (1000, 1000, 0o755))


@pytest.mark.parametrize("shown_as", [ALL, ShownAs(gid=6)])
async def test_h2_chmod_and_chown_are_refused_and_times_and_truncation_work(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock, shown_as: ShownAs
) -> None:
    async with running(tmp_path, server, durability="local", options=FuseOptions(shown=shown_as)) as host:
        await host.write("f", b"one")
        before, setattr_ = host.stat("f"), host.fs.attributes.setattr
        for change in (AttributeChange(mode=0o600), AttributeChange(uid=9), AttributeChange(gid=9)):
            with pytest.raises(NotPermitted, match="shows owners and modes"):
                await setattr_(before.ino, change, None)
        assert stored(host, "f") == (1000, 1000, 0o644)
        await setattr_(before.ino, AttributeChange(atime_ns=3, mtime_ns=4), None)
        await setattr_(before.ino, AttributeChange(size=1, mtime_ns=4), None)
        assert changed(host.stat("f")) == changed(before, mtime_ns=4, size=1)
        assert await host.read("f") == b"o"


async def test_h2_setting_the_values_that_are_shown_changes_nothing(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server, durability="local", options=FuseOptions(shown=ALL)) as host:
        await host.write("f", b"one")
        same = AttributeChange(mode=stat.S_IFREG | 0o640, uid=5, gid=6, mtime_ns=4)
        after = await host.fs.attributes.setattr(host.stat("f").ino, same, None)
        assert (after.mtime_ns, stored(host, "f")) == (4, (1000, 1000, 0o644))


async def test_h2_a_file_without_read_bits_has_none_of_the_mask_either(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    server.store.add("theirs", b"not to be had", downloadable=False)

    def hiding(config: Config) -> Config:
        return msgspec.structs.replace(config, names=msgspec.structs.replace(config.names, unreadable_mode="no-read"))

    async with running(tmp_path, server, change=hiding, options=FuseOptions(shown=ALL)) as host:
        await host.walk()
        assert looks(host, "theirs") == (5, 6, 0o200)
        same = AttributeChange(mode=0o200)
        await host.fs.attributes.setattr(host.stat("theirs").ino, same, None)
        with pytest.raises(NotPermitted):
            await host.fs.attributes.setattr(host.stat("theirs").ino, AttributeChange(mode=0o640), None)
