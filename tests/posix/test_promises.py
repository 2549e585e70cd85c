"""What only the mount promises, and no local disk: names, kinds of files and numbers that it refuses or keeps apart."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.mount.support import eventually
from tests.posix.conftest import Service
from tests.posix.support import fails, opened, outcome, read_file, write_file

NEW = os.O_RDWR | os.O_CREAT


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
    assert outcome(os.stat, name) in {"EILSEQ", "ENOENT"}
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
    assert outcome(os.rmdir, root) == "EBUSY"
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


def test_a_set_time_stays_through_writes_that_are_under_way(mount_place: Path, service: Service) -> None:
    """What `cp -p` and `tar -x` do: write, set the time, close; the upload comes later."""
    with opened("f", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"bytes")
        os.utime(fd, ns=(123, 456))
    service.mount.flush()

    assert (os.stat("f").st_atime_ns, os.stat("f").st_mtime_ns) == (123, 456)


def test_more_than_the_service_takes_is_refused_at_once(mount_place: Path) -> None:
    limit = 500 * 10**6 * 2
    with opened("f", NEW) as fd:
        for act in (
            lambda: os.pwrite(fd, b"x", limit),
            lambda: os.ftruncate(fd, limit),
            lambda: os.truncate("f", limit),
        ):
            with fails("EFBIG"):
                act()
        os.write(fd, b"small")
    assert read_file("f") == b"small"


def test_what_the_file_system_does_not_offer_says_so(mount_place: Path) -> None:
    write_file("f", b"x" * 8192)
    done = subprocess.run(
        ["fallocate", "--punch-hole", "--offset", "0", "--length", "4096", "f"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "unsupported" in done.stderr) == (1, True), done.stderr
    assert read_file("f") == b"x" * 8192


def test_the_largest_value_that_the_kernel_takes(mount_place: Path) -> None:
    write_file("f")
    for number in range(3):
        os.setxattr("f", f"user.{number}", bytes([number]) * 65_536)
    assert outcome(os.setxattr, "f", "user.too much", bytes(65_536)) == "ENOSPC"
    assert os.getxattr("f", "user.1") == b"\1" * 65_536


def test_what_was_removed_before_its_upload_keeps_nobody_waiting_though_it_is_open(
    mount_place: Path, service: Service
) -> None:
    write_file("f.tmp")  # of temporary shape: its upload waits
    with opened("f.tmp", os.O_RDONLY) as fd:
        os.unlink("f.tmp")
        service.mount.flush()
        assert os.read(fd, 99) == b"content"


@pytest.mark.parametrize("name", ["trusted.a", "security.a", "system.posix_acl_access"])
def test_other_namespaces_are_refused(mount_place: Path, name: str) -> None:
    write_file("f")
    # An ordinary user has some refused by the kernel itself.
    assert outcome(os.setxattr, "f", name, b"1") in {"ENOTSUP", "EINVAL"} | ({"EPERM"} if os.geteuid() else set())
    hidden = name.startswith("trusted.") and os.geteuid() != 0
    assert outcome(os.getxattr, "f", name) == ("ENODATA" if hidden else "ENOTSUP")


@pytest.mark.parametrize(
    ("name", "answer"),
    [("security.selinux", "ENOTSUP"), ("system.nfs4_acl", "ENOTSUP"), ("security.capability", "ENODATA")],
)
def test_what_tools_ask_of_every_file_is_answered_so_that_they_ask_once(
    mount_place: Path, name: str, answer: str
) -> None:
    write_file("f")
    assert outcome(os.getxattr, "f", name) == answer


def test_what_the_mount_tells_is_not_set_nor_listed(mount_place: Path) -> None:
    write_file("f")
    assert outcome(os.setxattr, "f", "user.remotefs.id", b"x") == "EPERM"
    assert outcome(os.removexattr, "f", "user.remotefs.state") == "EPERM"
    assert os.getxattr("f", "user.remotefs.state") == b"clean"
    assert os.listxattr("f") == []
