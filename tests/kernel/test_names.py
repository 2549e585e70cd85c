"""Names: caching, invalidation, rename flags, lookup counts, unlink while open, and calls that have no handler.

| fact | test |
|---|---|
| invalidating a name from a thread shows another inode or a new file; unknown: ENOENT | `test_invalidate_*` |
| it waits while a create, lookup, readdir or unlink of that folder does | `test_invalidate_entry_waits_*` |
| invalidating pages waits for a READ of them; of attributes never waits | `test_invalidate_inode_*` |
| listing fills and corrects what the kernel knows: names, negative entries, attributes | `test_listing_*` |
| RENAME_NOREPLACE, EXCHANGE, WHITEOUT arrive as 1, 2, 4; a known target is EEXIST at once | `test_rename_*` |
| FORGET returns exactly what lookup, create, mkdir, mknod, symlink, link, listings counted | `test_forget_*` |
| unlink of an open file sends UNLINK, no silly name; its handle goes on, fstat asks GETATTR | `test_unlink_*` |
| flock and fcntl locks are the kernel's own | `test_locks` |
| fallocate, reflink, O_TMPFILE: EOPNOTSUPP (posix_fallocate writes); ioctl: ENOTTY | `test_without_handler_*` |
| SEEK_HOLE sees one extent; copy_file_range becomes READ and WRITE | same |
| fifos and sockets work by MKNOD alone; device nodes need the mount option `dev` to be opened | `test_nodes_*` |
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.probe import Call, Probe, attempt, eventually, libc

RENAMES = {"NOREPLACE": 1, "EXCHANGE": 2, "WHITEOUT": 4}


def swap(probe: Probe, path: Path, data: str) -> None:
    """Another inode under the same name, behind the kernel's back."""
    probe.do("unmake", name=path.name)
    probe.make(data, name=path.name)


def test_invalidate_entry_shows_the_new_inode(probe: Probe) -> None:
    path = probe.make("old")
    assert path.read_text() == "old"
    swap(probe, path, "new text")
    assert path.read_text() == "old"
    assert probe.do("invalidate_entry", name=path.name, deleted=0) == 0
    assert path.read_text() == "new text"


def test_invalidate_entry_of_a_missing_name_shows_the_new_file(probe: Probe) -> None:
    path = probe.root / probe.fresh()
    assert not path.exists()
    probe.make(name=path.name)
    assert not path.exists()
    assert probe.do("invalidate_entry", name=path.name, deleted=0) == 0
    assert path.exists()


def test_invalidate_what_the_kernel_does_not_know_is_enoent(probe: Probe) -> None:
    assert probe.do("invalidate_entry", name=probe.fresh(), deleted=0) == 2
    assert probe.do("invalidate_inode", inode=99_999, attr_only=False) == 2


def test_invalidate_entry_of_an_open_file_leaves_the_handle_working(probe: Probe) -> None:
    path = probe.make("text")
    with path.open() as file:
        inode = os.fstat(file.fileno()).st_ino
        assert probe.do("invalidate_entry", name=path.name, deleted=inode) == 0
        assert file.read() == "text"


WAITING: dict[str, Callable[[Path], Any]] = {
    "lookup": lambda root: attempt((root / "missing").stat),
    "readdir": os.listdir,
    "create": lambda root: (root / "new").touch(),
    "unlink": lambda root: (root / "victim").unlink(),
}


@pytest.mark.parametrize("op", WAITING)
def test_invalidate_entry_waits_for_a_handler_of_its_folder(mount: Callable[..., Probe], op: str) -> None:
    probe = mount()
    for name in ("victim", "cached"):
        os.stat(probe.make(name=name))
    probe.rule(op, gate="folder")
    waiting = Call(lambda: WAITING[op](probe.root))
    probe.wait_for(op)
    notified = probe.do_meanwhile("invalidate_entry", name="cached", deleted=0)
    eventually(lambda: probe.blocked_in("invalidate"))
    probe.release("folder")
    assert notified.result() == 0
    waiting.result()


def test_invalidate_inode_shows_new_pages_and_attributes(probe: Probe) -> None:
    path = probe.make("old")
    inode = os.stat(path).st_ino
    assert path.read_text() == "old"
    probe.change(path, data="new")
    assert path.read_text() == "old"
    assert probe.do("invalidate_inode", inode=inode, attr_only=False) == 0
    assert path.read_text() == "new"


def test_invalidate_inode_waits_for_a_read_of_its_pages_but_not_for_attributes(probe: Probe) -> None:
    path = probe.make("text")
    inode = os.stat(path).st_ino
    probe.rule("read", path.name, gate="pages")
    reading = Call(path.read_text)
    probe.wait_for("read", path.name)
    pages = probe.do_meanwhile("invalidate_inode", inode=inode, attr_only=False)
    eventually(lambda: probe.blocked_in("invalidate"))
    assert probe.do("invalidate_inode", inode=inode, attr_only=True) == 0
    probe.release("pages")
    assert (pages.result(), reading.result()) == (0, "text")


def test_listing_fills_the_cache(mount: Callable[..., Probe]) -> None:
    probe = mount()
    paths = [probe.make("x" * size, name=f"f{size}") for size in range(3)]
    os.listdir(probe.root)
    probe.forget_log()
    assert [path.stat().st_size for path in paths] == [0, 1, 2]
    assert not probe.requests("lookup", "getattr")


def test_listing_corrects_negative_entries_and_attributes(mount: Callable[..., Probe]) -> None:
    probe = mount()
    path = probe.make("text")
    assert (path.stat().st_size, (probe.root / "later").exists()) == (4, False)
    probe.change(path, data="longer text")
    probe.make(name="later")
    assert sorted(os.listdir(probe.root)) == sorted([path.name, "later"])
    assert (path.stat().st_size, (probe.root / "later").exists()) == (11, True)


