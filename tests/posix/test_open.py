"""open(2): flags, what it makes, what it refuses."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import stat
import subprocess

import pytest

from tests.posix.support import (
    ALICE,
    BOB,
    CALLER,
    CAROL,
    STAFF,
    Person,
    age,
    fails,
    mode_of,
    moved,
    opened,
    outcome,
    read_file,
    times,
    write_file,
)

pytestmark = pytest.mark.usefixtures("place")
NEW = os.O_WRONLY | os.O_CREAT


def _open(path: str, flags: int) -> None:
    os.close(os.open(path, flags))


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
# By anybody but root a write takes the set-uid bit away.
@pytest.mark.parametrize(
    "mode", [0o000, 0o600, 0o644, 0o777, 0o1777, pytest.param(0o4755, marks=pytest.mark.root("what root alone may do"))]
)
def test_a_new_file_has_the_callers_mode_less_the_umask(mode: int, mask: int) -> None:
    os.umask(mask)
    with opened("f", NEW, mode) as fd:
        os.umask(0o022)  # the server that takes the bytes runs in this process
        os.write(fd, b"written whatever the mode")  # it counts from the next open on

    assert mode_of("f") == mode & ~mask


def test_a_new_file_is_the_callers_and_marks_its_folder() -> None:
    age(".")
    before = times(".")
    with CALLER, opened("f", NEW | os.O_EXCL):
        pass

    status = os.stat("f")
    assert (status.st_uid, status.st_gid, status.st_nlink, status.st_size) == (CALLER.uid, CALLER.gid, 1, 0)
    assert moved(".", before) == "mc"


@pytest.mark.root("calls as several users")
def test_creating_what_is_there_changes_neither_owner_nor_mode_nor_times() -> None:
    write_file("f", mode=0o666)
    age("f", ".")
    before, folder_before = times("f"), times(".")
    with ALICE, opened("f", NEW, 0o600):
        pass

    assert (moved("f", before), moved(".", folder_before)) == ("", "")
    assert (os.stat("f").st_uid, mode_of("f"), read_file("f")) == (0, 0o666, b"content")


@pytest.mark.parametrize("kind", ["file", "dir", "fifo", "link", "dangling"])
def test_exclusive_creation_wants_a_free_name(kind: str) -> None:
    write_file("file")
    os.mkdir("dir")
    os.mkfifo("fifo")
    os.symlink("file", "link")
    os.symlink("nowhere", "dangling")

    with fails("EEXIST"):
        os.open(kind, NEW | os.O_EXCL)
    assert not os.path.exists("nowhere")


def test_creating_through_a_dangling_link_makes_its_target() -> None:
    os.mkdir("d")
    os.symlink("d/target", "link")
    with opened("link", NEW) as fd:
        os.write(fd, b"through")

    assert read_file("d/target") == b"through"


def test_what_cannot_be_opened_so() -> None:
    write_file("file")
    os.mkdir("dir")
    os.mkfifo("fifo")
    os.symlink("file", "link")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")

    told = {
        (name, flags): outcome(_open, name, flags)
        for name, flags in [
            ("dir", os.O_WRONLY), ("dir", os.O_RDWR), ("dir", os.O_RDONLY | os.O_CREAT), ("dir", os.O_RDONLY | os.O_TRUNC),
            ("file", os.O_DIRECTORY), ("file/", os.O_RDONLY), ("new/", NEW), ("link", os.O_NOFOLLOW),
            ("link", os.O_RDONLY | os.O_DIRECTORY), ("fifo", os.O_WRONLY | os.O_NONBLOCK), ("socket", os.O_RDWR),
        ]
    }  # fmt: skip
    assert list(told.values()) == [
        "EISDIR", "EISDIR", "EISDIR", "EISDIR", "ENOTDIR", "ENOTDIR", "EISDIR", "ELOOP", "ENOTDIR", "ENXIO", "ENXIO",
    ]  # fmt: skip


def test_o_path_opens_what_may_not_be_read() -> None:
    write_file("f", mode=0)
    os.symlink("f", "link")
    with CALLER:
        with opened("f", os.O_PATH) as fd:
            assert os.fstat(fd).st_size == 7
            with fails("EBADF"):
                os.read(fd, 1)
        with opened("link", os.O_PATH | os.O_NOFOLLOW) as fd:
            assert stat.S_ISLNK(os.fstat(fd).st_mode)


_CLASSES = {"owner": (ALICE, 6), "group": (Person(2009, STAFF), 3), "supplementary": (BOB, 3), "other": (CAROL, 0)}


@pytest.mark.root("calls as several users")
@pytest.mark.parametrize("who", _CLASSES)
def test_each_class_is_asked_for_its_own_bits_alone(who: str) -> None:
    """An owner without the right is refused even where everybody else has it."""
    person, shift = _CLASSES[who]
    asked = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}
    for bits, others in itertools.product(range(8), (0, 7)):
        shifts = [s for s in (6, 3, 0) if s != shift]
        write_file("f", mode=bits << shift | sum(others << s for s in shifts))
        os.chown("f", ALICE.uid, STAFF)
        with person:
            told = {name: outcome(_open, "f", flags) for name, flags in asked.items()}
        allowed = {"r": bits & 4, "w": bits & 2, "rw": bits & 6 == 6}
        assert told == {name: "ok" if may else "EACCES" for name, may in allowed.items()}, (oct(bits), others)
        os.unlink("f")


@pytest.mark.root("calls as several users")
def test_truncating_needs_the_right_to_write_and_creating_none_on_what_is_made() -> None:
    write_file("f", mode=0o444)
    os.chown("f", ALICE.uid, ALICE.gid)
    with ALICE:
        with fails("EACCES"):
            os.open("f", os.O_RDONLY | os.O_TRUNC)
        with opened("g", os.O_RDWR | os.O_CREAT, 0) as fd:
            assert os.write(fd, b"allowed") == 7
    assert read_file("f") == b"content"


def test_truncation_by_open_moves_mtime_and_ctime_and_keeps_the_inode() -> None:
    write_file("f")
    age("f")
    ino, before = os.stat("f").st_ino, times("f")
    with opened("f", os.O_WRONLY | os.O_TRUNC):
        assert moved("f", before) == "mc"

    assert (os.stat("f").st_size, os.stat("f").st_ino) == (0, ino)


@pytest.mark.root("calls as several users")
def test_noatime_is_for_the_owner() -> None:
    write_file("f", mode=0o644)
    with ALICE, fails("EPERM"):
        os.open("f", os.O_RDONLY | os.O_NOATIME)


@pytest.mark.root("calls as several users")
def test_a_descriptor_outlives_the_rights_it_was_opened_by() -> None:
    write_file("f", mode=0o666)
    with ALICE:
        fd = os.open("f", os.O_RDWR)
    os.chmod("f", 0)
    with ALICE:
        assert os.read(fd, 7) == b"content"
        assert os.pwrite(fd, b"C", 0) == 1
        os.close(fd)
    assert read_file("f") == b"Content"


def test_a_program_that_runs_cannot_be_written_to_nor_one_run_that_is_written() -> None:
    shutil.copy("/bin/sleep", "program")
    with subprocess.Popen(["./program", "60"]) as process:
        try:
            with fails("ETXTBSY"):
                os.open("program", os.O_WRONLY)
        finally:
            process.kill()
    with opened("program", os.O_WRONLY), pytest.raises(OSError, match="Text file busy"):
        subprocess.run(["./program", "0"], check=False)
    subprocess.run(["./program", "0"], check=True)


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_what_is_not_executable_is_not_run(mode: int) -> None:
    write_file("script", b"#!/bin/sh\necho ran\n", mode)
    if mode == 0o755:
        assert subprocess.run(["./script"], capture_output=True, check=True).stdout == b"ran\n"
    else:
        with fails("EACCES"):
            subprocess.run(["./script"], check=False)
