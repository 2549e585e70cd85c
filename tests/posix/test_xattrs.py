"""Extended attributes (xattr(7))."""

from __future__ import annotations

import ctypes
import os

import pytest

from tests.posix.support import ALICE, BOB, checked, fails, libc, opened, outcome, write_file

pytestmark = pytest.mark.usefixtures("place")


@pytest.mark.parametrize("value", [b"", b"text", bytes(range(256)), b"x" * 3000])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_value_is_kept_as_it_is(kind: str, value: bytes) -> None:
    os.mkdir("x") if kind == "folder" else os.mknod("x")
    os.setxattr("x", "user.a", b"before")
    os.setxattr("x", "user.a", value)
    os.setxattr("x", "user.ünïcode ☂", b"2")

    assert os.getxattr("x", "user.a") == value
    assert sorted(os.listxattr("x")) == ["user.a", "user.ünïcode ☂"]
    os.removexattr("x", "user.a")
    assert os.listxattr("x") == ["user.ünïcode ☂"]


def test_what_is_not_there() -> None:
    write_file("f")
    assert outcome(os.getxattr, "f", "user.a") == "ENODATA"
    assert outcome(os.removexattr, "f", "user.a") == "ENODATA"
    assert outcome(os.setxattr, "f", "user.a", b"1", os.XATTR_REPLACE) == "ENODATA"
    os.setxattr("f", "user.a", b"1", os.XATTR_CREATE)
    assert outcome(os.setxattr, "f", "user.a", b"2", os.XATTR_CREATE) == "EEXIST"
    os.setxattr("f", "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr("f", "user.a") == b"3"


def test_names_and_values_that_are_too_long() -> None:
    write_file("f")
    os.setxattr("f", "user." + "n" * 250, b"1")
    assert outcome(os.setxattr, "f", "user." + "n" * 251, b"1") == "ERANGE"
    assert outcome(lambda: os.setxattr("f", "user.big", bytes(65_537))) == "E2BIG"
    assert outcome(os.setxattr, "f", "user.", b"1") == "EINVAL"
    assert outcome(os.setxattr, "f", "nothing", b"1") == "ENOTSUP"
    assert outcome(os.setxattr, "f", "unknown.a", b"1") == "ENOTSUP"


def test_a_buffer_that_is_too_small() -> None:
    write_file("f")
    os.setxattr("f", "user.a", b"0123456789")
    buffer = ctypes.create_string_buffer(5)
    with fails("ERANGE"):
        checked(libc.getxattr(b"f", b"user.a", buffer, 5))
    with fails("ERANGE"):
        checked(libc.listxattr(b"f", buffer, 5))
    assert checked(libc.getxattr(b"f", b"user.a", None, 0)) == 10
    assert checked(libc.listxattr(b"f", None, 0)) == len("user.a") + 1


def test_links_and_special_files_have_none() -> None:
    os.symlink("anywhere", "link")
    os.mkfifo("fifo")
    assert outcome(lambda: os.setxattr("link", "user.a", b"1", follow_symlinks=False)) == "EPERM"
    assert outcome(os.setxattr, "fifo", "user.a", b"1") == "EPERM"
    assert (os.listxattr("link", follow_symlinks=False), os.listxattr("fifo")) == ([], [])


@pytest.mark.root("calls as several users")
def test_who_may_read_and_write_them() -> None:
    write_file("f", mode=0o640)
    os.chown("f", ALICE.uid, ALICE.gid)
    with ALICE:
        os.setxattr("f", "user.a", b"1")
    with BOB:
        assert outcome(os.getxattr, "f", "user.a") == "EACCES"
        assert outcome(os.setxattr, "f", "user.a", b"2") == "EACCES"
        assert outcome(os.removexattr, "f", "user.a") == "EACCES"
    os.chmod("f", 0o646)
    with BOB:
        os.setxattr("f", "user.a", b"2")
    assert os.getxattr("f", "user.a") == b"2"


@pytest.mark.root("calls as several users")
def test_in_a_sticky_folder_of_others_one_sets_none_on_the_folder() -> None:
    os.mkdir("d")
    os.chmod("d", 0o1777)
    with ALICE:
        assert outcome(os.setxattr, "d", "user.a", b"1") == "EPERM"


def test_they_belong_to_the_file_not_to_its_name() -> None:
    write_file("f")
    os.setxattr("f", "user.a", b"1")
    os.link("f", "g")
    os.rename("f", "h")
    assert (os.getxattr("g", "user.a"), os.getxattr("h", "user.a")) == (b"1", b"1")
    with opened("g", os.O_RDWR) as fd:
        os.unlink("g")
        os.unlink("h")
        os.setxattr(fd, "user.b", b"2")
        assert sorted(os.listxattr(fd)) == ["user.a", "user.b"]
    write_file("f")
    assert os.listxattr("f") == []
