"""rename(2) and renameat2(2): what may take the place of what, and what stays as it was."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.posix.conftest import Service
from tests.posix.support import (
    ALICE,
    BOB,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    age,
    fails,
    moved,
    opened,
    outcome,
    read_file,
    rename2,
    times,
    write_file,
)

pytestmark = pytest.mark.usefixtures("place")


def _full(path: str) -> None:
    os.mkdir(path)
    write_file(f"{path}/inside")


MAKE: dict[str, Callable[[str], object]] = {
    "file": write_file,
    "empty folder": os.mkdir,
    "full folder": _full,
    "link": lambda path: os.symlink("anywhere", path),
    "fifo": os.mkfifo,
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
}
KINDS = [pytest.param(kind, marks=pytest.mark.root("device nodes")) if kind == "device" else kind for kind in MAKE]
FOLDERS = {"empty folder", "full folder"}


def _refusal(source: str, target: str) -> str:
    if source in FOLDERS:
        return "ENOTDIR" if target not in FOLDERS else "ENOTEMPTY" if target == "full folder" else "ok"
    return "EISDIR" if target in FOLDERS else "ok"


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_what_may_take_the_place_of_what(source: str, target: str, across: bool) -> None:
    os.mkdir("other")
    goal = "other/target" if across else "target"
    MAKE[source]("source")
    MAKE[target](goal)
    ino, victim = os.lstat("source").st_ino, os.lstat(goal).st_ino

    told = outcome(os.rename, "source", goal)

    assert told == _refusal(source, target)
    if told == "ok":
        assert os.lstat(goal).st_ino == ino
        assert not os.path.lexists("source")
    else:
        assert (os.lstat("source").st_ino, os.lstat(goal).st_ino) == (ino, victim)


@pytest.mark.parametrize("source", KINDS)
def test_a_move_keeps_the_inode_and_marks_it_and_both_folders(source: str) -> None:
    os.mkdir("from")
    os.mkdir("to")
    MAKE[source]("from/source")
    status = os.lstat("from/source")
    age("from/source", "from", "to")
    before = {path: times(path) for path in ("from/source", "from", "to")}
    os.rename("from/source", "to/target")

    after = os.lstat("to/target")
    assert (after.st_ino, after.st_mode, after.st_size, after.st_nlink) == (
        status.st_ino, status.st_mode, status.st_size, status.st_nlink,
    )  # fmt: skip
    assert moved("to/target", before["from/source"]) == "c"
    assert (moved("from", before["from"]), moved("to", before["to"])) == ("mc", "mc")


def test_a_replaced_file_loses_a_link_and_its_ctime_moves() -> None:
    write_file("old", b"old")
    os.link("old", "survivor")
    write_file("new", b"new")
    age("survivor")
    before = times("survivor")
    os.rename("new", "old")

    assert (os.stat("survivor").st_nlink, moved("survivor", before)) == (1, "c")
    assert (read_file("survivor"), read_file("old")) == (b"old", b"new")


def test_two_names_of_one_file_both_stay() -> None:
    write_file("a")
    os.link("a", "b")
    os.rename("a", "b")
    os.rename("a", "a")

    assert sorted(os.listdir()) == ["a", "b"]
    assert os.stat("a").st_nlink == 2


def test_a_folder_is_not_moved_into_itself() -> None:
    os.makedirs("a/b/c")
    told = {(s, t): outcome(os.rename, s, t) for s, t in [("a", "a/x"), ("a", "a/b/c/x"), ("a/b", "a/b/c")]}
    assert set(told.values()) == {"EINVAL"}
    # Nor may a folder take the place of one that it lies in.
    assert outcome(os.rename, "a/b/c", "a") == "ENOTEMPTY"


def test_a_tree_moves_whole_and_knows_its_new_parent() -> None:
    os.makedirs("a/b/c")
    os.mkdir("z")
    write_file("a/b/c/f", b"deep")
    with opened("a/b", os.O_RDONLY) as fd, opened("a/b/c/f", os.O_RDWR) as file:
        os.rename("a/b", "z/y")
        assert os.pread(file, 9, 0) == b"deep"
        os.pwrite(file, b"D", 0)
        assert os.stat("..", dir_fd=fd).st_ino == os.stat("z").st_ino

    assert read_file("z/y/c/f") == b"Deep"
    assert (os.stat("a").st_nlink, os.stat("z").st_nlink, os.listdir("a")) == (2, 3, [])


def test_names_with_a_slash_behind_them() -> None:
    os.mkdir("d")
    write_file("f")
    assert outcome(os.rename, "f", "g/") == "ENOTDIR"
    os.rename("d/", "e/")
    assert sorted(os.listdir()) == ["e", "f"]


def test_between_two_file_systems(place: Path, service: Service, tmp_path: Path) -> None:
    other = tmp_path if place.is_relative_to(service.mount.path) else service.mount.path
    write_file("f")
    assert outcome(os.rename, "f", other / "g") == "EXDEV"
    assert outcome(os.link, "f", other / "g") == "EXDEV"


def test_over_an_open_file_the_old_bytes_stay_readable() -> None:
    write_file("old", b"old bytes")
    write_file("new", b"new bytes")
    with opened("old", os.O_RDWR) as fd:
        os.rename("new", "old")
        assert (os.pread(fd, 99, 0), os.fstat(fd).st_nlink) == (b"old bytes", 0)
        assert os.pwrite(fd, b"OLD", 0) == 3
        assert os.pread(fd, 99, 0) == b"OLD bytes"

    assert read_file("old") == b"new bytes"


# -- flags


@pytest.mark.parametrize("target", KINDS)
def test_noreplace_replaces_nothing(target: str) -> None:
    write_file("source")
    MAKE[target]("target")
    with fails("EEXIST"):
        rename2("source", "target", RENAME_NOREPLACE)
    with fails("EEXIST"):
        rename2("source", "source", RENAME_NOREPLACE)

    rename2("source", "free", RENAME_NOREPLACE)
    assert sorted(os.listdir()) == ["free", "target"]


@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("one", KINDS)
def test_exchange_swaps_anything_with_anything(one: str, other: str) -> None:
    os.mkdir("x")
    os.mkdir("y")
    MAKE[one]("x/one")
    MAKE[other]("y/other")
    age("x", "y", "x/one", "y/other")
    inos = os.lstat("x/one").st_ino, os.lstat("y/other").st_ino
    before = {path: times(path) for path in ("x", "y", "x/one", "y/other")}
    rename2("x/one", "y/other", RENAME_EXCHANGE)

    assert (os.lstat("y/other").st_ino, os.lstat("x/one").st_ino) == inos
    assert {moved(path, before[path]) for path in ("x", "y")} == {"mc"}
    assert (moved("y/other", before["x/one"]), moved("x/one", before["y/other"])) == ("c", "c")
    folders = {"x": int(other in FOLDERS), "y": int(one in FOLDERS)}
    assert {path: os.stat(path).st_nlink - 2 for path in folders} == folders


def test_exchange_wants_both_and_neither_within_the_other() -> None:
    os.makedirs("a/b")
    write_file("f")
    assert outcome(rename2, "f", "missing", RENAME_EXCHANGE) == "ENOENT"
    assert outcome(rename2, "missing", "f", RENAME_EXCHANGE) == "ENOENT"
    assert outcome(rename2, "a", "a/b", RENAME_EXCHANGE) == "EINVAL"
    assert outcome(rename2, "a/b", "a", RENAME_EXCHANGE) in {"EINVAL", "ENOTEMPTY"}
    assert os.path.isdir("a/b")


@pytest.mark.parametrize("flags", [RENAME_NOREPLACE | RENAME_EXCHANGE, RENAME_EXCHANGE | RENAME_WHITEOUT, 8, 1 << 30])
def test_flags_that_make_no_sense(flags: int) -> None:
    write_file("f")
    write_file("g")
    with fails("EINVAL"):
        rename2("f", "g", flags)


# -- who may


@pytest.mark.root("calls as several users")
def test_both_folders_must_be_writable() -> None:
    for name, mode in (("mine", 0o777), ("theirs", 0o755)):
        os.mkdir(name)
        os.chmod(name, mode)
        write_file(f"{name}/f", mode=0o666)
    with ALICE:
        told = [
            outcome(os.rename, "mine/f", "theirs/g"),
            outcome(os.rename, "theirs/f", "mine/g"),
            outcome(rename2, "mine/f", "theirs/f", RENAME_EXCHANGE),
            outcome(os.rename, "mine/f", "mine/g"),
        ]
    assert told == ["EACCES", "EACCES", "EACCES", "ok"]


@pytest.mark.root("calls as several users")
def test_a_folder_gets_another_parent_only_by_who_may_write_to_it() -> None:
    """Its `..` changes: that is a write to the folder itself."""
    os.mkdir("to", 0o777)
    os.chmod("to", 0o777)
    os.mkdir("d", 0o755)
    with ALICE:
        assert outcome(os.rename, "d", "to/d") == "EACCES"
        assert outcome(os.rename, "d", "e") == "ok"


@pytest.mark.root("calls as several users")
@pytest.mark.parametrize("kind", ["file", "empty folder", "link"])
def test_in_a_sticky_folder_names_are_their_owners(kind: str) -> None:
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    with ALICE:
        MAKE[kind]("sticky/alices")
        MAKE[kind]("alices")
    with BOB:
        MAKE[kind]("sticky/bobs")
        told = [
            outcome(os.rename, "sticky/alices", "sticky/x"),
            outcome(os.rename, "sticky/bobs", "sticky/alices"),
            outcome(rename2, "sticky/bobs", "sticky/alices", RENAME_EXCHANGE),
            outcome(lambda: (os.rmdir if kind == "empty folder" else os.unlink)("sticky/alices")),
            outcome(os.rename, "sticky/bobs", "sticky/y"),
        ]
    assert told == ["EPERM", "EPERM", "EPERM", "EPERM", "ok"]
    with ALICE:
        os.rename("sticky/alices", "sticky/x")
    # The folder's own owner may as well, and so may root.
    os.chown("sticky", BOB.uid, BOB.gid)
    with BOB:
        os.rename("sticky/x", "sticky/z")
    os.rename("sticky/z", "sticky/zz")
    assert sorted(os.listdir("sticky")) == ["y", "zz"]
