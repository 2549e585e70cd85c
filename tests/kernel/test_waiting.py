"""Who is held up while a handler waits, and what an exception in a handler does.

| fact | test |
|---|---|
| 12 cached reads that wait (`max_background`) hold up every other of more than a page | `test_background_*` |
| ... and O_DIRECT reads; not: a file of one page, direct_io, stat, write, close | same |
| 128 in `max_background`, `congestion_threshold` of `/sys/fs/fuse/connections/MINOR`: nothing | same |
| `MINOR` is the minor number of the mount's st_dev | same |
| lookup, readdir, create, unlink that wait hold up all of these in the folder | `test_directory_*` |
| ... but not what is cached there | same |
| a getattr or setattr that waits holds up no folder | same |
| FLUSH, OPEN, RELEASE that wait hold up nobody; WRITE, FSYNC, SETATTR all that changes the file | `test_file_*` |
| then `rm` of that file waits holding the folder's lock, so `ls` of it waits too | `test_a_waiting_fsync_*` |
| an exception that is not FUSEError ends `pyfuse3.main()`, its request is never answered | `test_exception_*` |
| mapped to an errno by a wrapper, it harms only its request | same |
| an errno of 512..999 is refused by the kernel: the request is never answered | `test_errno_512_*` |
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.probe import Call, Probe, attempt, eventually

BIG = "x" * (1 << 18)
SLOW = 14


def slow_readers(probe: Probe) -> list[Call]:
    paths = [probe.make(BIG) for _ in range(SLOW)]
    for path in paths:
        probe.rule("read", path.name, times=99, gate="slow")
    return [Call(path.read_bytes) for path in paths]


def direct_read(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        return os.readv(fd, [mmap.mmap(-1, 4096)])
    finally:
        os.close(fd)


def test_background_limit_of_12_holds_up_other_reads(mount: Callable[..., Probe]) -> None:
    probe = mount()
    assert (probe.setting("max_background"), probe.setting("congestion_threshold")) == (12, 9)
    slow = slow_readers(probe)
    eventually(lambda: probe.setting("waiting") >= SLOW)
    fast, small, direct = probe.make(BIG), probe.make("small"), probe.make("direct")
    held = [Call(fast.read_bytes), Call(lambda: direct_read(direct))]
    probe.wait_for("open", direct.name)
    probe.wait_for("open", fast.name)
    eventually(lambda: probe.setting("waiting") >= SLOW + 2)
    assert small.read_bytes() == b"small"  # asked later, answered: theirs never left the kernel
    (probe.root / "written").write_bytes(b"more")
    assert not probe.requests("read", name=fast.name) + probe.requests("read", name=direct.name)
    assert len(probe.requests("read")) == 12 + 1
    probe.release("slow")
    assert [len(call.result()) for call in slow] == [len(BIG)] * SLOW
    assert len(held[0].result()) == len(BIG)
    assert held[1].result() == len("direct")


def test_background_limit_of_128_holds_up_nothing(mount: Callable[..., Probe]) -> None:
    probe = mount()
    for name in ("max_background", "congestion_threshold"):
        (probe.connection / name).write_text("128")
    slow = slow_readers(probe)
    for call in (probe.make(BIG).read_bytes, probe.make("small").read_bytes):
        assert call()
    assert direct_read(probe.make("direct")) == len("direct")
    probe.release("slow")
    assert [len(call.result()) for call in slow] == [len(BIG)] * SLOW


def test_background_limit_does_not_bind_direct_io(mount: Callable[..., Probe]) -> None:
    probe = mount(direct_io=True)
    slow = slow_readers(probe)
    assert len(probe.make(BIG).read_bytes()) == len(BIG)
    probe.release("slow")
    assert [len(call.result()) for call in slow] == [len(BIG)] * SLOW


DIRECTORY_CALLS: dict[str, Callable[[Path], Any]] = {
    "lookup": lambda root: attempt((root / "missing").stat),
    "readdir": os.listdir,
    "create": lambda root: (root / "new").touch(),
    "unlink": lambda root: (root / "victim").unlink(),
    "getattr": lambda root: os.stat(root / "stale"),
    "setattr": lambda root: os.chmod(root / "stale", 0o600),
}
OTHERS: dict[str, Callable[[Path], Any]] = {
    "lookup": lambda root: attempt((root / "other").stat),
    "readdir": os.listdir,
    "create": lambda root: (root / "another").touch(),
    "unlink": lambda root: (root / "cached").unlink(),
}


@pytest.mark.parametrize("op", DIRECTORY_CALLS)
def test_directory_handler_that_waits(mount: Callable[..., Probe], op: str) -> None:
    probe = mount()
    for name in ("victim", "stale", "cached"):
        os.stat(probe.make(name=name))
    os.stat(probe.make(name="folder", mode=0o40755))
    inode = os.stat(probe.root / "stale").st_ino
    probe.do("invalidate_inode", inode=inode, attr_only=True)
    probe.rule(op, {"getattr": "stale", "setattr": "stale", "readdir": ""}.get(op), gate="folder")
    waiting = Call(lambda: DIRECTORY_CALLS[op](probe.root))
    probe.wait_for(op)
    os.stat(probe.root / "cached")
    (probe.root / "cached").read_bytes()
    (probe.root / "folder" / "deeper").mkdir()
    others = [Call(partial(call, probe.root)) for call in OTHERS.values()]
    for other in others:
        if op in {"getattr", "setattr"}:
            other.result()
        else:
            other.assert_held_up()
    probe.release("folder")
    for call in [waiting, *others]:
        call.result()


class Opened:
    """One file with three descriptors of two handles."""

    def __init__(self, probe: Probe) -> None:
        self.path = probe.make("x" * 5000)
        self.fd, self.second = os.open(self.path, os.O_RDWR), os.open(self.path, os.O_RDWR)
        self.extra = os.dup(self.fd)

    def close_first(self) -> None:
        os.close(self.extra)
        os.close(self.fd)

    def close(self) -> None:
        for fd in (self.fd, self.second, self.extra):
            attempt(partial(os.close, fd))


WAITING: dict[str, Callable[[Opened], Any]] = {
    "flush": lambda f: os.close(f.extra),
    "release": lambda f: f.close_first(),
    "open": lambda f: os.close(os.open(f.path, os.O_WRONLY | os.O_TRUNC)),
    "fsync": lambda f: os.fsync(f.fd),
    "write": lambda f: os.write(f.fd, b"w"),
    "setattr": lambda f: os.chmod(f.path, 0o640),
    "read": lambda f: os.pread(f.fd, 10, 0),
}
TOUCHING: dict[str, Callable[[Opened], Any]] = {
    "stat": lambda f: os.stat(f.path),
    "open": lambda f: os.close(os.open(f.path, os.O_RDONLY)),
    "read": lambda f: os.pread(f.second, 10, 0),
    "close": lambda f: os.close(os.dup(f.second)),
    "write": lambda f: os.write(f.second, b"t"),
    "ftruncate": lambda f: os.ftruncate(f.second, 9),
    "fsync": lambda f: os.fsync(f.second),
    "chmod": lambda f: os.chmod(f.path, 0o600),
}
CHANGES = {"write", "ftruncate", "fsync", "chmod"}
HELD_UP: dict[str, set[str]] = {
    "flush": set(),
    "release": set(),
    "open": set(),
    "fsync": CHANGES,
    "write": CHANGES | {"read"},
    "setattr": CHANGES,
    "read": {"read", "write", "ftruncate"},
}


@pytest.mark.parametrize("op", WAITING)
def test_file_handler_that_waits(probe: Probe, op: str) -> None:
    file = Opened(probe)
    seen = len(probe.requests(op, name=file.path.name))
    probe.rule(op, file.path.name, gate=f"file-{op}")
    waiting = Call(lambda: WAITING[op](file))
    probe.wait_for(op, file.path.name, seen + 1)
    for name in TOUCHING.keys() - HELD_UP[op]:
        TOUCHING[name](file)
    held = [Call(partial(TOUCHING[name], file)) for name in HELD_UP[op]]
    for call in held:
        call.assert_held_up()
    probe.release(f"file-{op}")
    for call in [waiting, *held]:
        call.result()
    file.close()


def test_a_waiting_fsync_holds_up_rm_and_that_one_the_folder(mount: Callable[..., Probe]) -> None:
    probe = mount()
    path = probe.make("text")
    fd = os.open(path, os.O_RDWR)
    probe.rule("fsync", path.name, gate="sync")
    syncing = Call(lambda: os.fsync(fd))
    probe.wait_for("fsync")
    calls = [Call(path.unlink)]
    calls[0].assert_held_up()
    calls.append(Call(lambda: os.listdir(probe.root)))
    calls[1].assert_held_up()
    probe.release("sync")
    assert [call.result() for call in [syncing, *calls]] == [None, None, []]
    os.close(fd)


def test_exception_in_a_handler_ends_plain_pyfuse3(mount: Callable[..., Probe]) -> None:
    probe = mount(guarded=False)
    path = probe.make()
    probe.rule("open", path.name, exception="broken handler")
    opening = Call(lambda: os.open(path, os.O_RDONLY))
    assert probe.process.wait() == 1
    assert opening.result() == "ECONNABORTED"  # by the end of the process, not by an answer
    assert attempt((probe.root / "anything").stat) == "ENOTCONN"


def test_exception_mapped_by_a_wrapper_harms_only_its_request(probe: Probe) -> None:
    path = probe.make("text")
    probe.rule("open", path.name, exception="broken handler")
    assert attempt(path.read_bytes) == "EIO"
    assert path.read_bytes() == b"text"


def test_errno_512_is_never_answered(mount: Callable[..., Probe]) -> None:
    probe = mount()
    path = probe.make()
    probe.rule("open", path.name, errno=512)
    opening = Call(lambda: os.open(path, os.O_RDONLY))
    probe.wait_for("open", path.name)
    os.listdir(probe.root)  # later requests are answered
    eventually(lambda: probe.setting("waiting") == 1)
    probe.abort()
    assert opening.result() == "ECONNABORTED"
