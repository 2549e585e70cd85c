"""Reading the kernel's table of mounts, and from a path to its mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from remotefs.control.find import find_mount
from remotefs.control.mounts import MountEntry, mount_at, mount_of, parse_mounts, read_mounts
from remotefs.errors import UsageError

TABLE = r"""21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:40 / /home/a\040b/mnt rw,nosuid,nodev - fuse.remotefs remotefs rw,user_id=0
31 21 0:41 / /srv rw shared:3 master:1 - fuse.sshfs host:/x\134y rw
32 31 0:42 / /srv rw - tmpfs tmpfs rw
33 21 0:43 / /srv/deep rw - nfs4 box:/e rw
"""
MOUNTS = parse_mounts(TABLE)


def test_entries_are_read_with_their_escapes() -> None:
    assert MountEntry(Path("/home/a b/mnt"), "fuse.remotefs", "remotefs", owner=0) in MOUNTS
    assert MountEntry(Path("/srv"), "fuse.sshfs", "host:/x\\y") in MOUNTS
    assert len(MOUNTS) == 5
    assert MOUNTS[1].flags == ("rw", "user_id=0", "rw", "nosuid", "nodev")


def test_the_later_of_two_on_one_mountpoint_counts() -> None:
    entry = mount_at(Path("/srv"), MOUNTS)
    assert entry is not None
    assert entry.fstype == "tmpfs"
    assert mount_at(Path("/srv/de"), MOUNTS) is None


@pytest.mark.parametrize(
    ("path", "mountpoint"),
    [
        ("/etc/x", "/"),
        ("/srv", "/srv"),
        ("/srv/a/b", "/srv"),
        ("/srv/deep/er", "/srv/deep"),
        ("/srv/deeper", "/srv"),
        ("/home/a b/mnt/f", "/home/a b/mnt"),
    ],
)
def test_a_path_lies_in_the_deepest_mount_above_it(path: str, mountpoint: str) -> None:
    entry = mount_of(Path(path), MOUNTS)
    assert entry is not None
    assert entry.mountpoint == Path(mountpoint)


def test_fuse_is_told_from_the_rest() -> None:
    by_type = {entry.fstype: entry for entry in MOUNTS}
    assert by_type["fuse.remotefs"].is_remotefs
    assert by_type["fuse.sshfs"].is_fuse
    assert not by_type["fuse.sshfs"].is_remotefs
    assert not by_type["ext4"].is_fuse


def test_this_machines_own_table_has_a_root() -> None:
    assert mount_of(Path("/"), read_mounts()) is not None


def test_a_path_outside_of_every_mount_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not in a remotefs mount"):
        find_mount(tmp_path / "missing")