def renameat2(old: Path, new: Path, flags: int) -> int:
    return int(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) and ctypes.get_errno())


@pytest.mark.parametrize("name", RENAMES)
def test_rename_flags_reach_the_handler(probe: Probe, name: str) -> None:
    old, new = probe.make(), probe.make() if name == "EXCHANGE" else probe.root / probe.fresh()
    assert renameat2(old, new, RENAMES[name]) == 0
    assert probe.one("rename")["flags"] == RENAMES[name]


def test_rename_noreplace_of_a_known_target_is_refused_by_the_kernel(probe: Probe) -> None:
    assert renameat2(probe.make(), probe.make(), RENAMES["NOREPLACE"]) == 17
    assert not probe.requests("rename")


def test_forget_balances_every_count(mount: Callable[..., Probe]) -> None:
    probe = mount()
    root = probe.root
    for name in "abc":
        probe.make(name=name)
    for _ in range(2):
        os.listdir(root)
    (root / "made").touch()
    (root / "folder").mkdir()
    (root / "link").symlink_to("a")
    (root / "hard").hardlink_to(root / "a")
    (root / "b").rename(root / "moved")
    os.mkfifo(root / "fifo")
    (root / "c").unlink()
    assert not (root / "missing").exists()
    # made, folder, link, fifo; b: two listings; a: two and the hard link; c is gone and forgotten
    eventually(lambda: sorted(probe.do("lookups").values()) == [1, 1, 1, 1, 2, 3])
    Path("/proc/sys/vm/drop_caches").write_text("2")
    eventually(lambda: not probe.do("lookups"))


def test_unlink_while_open_is_plain_and_the_handle_goes_on(probe: Probe) -> None:
    path = probe.make("text")
    fd = os.open(path, os.O_RDWR)
    probe.forget_log()
    path.unlink()
    os.write(fd, b"TEXT")
    assert (os.fstat(fd).st_nlink, os.pread(fd, 9, 0)) == (0, b"TEXT")
    os.fchmod(fd, 0o600)
    os.ftruncate(fd, 1)
    os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY))
    os.close(fd)
    probe.wait_for("release", path.name, 2)
    seen = set(probe.ops(path.name))
    assert {"unlink", "write", "getattr", "setattr", "open", "flush", "release"} <= seen
    assert not {"rename", "lookup"} & set(probe.ops())


def test_locks_are_kept_by_the_kernel(probe: Probe) -> None:
    path = probe.make()
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    fcntl.flock(first, fcntl.LOCK_EX)
    assert attempt(lambda: fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)) == "EAGAIN"
    fcntl.flock(first, fcntl.LOCK_UN)
    fcntl.lockf(first, fcntl.LOCK_EX)
    script = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    other = subprocess.run([sys.executable, "-c", script, path], check=False, capture_output=True, text=True)
    assert "BlockingIOError" in other.stderr
    os.close(first)
    os.close(second)


@pytest.fixture
def pair(probe: Probe) -> Any:
    """Descriptors of a file of 10,000 bytes and of an empty one."""
    fds = [os.open(probe.make(data), os.O_RDWR) for data in ("x" * 10_000, "")]
    probe.forget_log()
    yield fds
    for fd in fds:
        os.close(fd)


def test_without_handler_fallocate_is_refused_and_emulated(probe: Probe, pair: list[int]) -> None:
    assert libc.fallocate(pair[0], 0, ctypes.c_long(0), ctypes.c_long(20_000)) == -1
    assert ctypes.get_errno() == 95
    os.posix_fallocate(pair[0], 0, 20_000)
    assert os.fstat(pair[0]).st_size == 20_000
    assert "write" in probe.ops()


def test_without_handler_seek_sees_one_extent(pair: list[int]) -> None:
    assert (os.lseek(pair[0], 5, os.SEEK_DATA), os.lseek(pair[0], 5, os.SEEK_HOLE)) == (5, 10_000)


def test_without_handler_copy_file_range_reads_and_writes(probe: Probe, pair: list[int]) -> None:
    assert os.copy_file_range(pair[0], pair[1], 5_000, 0, 0) == 5_000
    assert {"read", "write"} <= set(probe.ops())


def test_without_handler_ioctl_reflink_and_tmpfile_are_refused(probe: Probe, pair: list[int]) -> None:
    ficlone, get_flags = 0x40049409, 0x80086601
    assert attempt(lambda: fcntl.ioctl(pair[1], ficlone, pair[0])) == "ENOTSUP"
    assert attempt(lambda: fcntl.ioctl(pair[0], get_flags, bytes(8))) == "ENOTTY"
    assert attempt(lambda: os.open(probe.root, os.O_TMPFILE | os.O_RDWR)) == "ENOTSUP"


def test_nodes_fifo_and_socket_work_by_mknod_alone(probe: Probe) -> None:
    fifo = probe.root / probe.fresh()
    os.mkfifo(fifo)
    reading = Call(fifo.read_text)
    fifo.write_text("text")
    assert reading.result() == "text"
    with chdir(probe.root), socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        name = probe.fresh()
        server.bind(name)
        server.listen()
        client.connect(name)
    assert [stat.S_IFMT(r["mode"]) for r in probe.requests("mknod")] == [stat.S_IFIFO, stat.S_IFSOCK]
    assert not probe.requests("open", "create", "read", "write")


@pytest.mark.parametrize(("options", "outcome"), [([], "EACCES"), (["dev"], 1)])
def test_nodes_of_devices_need_the_option_dev(mount: Callable[..., Probe], options: list[str], outcome: object) -> None:
    path = mount(options=options).root / "null"
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert attempt(lambda: path.write_bytes(b"x")) == outcome
