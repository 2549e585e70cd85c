"""What is wrong with a path is told alike by every call that takes one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.posix.support import (
    AT_EACCESS,
    AT_FDCWD,
    CALLER,
    RENAME_EXCHANGE,
    checked,
    libc,
    outcome,
    rename2,
    utimens,
    write_file,
)

CALLS: dict[str, Callable[[str], object]] = {
    "open": lambda path: os.open(path, os.O_RDONLY),
    "create": lambda path: os.open(path, os.O_WRONLY | os.O_CREAT),
    "mkdir": os.mkdir,
    "mkfifo": os.mkfifo,
    "mknod": os.mknod,
    "symlink": lambda path: os.symlink("target", path),
    "link from": lambda path: os.link(path, "new"),
    "link to": lambda path: os.link("file", path),
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "rename from": lambda path: os.rename(path, "new"),
    "rename to": lambda path: os.rename("file", path),
    "exchange": lambda path: rename2("file", path, RENAME_EXCHANGE),
    "chmod": lambda path: os.chmod(path, 0o600),
    "chown": lambda path: os.chown(path, -1, -1),
    "lchown": lambda path: os.lchown(path, -1, -1),
    "truncate": lambda path: os.truncate(path, 0),
    "utimensat": lambda path: utimens(path, 0, 0),
    "setxattr": lambda path: os.setxattr(path, "user.a", b"1"),
    "getxattr": lambda path: os.getxattr(path, "user.a"),
    "listxattr": os.listxattr,
    "removexattr": lambda path: os.removexattr(path, "user.a"),
    "stat": os.stat,
    "lstat": os.lstat,
    "access": lambda path: checked(libc.faccessat(AT_FDCWD, os.fsencode(path), os.F_OK, AT_EACCESS)),
    "readlink": os.readlink,
    "statvfs": os.statvfs,
    "chdir": os.chdir,
    "opendir": os.listdir,
}  # fmt: skip
PATHS = {
    "ENOENT": ["missing/x", "dangling/x", ""],
    "ENOTDIR": ["file/x", "link-to-file/x", "fifo/x"],
    "ENAMETOOLONG": ["n" * 256, "n" * 256 + "/x", "é" * 128, "./" * 2048 + "x"],
    "ELOOP": ["loop/x", "loop-1/x"],
}


@pytest.fixture(autouse=True)
def _scenery(place: Path) -> None:
    write_file("file")
    os.symlink("nowhere", "dangling")
    os.symlink("file", "link-to-file")
    os.mkfifo("fifo")
    os.symlink("loop", "loop")
    os.symlink("loop-2", "loop-1")
    os.symlink("loop-1", "loop-2")
    os.mkdir("closed")
    os.mkdir("closed/folder", 0o777)
    os.chmod("closed", 0o600)


@pytest.mark.parametrize("call", CALLS)
def test_a_path_that_leads_nowhere(call: str) -> None:
    told = {path: outcome(CALLS[call], path) for paths in PATHS.values() for path in paths}

    wanted = {path: error for error, paths in PATHS.items() for path in paths}
    assert told == wanted


@pytest.mark.parametrize("call", CALLS)
def test_a_folder_that_one_may_not_search(call: str) -> None:
    with CALLER:
        assert outcome(CALLS[call], "closed/folder/x") == "EACCES"


@pytest.mark.parametrize("call", ["create", "mkdir", "mkfifo", "mknod", "symlink", "link to", "rename to"])
def test_a_folder_that_one_may_not_write_to(call: str) -> None:
    os.mkdir("readonly", 0o555)
    os.chown("file", CALLER.uid, CALLER.gid)

    with CALLER:
        assert outcome(CALLS[call], "readonly/x") == "EACCES"
    assert os.listdir("readonly") == []


@pytest.mark.parametrize("call", ["unlink", "rename from"])
def test_taking_away_from_a_folder_that_one_may_not_write_to(call: str) -> None:
    os.mkdir("readonly")
    write_file("readonly/x", mode=0o666)
    os.chmod("readonly", 0o555)

    with CALLER:
        assert outcome(CALLS[call], "readonly/x") == "EACCES"
    assert os.listdir("readonly") == ["x"]


@pytest.mark.parametrize("call", ["mkdir", "mkfifo", "mknod", "symlink", "link to"])
@pytest.mark.parametrize("there", ["file", "fifo", "dangling", "closed", ".", "..", "/"])
def test_what_makes_a_name_wants_it_free(call: str, there: str) -> None:
    assert outcome(CALLS[call], there) == "EEXIST"


@pytest.mark.parametrize(
    "name", ["n" * 255, "é" * 127, "☂" * 85, "😀" * 63, "a\nb\tc", 'a:b|c?*<>"\\', " x ", "...", "U\u0308 Ü"]
)
def test_a_name_of_up_to_255_bytes_and_of_any_character(name: str) -> None:
    write_file(name, b"1")
    os.rename(name, "elsewhere")
    os.rename("elsewhere", name)
    assert name in os.listdir()

    os.unlink(name)
    os.mkdir(name)
    os.rmdir(name)
    os.symlink("x", name)
    assert os.readlink(name) == "x"
    os.unlink(name)
    assert name not in os.listdir()


def test_names_that_differ_in_case_or_normal_form_only_are_different_names() -> None:
    names = ["a", "A", "\u00e9", "e\u0301", "\u212b", "\u00c5", "ﬁ", "fi"]
    for number, name in enumerate(names):
        write_file(name, str(number).encode())

    assert {name: Path(name).read_bytes() for name in names} == {n: str(i).encode() for i, n in enumerate(names)}


def test_a_path_of_just_under_path_max(place: Path) -> None:
    component = "d" * 254
    for _ in range(15):
        os.mkdir(component)
        os.chdir(component)
    os.chdir(place)
    # With the terminating NUL the longest that the kernel takes is 4,096 bytes.
    path = "/".join([component] * 15) + "/" + "f" * 255
    path = "./" * ((4095 - len(path)) // 2) + path

    write_file(path)
    assert Path(path).read_bytes() == b"content"
    with pytest.raises(OSError, match="too long"):
        os.stat("./" + path)


@pytest.mark.parametrize(
    "call", sorted(CALLS.keys() - {"open", "stat", "lstat", "access", "chdir", "opendir", "readlink", "statvfs"})
)
def test_dots_are_no_names(call: str) -> None:
    """Calls that change a name do not take `.` and `..`; those that change an attribute do."""
    os.mkdir("d")
    attribute_calls = {"chmod", "chown", "lchown", "utimensat", "setxattr", "listxattr"}
    wanted = {
        "create": "EISDIR", "mkdir": "EEXIST", "mkfifo": "EEXIST", "mknod": "EEXIST", "symlink": "EEXIST",
        "link from": "EPERM", "link to": "EEXIST", "unlink": "EISDIR", "rmdir": "EINVAL", "rename from": "EBUSY",
        "rename to": "EBUSY", "exchange": "EBUSY", "truncate": "EISDIR", "getxattr": "ENODATA",
        "removexattr": "ENODATA",
    } | dict.fromkeys(attribute_calls, "ok")  # fmt: skip

    assert outcome(CALLS[call], "d/.") == wanted[call]


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"link from", "rename from", "exchange"}))
def test_a_slash_behind_what_is_no_folder(call: str) -> None:
    wanted = {
        "create": "EISDIR",
        "mkdir": "EEXIST",
        "mkfifo": "EEXIST",
        "mknod": "EEXIST",
        "symlink": "EEXIST",
        "link to": "EEXIST",
    }

    assert outcome(CALLS[call], "file/") == wanted.get(call, "ENOTDIR")
