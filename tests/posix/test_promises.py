"""What only the mount promises, and no local disk: names, kinds of files and numbers that it refuses or keeps apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.mount.support import eventually
from tests.posix.support import fails, outcome, write_file

NEW = os.O_WRONLY | os.O_CREAT


def test_unnamed_files_are_not_offered(mount_place: Path) -> None:
    with fails("EOPNOTSUPP"):
        os.open(mount_place, os.O_TMPFILE | os.O_RDWR)


@pytest.mark.parametrize("name", [b"\xff", b"caf\xe9.txt", b"\xc3", b"\xed\xa0\x80", b"a\xf5\x80\x80\x80"])
def test_a_name_that_is_not_utf8_is_refused_by_every_call_that_makes_one(mount_place: Path, name: bytes) -> None:
    write_file("file")
    calls = [
        lambda: os.close(os.open(name, NEW)), lambda: os.mkdir(name), lambda: os.mkfifo(name), lambda: os.mknod(name),
        lambda: os.symlink(b"x", name), lambda: os.link(b"file", name), lambda: os.rename(b"file", name),
    ]  # fmt: skip
    assert {outcome(call) for call in calls} == {"EILSEQ"}
    assert outcome(lambda: os.stat(name)) in {"EILSEQ", "ENOENT"}
    assert os.listdir(mount_place) == ["file"]


def test_statvfs_counts_what_is_written(mount_place: Path) -> None:
    def used() -> int:
        told = os.statvfs(mount_place)
        return (told.f_blocks - told.f_bfree) * told.f_frsize

    before = used()
    write_file("f", bytes(1 << 20))
    assert 1 << 20 <= used() - before < (1 << 20) + 8192
    os.unlink("f")
    # The kernel lets go of a removed file a moment later.
    eventually(lambda: used() - before < 8192)


def test_the_mountpoint_cannot_be_removed_or_renamed(mount_place: Path) -> None:
    root = mount_place.parent
    assert outcome(lambda: os.rmdir(root)) == "EBUSY"
    assert outcome(lambda: os.rename(root, root.with_name("elsewhere"))) == "EBUSY"
    assert os.stat(root).st_ino == 1
    assert (root / "..").stat().st_ino == root.parent.stat().st_ino


def test_the_reserved_name_at_the_root(mount_place: Path) -> None:
    root = mount_place.parent
    calls = [
        lambda: os.mkdir(root / ".remotefs"), lambda: os.symlink("x", root / ".remotefs"),
        lambda: os.rename(mount_place, root / ".remotefs"),
    ]  # fmt: skip
    assert set(map(outcome, calls)) <= {"EACCES", "EEXIST", "EPERM"}
    os.mkdir(".remotefs")
    assert os.listdir() == [".remotefs"]
