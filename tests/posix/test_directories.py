"""Directories: making and removing them, link counts, listing while entries come and go, statvfs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.posix.support import (
    ALICE,
    CALLER,
    Dirent,
    age,
    fails,
    getdents,
    mode_of,
    moved,
    opened,
    outcome,
    times,
    write_file,
)

pytestmark = pytest.mark.usefixtures("place")
# About ten entries a call, so that a listing takes many.
SMALL = 320


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777, 0o1777, 0o000])
def test_a_new_folder_has_the_callers_mode_less_the_umask(mode: int, mask: int) -> None:
    os.umask(mask)
    with CALLER:
        os.mkdir("d", mode)

    status = os.stat("d")
    assert (mode_of("d"), status.st_uid, status.st_gid, status.st_nlink) == (mode & ~mask, CALLER.uid, CALLER.gid, 2)


def test_each_folder_counts_as_a_link_of_the_one_that_it_lies_in() -> None:
    os.mkdir("a")
    os.mkdir("b")
    for name in ("x", "y", "z"):
        os.mkdir(f"a/{name}")
        write_file(f"a/{name}.txt")
    assert os.stat("a").st_nlink == 5

    os.rmdir("a/x")
    os.rename("a/y", "b/y")
    os.rename("a/z", "a/w")
    assert (os.stat("a").st_nlink, os.stat("b").st_nlink, os.stat("b/y").st_nlink) == (3, 3, 2)

    os.mkdir("b/empty")
    os.rename("a/w", "b/empty")
    assert (os.stat("a").st_nlink, os.stat("b").st_nlink) == (2, 4)


def test_only_an_empty_folder_is_removed() -> None:
    os.mkdir("d")
    os.symlink("d", "link")
    makes: list[Callable[[], object]] = [
        lambda: write_file("d/x"), lambda: os.mkdir("d/x"), lambda: os.symlink("x", "d/x"),
    ]  # fmt: skip
    for make in makes:
        make()
        with fails("ENOTEMPTY"):
            os.rmdir("d")
        os.rmdir("d/x") if os.path.isdir("d/x") else os.unlink("d/x")

    assert {name: outcome(os.rmdir, name) for name in ("link", "link/", "d/.", "d/..")} == {
        "link": "ENOTDIR", "link/": "ENOTDIR", "d/.": "EINVAL", "d/..": "ENOTEMPTY",
    }  # fmt: skip
    os.rmdir("d")
    assert os.listdir() == ["link"]


def test_a_folder_is_not_unlinked() -> None:
    os.mkdir("d")
    with fails("EISDIR"):
        os.unlink("d")


def test_making_and_removing_marks_the_folder() -> None:
    age(".")
    before = times(".")
    os.mkdir("d")
    assert moved(".", before) == "mc"
    age(".")
    before = times(".")
    os.rmdir("d")
    assert moved(".", before) == "mc"


def test_in_a_folder_that_was_removed_nothing_is_made_or_found(place: Path) -> None:
    os.mkdir("d")
    os.chdir("d")
    os.rmdir(place / "d")
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: os.open("x", os.O_CREAT | os.O_WRONLY), "mkdir": lambda: os.mkdir("x"),
        "symlink": lambda: os.symlink("y", "x"), "stat": lambda: os.stat("x"),
    }  # fmt: skip
    told = {name: outcome(call) for name, call in calls.items()}
    listed, links = os.listdir("."), os.stat(".").st_nlink
    os.chdir(place)

    assert told == dict.fromkeys(calls, "ENOENT")
    assert (listed, links) == ([], 0)


def test_a_folder_that_was_removed_is_not_listed_further() -> None:
    os.mkdir("d")
    with opened("d", os.O_RDONLY) as fd:
        os.rmdir("d")
        with fails("ENOENT"):
            getdents(fd)
        assert os.fstat(fd).st_nlink == 0


# -- listing


def _entries(fd: int, size: int = SMALL) -> Iterator[Dirent]:
    while page := getdents(fd, size):
        yield from page


def _fill(count: int, prefix: str = "entry") -> set[str]:
    found = {f"{prefix}-{number:04}" for number in range(count)}
    for name in found:
        os.mkfifo(name)  # a file would be uploaded, which nothing here is about
    return found


def test_a_listing_tells_names_numbers_and_kinds(place: Path) -> None:
    write_file("file")
    os.mkdir("dir")
    os.symlink("file", "link")
    os.mkfifo("fifo")
    os.link("file", "other")
    with opened(".", os.O_RDONLY) as fd:
        found = list(_entries(fd))

    assert sorted(entry.name for entry in found) == [".", "..", "dir", "fifo", "file", "link", "other"]
    assert {entry.name: entry.ino for entry in found} == {entry.name: os.lstat(entry.name).st_ino for entry in found}
    assert {entry.name: entry.kind << 12 for entry in found} == {
        entry.name: stat.S_IFMT(os.lstat(entry.name).st_mode) for entry in found
    }


def test_each_entry_is_told_once_while_others_come_and_go() -> None:
    stay = _fill(150, "stay")
    _fill(150, "go")
    told: list[str] = []
    with opened(".", os.O_RDONLY) as fd:
        for number, entry in enumerate(_entries(fd)):
            told.append(entry.name)
            if os.path.exists(f"go-{number:04}"):
                os.unlink(f"go-{number:04}")
                os.mkfifo(f"come-{number:04}")

    assert len(told) == len(set(told))
    assert stay | {".", ".."} <= set(told)


def test_emptying_a_folder_while_listing_it_leaves_nothing() -> None:
    _fill(500)
    with opened(".", os.O_RDONLY) as fd:
        for entry in _entries(fd):
            if entry.name not in {".", ".."}:
                os.unlink(entry.name)

    assert os.listdir() == []


def test_a_place_in_a_listing_is_found_again() -> None:
    _fill(100)
    with opened(".", os.O_RDONLY) as fd:
        found = list(_entries(fd))
        for at in (0, 1, 2, 17, 60, 100):
            os.lseek(fd, found[at].offset, os.SEEK_SET)
            assert [entry.name for entry in _entries(fd)] == [entry.name for entry in found[at + 1 :]]


def test_a_place_holds_when_what_was_before_it_is_gone() -> None:
    _fill(60)
    with opened(".", os.O_RDONLY) as fd:
        found = list(_entries(fd))
        for entry in found[:31]:
            if entry.name not in {".", ".."}:
                os.unlink(entry.name)
        os.lseek(fd, found[30].offset, os.SEEK_SET)
        assert [entry.name for entry in _entries(fd)] == [entry.name for entry in found[31:]]


def test_rewinding_shows_what_came_and_hides_what_went() -> None:
    _fill(5)
    with opened(".", os.O_RDONLY) as fd:
        list(_entries(fd))
        os.unlink("entry-0000")
        os.mknod("new")
        os.lseek(fd, 0, os.SEEK_SET)
        names = {entry.name for entry in _entries(fd)}

    assert names == {".", "..", "new", *(f"entry-{n:04}" for n in range(1, 5))}


def test_a_renamed_entry_is_told_no_more_than_once_under_each_name() -> None:
    _fill(120)
    told: list[str] = []
    with opened(".", os.O_RDONLY) as fd:
        for entry in _entries(fd):
            told.append(entry.name)
            if entry.name.startswith("entry-"):
                os.rename(entry.name, f"renamed-{entry.name}")

    assert len(told) == len(set(told))
    assert sum(name.startswith("entry-") for name in told) == 120


@pytest.mark.root("calls as several users")
def test_listing_needs_the_right_to_read_and_stat_the_right_to_search() -> None:
    for name, mode in (("read", 0o744), ("search", 0o711)):
        os.mkdir(name)
        write_file(f"{name}/x")
        os.chmod(name, mode)
    with ALICE:
        assert os.listdir("read") == ["x"]
        assert outcome(os.stat, "read/x") == "EACCES"
        assert outcome(os.listdir, "search") == "EACCES"
        assert os.stat("search/x").st_size == 7


def test_a_descriptor_of_a_folder_is_no_file() -> None:
    os.mkdir("d")
    with opened("d", os.O_RDONLY) as fd:
        assert outcome(os.read, fd, 1) == "EISDIR"
        assert outcome(os.write, fd, b"x") == "EBADF"
        assert outcome(os.ftruncate, fd, 0) == "EINVAL"
        os.fsync(fd)
        write_file("d/x")
        assert os.listdir(fd) == ["x"]
        assert os.stat("x", dir_fd=fd).st_size == 7


# -- statvfs


def test_statvfs_tells_limits_that_hold(place: Path) -> None:
    told = os.statvfs(".")

    assert told.f_namemax == 255
    assert told.f_bsize >= 512
    assert 0 < told.f_bavail <= told.f_bfree <= told.f_blocks
    assert told.f_ffree > 0
    write_file("n" * told.f_namemax)
    with opened("n" * told.f_namemax, os.O_RDONLY) as fd:
        assert os.fstatvfs(fd).f_namemax == 255
