"""What the handlers of open, create, setattr and xattrs are told, and which permissions the kernel checks itself.

| fact | test |
|---|---|
| O_TRUNC comes with OPEN, no SETATTR; O_CREAT is not told there; of a missing file CREATE has both | `test_o_trunc_*` |
| the umask is applied before CREATE, MKDIR, MKNOD; ctx.umask tells it | `test_umask` |
| SETATTR tells what changes, other fields are 0: never ctime, no mtime with a size | `test_setattr_*` |
| only ftruncate comes with a handle | same |
| suid: chown, a write or truncate by another user bring SETATTR with the cleared mode | `test_suid_*` |
| open with O_TRUNC by another user does **not** clear suid | `test_suid_survives_o_trunc` |
| ACCESS is never sent; sticky folders, owners of chmod, chown, utimes are checked by the kernel | `test_permission_*` |
| in a setgid folder the handler must give the folder's group, and the bit to folders | same |
| the kernel cuts the setgid bit of a new file and at chmod where the group is foreign | same |
| `security.capability` is asked before each WRITE and size change | `test_xattr_*` |
| ENODATA and EOPNOTSUPP do not end that, ENOSYS does | same |
| ENOSYS in getxattr makes every later getxattr of the mount EOPNOTSUPP; set and list still come | same |
| names of any namespace reach setxattr (`trusted.`, `security.`, unknown ones); a value over 64 KiB is E2BIG | same |
| pyfuse3 answers XATTR_CREATE and XATTR_REPLACE itself, by asking getxattr | same |
| st_blocks is told as we say (0 makes `du` 0), st_blksize 0 is told as 4096 | `test_stat_*` |
| statfs fields come as they are, f_favail is f_ffree | `test_statfs` |
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator

import pytest

from tests.kernel.probe import Probe, as_user, attempt, libc

NOBODY = 65534
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


@pytest.fixture
def umask_027() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize("also", [0, os.O_CREAT])
def test_o_trunc_of_a_file_comes_with_open(probe: Probe, also: int) -> None:
    path = probe.make("text")
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | also))
    assert probe.one("open", path.name)["flags"] & (os.O_ACCMODE | os.O_TRUNC | os.O_CREAT) == os.O_WRONLY | os.O_TRUNC
    assert not {"setattr", "create"} & set(probe.ops(path.name))


def test_o_trunc_of_a_missing_file_comes_with_create(probe: Probe) -> None:
    name = probe.fresh()
    flags = os.O_WRONLY | os.O_TRUNC | os.O_CREAT
    os.close(os.open(probe.root / name, flags))
    assert probe.one("create", name)["flags"] & flags == flags
    assert "open" not in probe.ops(name)


def test_umask_is_applied_by_the_kernel(probe: Probe, umask_027: None) -> None:
    os.close(os.open(probe.root / probe.fresh(), os.O_CREAT | os.O_WRONLY, 0o666))
    os.mkdir(probe.root / probe.fresh(), 0o777)
    os.mknod(probe.root / probe.fresh(), 0o666 | stat.S_IFIFO)
    told = [(r["mode"], r["ctx"]["umask"]) for r in probe.requests("create", "mkdir", "mknod")]
    assert told == [(0o100640, 0o027), (0o040750, 0o027), (0o010640, 0o027)]


def utimensat(path: os.PathLike[str], *seconds_and_nanoseconds: int) -> None:
    libc.utimensat(-100, os.fsencode(path), (ctypes.c_long * 4)(*seconds_and_nanoseconds), 0)


def with_fd(path: os.PathLike[str], call: Callable[[int], None]) -> None:
    fd = os.open(path, os.O_RDWR)
    call(fd)
    os.close(fd)


SETATTR: dict[str, tuple[Callable[[os.PathLike[str]], None], set[str], bool]] = {
    "chmod": (lambda path: os.chmod(path, 0o600), {"mode"}, False),
    "fchmod": (lambda path: with_fd(path, lambda fd: os.fchmod(fd, 0o600)), {"mode"}, False),
    "chown": (lambda path: os.chown(path, 1, 2), {"uid", "gid"}, False),
    "chgrp": (lambda path: os.chown(path, -1, 2), {"gid"}, False),
    "truncate": (lambda path: os.truncate(path, 2), {"size"}, False),
    "ftruncate": (lambda path: with_fd(path, lambda fd: os.ftruncate(fd, 2)), {"size"}, True),
    "utimes": (lambda path: os.utime(path, ns=(1, 2)), {"atime", "mtime"}, False),
    "futimens": (lambda path: with_fd(path, lambda fd: os.utime(fd, ns=(1, 2))), {"atime", "mtime"}, False),
    "utimes now": (os.utime, {"atime", "mtime"}, False),
    "omit atime": (lambda path: utimensat(path, 0, UTIME_OMIT, 7, 9), {"mtime"}, False),
    "omit mtime": (lambda path: utimensat(path, 0, UTIME_NOW, 0, UTIME_OMIT), {"atime"}, False),
}


@pytest.mark.parametrize("name", SETATTR)
def test_setattr_tells_only_what_changes(probe: Probe, name: str) -> None:
    path = probe.make("text")
    call, fields, with_handle = SETATTR[name]
    call(path)
    request = probe.one("setattr", path.name)
    assert (set(request["fields"]), request["fh"] is not None) == (fields, with_handle)
    keys = {"mode": "st_mode", "uid": "st_uid", "gid": "st_gid", "size": "st_size"}
    keys |= {time: f"st_{time}_ns" for time in ("atime", "mtime", "ctime")}
    assert {name for name, key in keys.items() if request["attr"][key]} <= fields


def test_setattr_of_utime_now_is_filled_with_the_clock(probe: Probe) -> None:
    path = probe.make()
    os.utime(path)
    attr = probe.one("setattr", path.name)["attr"]
    assert attr["st_atime_ns"] == attr["st_mtime_ns"] > 10**18


def test_suid_is_cleared_by_chown_in_the_same_setattr(probe: Probe) -> None:
    path = probe.make(mode=0o106755)
    os.chown(path, 1, 2)
    request = probe.one("setattr", path.name)
    assert (request["fields"], request["attr"]["st_mode"]) == (["gid", "mode", "uid"], 0o100755)


def test_suid_is_cleared_before_the_first_write_of_another_user(probe: Probe) -> None:
    path = probe.make(mode=0o106777)
    with as_user(NOBODY, probe.root):
        fd = os.open(path.name, os.O_WRONLY)
        os.write(fd, b"1")
        os.write(fd, b"2")
        os.close(fd)
    changes = [op for op in probe.ops(path.name) if op in {"setattr", "write"}]
    assert changes == ["setattr", "write", "write"]
    assert probe.one("setattr", path.name)["attr"]["st_mode"] == 0o100777


def test_suid_is_cleared_by_truncate_of_another_user_in_the_same_setattr(probe: Probe) -> None:
    path = probe.make("text", mode=0o106777)
    with as_user(NOBODY, probe.root):
        os.truncate(path.name, 1)
    assert probe.one("setattr", path.name)["fields"] == ["mode", "size"]


def test_suid_survives_o_trunc_of_another_user(probe: Probe) -> None:
    path = probe.make("text", mode=0o106777)
    with as_user(NOBODY, probe.root):
        os.close(os.open(path.name, os.O_WRONLY | os.O_TRUNC))
    assert probe.one("open", path.name)["ctx"]["uid"] == NOBODY
    assert not probe.requests("setattr", name=path.name)


def test_permission_is_checked_by_the_kernel_and_access_never_asked(probe: Probe) -> None:
    path = probe.make(mode=0o100600)
    with as_user(NOBODY, probe.root):
        outcomes = [
            attempt(lambda: os.open(path.name, os.O_RDONLY)),
            attempt(lambda: os.chmod(path.name, 0o777)),
            attempt(lambda: os.chown(path.name, NOBODY, -1)),
            attempt(lambda: os.utime(path.name, (1, 1))),
        ]
    assert outcomes == ["EACCES", "EPERM", "EPERM", "EPERM"]
    assert not os.access(path, os.X_OK)
    assert not probe.requests("access", "open", "setattr")


def test_permission_of_a_sticky_folder_is_checked_by_the_kernel(probe: Probe) -> None:
    folder = probe.make(mode=0o041777)
    (folder / "theirs").touch()
    with as_user(NOBODY, probe.root):
        assert attempt(lambda: os.unlink(f"{folder.name}/theirs")) == "EPERM"
        assert attempt(lambda: os.rename(f"{folder.name}/theirs", f"{folder.name}/mine")) == "EPERM"
    assert not probe.requests("unlink", "rename")


def test_permission_setgid_folder_is_the_handlers_task(probe: Probe) -> None:
    folder = probe.make(mode=0o042777, gid=50)
    before = os.umask(0)
    with as_user(NOBODY, probe.root):
        os.close(os.open(f"{folder.name}/file", os.O_CREAT | os.O_WRONLY, 0o2770))
        os.mkdir(f"{folder.name}/folder", 0o770)
    os.umask(before)
    told = [(r["mode"], r["ctx"]["gid"]) for r in probe.requests("create", "mkdir")]
    assert told == [(0o100770, NOBODY), (0o040770, NOBODY)]


def test_permission_chmod_setgid_for_a_foreign_group_is_cut_by_the_kernel(probe: Probe) -> None:
    path = probe.make(mode=0o100755, uid=NOBODY, gid=50)
    with as_user(NOBODY, probe.root):
        os.chmod(path.name, 0o2755)
    assert probe.one("setattr", path.name)["attr"]["st_mode"] == 0o100755


@pytest.mark.parametrize("name", ["ENODATA", "EOPNOTSUPP"])
def test_xattr_of_capabilities_is_asked_before_each_write(probe: Probe, name: str) -> None:
    path = probe.make()
    fd = os.open(path, os.O_WRONLY)
    probe.rule("getxattr", times=9, errno=getattr(errno, name))
    probe.forget_log()
    for _ in range(3):
        os.write(fd, b"x")
    assert [r["op"] for r in probe.requests("getxattr", "write")] == ["getxattr", "write"] * 3
    assert {r["name"] for r in probe.requests("getxattr")} == {"security.capability"}
    os.close(fd)


def test_xattr_enosys_once_ends_getxattr_for_the_mount(mount: Callable[..., Probe]) -> None:
    probe = mount()
    path = probe.make()
    os.setxattr(path, "user.key", b"value")
    probe.rule("getxattr", errno=errno.ENOSYS)
    assert attempt(lambda: os.getxattr(path, "user.key")) == "ENOTSUP"
    assert attempt(lambda: os.getxattr(path, "user.key")) == "ENOTSUP"
    probe.forget_log()
    path.write_bytes(b"text")
    os.setxattr(path, "user.other", b"value")
    assert os.listxattr(path) == ["user.key", "user.other"]
    assert not probe.requests("getxattr")


@pytest.mark.parametrize("namespace", ["user", "trusted", "security", "unknown"])
def test_xattr_names_of_any_namespace_reach_the_handler(probe: Probe, namespace: str) -> None:
    path = probe.make()
    os.setxattr(path, f"{namespace}.key", b"value")
    assert os.getxattr(path, f"{namespace}.key") == b"value"


def test_xattr_create_and_replace_are_answered_by_pyfuse3(probe: Probe) -> None:
    path = probe.make()
    assert attempt(lambda: os.setxattr(path, "user.key", b"", os.XATTR_REPLACE)) == "ENODATA"
    os.setxattr(path, "user.key", b"", os.XATTR_CREATE)
    assert attempt(lambda: os.setxattr(path, "user.key", b"", os.XATTR_CREATE)) == "EEXIST"
    assert attempt(lambda: os.setxattr(path, "user.big", b"x" * 65_537)) == "E2BIG"
    assert len(probe.requests("setxattr")) == 1


def test_stat_tells_blocks_as_they_are(probe: Probe) -> None:
    sized, bare = probe.make("text", blocks=8, blksize=65_536), probe.make("text")
    assert (os.stat(sized).st_blocks, os.stat(sized).st_blksize) == (8, 65_536)
    assert (os.stat(bare).st_blocks, os.stat(bare).st_blksize) == (0, 4096)


def test_statfs(probe: Probe) -> None:
    told = os.statvfs(probe.root)
    assert (told.f_bsize, told.f_frsize, told.f_namemax) == (65_536, 4096, 255)
    assert (told.f_blocks, told.f_bfree, told.f_bavail) == (1000, 300, 200)
    assert (told.f_files, told.f_ffree, told.f_favail) == (50, 40, 40)
