"""What reaches a writer, and when: errors, FLUSH, RELEASE, dirty mappings.

| fact | test |
|---|---|
| an errno raised in write, fsync or flush reaches write(2), fsync(2), close(2) as it is | `test_errno_*` |
| an errno of 1000 and more, or below 0, becomes ERANGE at write | `test_errno_out_of_range` |
| an error at write is not told again by fsync or close | `test_error_at_write_is_told_once` |
| ENOSYS in flush means "never again" for the whole connection | `test_enosys_ends_flush` |
| every close of a descriptor sends FLUSH, read-only ones too; RELEASE comes once, after the last | `test_flush_*` |
| a shell's `> f` sends a FLUSH before the write | `test_redirection` |
| truncate(2) sends no OPEN, FLUSH or RELEASE | `test_truncate_sends_one_setattr` |
| close(2) waits for FLUSH, not for RELEASE | `test_close_*`, `test_kill_*` |
| SIGKILL ends nobody whose request a handler has (OPEN, WRITE, FLUSH ...), but a cached read | `test_kill_*` |
| dirty mapped pages are written before any FLUSH, and at munmap (after close too), before RELEASE | `test_mapping_*` |
| an error at such a WRITE is EIO at close, that FLUSH is never sent; fsync tells it as it is | `test_mapping_error` |
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.kernel.probe import Probe, attempt, eventually, in_shell, libc

TOLD_AS_THEY_ARE = ["EFBIG", "EDQUOT", "ENOSPC", "EIO", "EINVAL", "EACCES", "EPERM", "ESTALE", "ETIMEDOUT", "EILSEQ"]
PROT_READ_WRITE, MAP_SHARED, SIZE = 3, 1, 8192


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", TOLD_AS_THEY_ARE)
def test_errno_at_write_fsync_and_close(probe: Probe, name: str) -> None:
    path = probe.make()
    for op in ("write", "fsync", "flush"):
        probe.rule(op, path.name, errno=getattr(errno, name))
    fd = os.open(path, os.O_WRONLY)
    assert [attempt(lambda: os.write(fd, b"x")), attempt(lambda: os.fsync(fd)), attempt(lambda: os.close(fd))] == [
        name
    ] * 3


@pytest.mark.parametrize("number", [-5, 1000])
def test_errno_out_of_range(probe: Probe, number: int) -> None:
    path = probe.make()
    probe.rule("write", path.name, errno=number)
    with opened(path) as fd:
        assert attempt(lambda: os.write(fd, b"x")) == "ERANGE"


def test_error_at_write_is_told_once(probe: Probe) -> None:
    path = probe.make()
    probe.rule("write", path.name, errno=errno.EFBIG)
    with opened(path) as fd:
        assert attempt(lambda: os.write(fd, b"x")) == "EFBIG"
        os.fsync(fd)


def test_enosys_ends_flush(mount: Callable[..., Probe]) -> None:
    probe = mount()
    path = probe.make()
    probe.rule("flush", path.name, errno=errno.ENOSYS)
    for _ in range(2):
        os.close(os.open(path, os.O_WRONLY))
    assert len(probe.requests("flush")) == 1


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_flush_comes_with_every_close_and_release_once(probe: Probe, flags: int) -> None:
    path = probe.make()
    first = os.open(path, flags)
    for fd in (os.dup(first), os.dup(first), first):
        assert "release" not in probe.ops(path.name)
        os.close(fd)
    probe.wait_for("release", path.name)
    assert probe.ops(path.name) == ["lookup", "open", "flush", "flush", "flush", "release"]


def test_flush_comes_when_a_child_that_shares_the_descriptor_ends(probe: Probe) -> None:
    path = probe.make()
    with opened(path) as fd:
        subprocess.run(["/bin/true"], pass_fds=[fd], check=True)
        assert probe.ops(path.name) == ["lookup", "open", "flush"]


def test_flush_tells_the_handle_only(probe: Probe) -> None:
    path = probe.make()
    with opened(path), opened(path):
        pass
    flushes, opens = probe.requests("flush", name=path.name), probe.requests("open", name=path.name)
    assert len(opens) == 2
    assert len({request["fh"] for request in flushes}) == 2
    assert set(flushes[0]) == {"op", "name", "fh"}


def test_redirection_of_a_shell_flushes_before_it_writes(probe: Probe) -> None:
    name = probe.fresh()
    in_shell(f"echo text > {probe.root}/{name}")
    probe.wait_for("release", name)
    assert probe.ops(name) == ["lookup", "create", "flush", "write", "flush", "release"]


def test_truncate_sends_one_setattr(probe: Probe) -> None:
    path = probe.make("text")
    os.truncate(path, 2)
    assert probe.ops(path.name) == ["lookup", "setattr"]


UNKILLABLE = {
    "flush": "exec 3>> {}; exec 3>&-",
    "open": "exec cat {}",
    "write": "echo text >> {}",
    "fsync": "exec sync {}",
    "setattr": "exec chmod 600 {}",
}


@pytest.mark.parametrize("op", UNKILLABLE)
def test_kill_does_not_end_a_process_that_waits_in(probe: Probe, op: str) -> None:
    path = probe.make()
    probe.rule(op, path.name, times=9, gate=f"unkillable-{op}")
    child = subprocess.Popen(["/bin/sh", "-c", f"{UNKILLABLE[op].format(path)}"])
    probe.wait_for(op, path.name)
    child.send_signal(signal.SIGKILL)
    eventually(lambda: process_state(child.pid) == "D")
    os.stat(probe.make())  # kernel and probe were at work since
    assert (child.poll(), process_state(child.pid)) == (None, "D")
    probe.release(f"unkillable-{op}")
    assert child.wait() == -signal.SIGKILL


def test_kill_ends_a_process_that_waits_in_a_cached_read(probe: Probe) -> None:
    path = probe.make("text")
    probe.rule("read", path.name, times=9, gate="killable")
    child = subprocess.Popen(["/bin/cat", str(path)], stdout=subprocess.DEVNULL)
    probe.wait_for("read", path.name)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    probe.release("killable")


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_close_does_not_wait_for_release(probe: Probe) -> None:
    path = probe.make()
    probe.rule("release", path.name, gate="late")
    os.close(os.open(path, os.O_WRONLY))
    probe.wait_for("release", path.name)
    probe.release("late")


@contextmanager
def mapped(path: Path) -> Iterator[tuple[int, int]]:
    """A shared mapping and the descriptor it came from; mmap.mmap would keep a descriptor of its own."""
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    fd = os.open(path, os.O_RDWR)
    address = libc.mmap(None, ctypes.c_size_t(SIZE), PROT_READ_WRITE, MAP_SHARED, fd, ctypes.c_long(0))
    try:
        yield fd, address
    finally:
        libc.munmap(address, SIZE)


def store(address: int, text: bytes) -> None:
    ctypes.memmove(address, text, len(text))


def test_mapping_dirty_at_close_is_written_before_its_flush(probe: Probe) -> None:
    path = probe.make("x" * SIZE)
    with mapped(path) as (fd, address):
        store(address, b"mapped")
        os.close(fd)
        assert probe.ops(path.name) == ["lookup", "open", "read", "write", "flush"]


def test_mapping_dirty_after_close_is_written_at_munmap_without_flush(probe: Probe) -> None:
    path = probe.make("x" * SIZE)
    with mapped(path) as (fd, address):
        os.close(fd)
        store(address, b"mapped")
        assert probe.ops(path.name)[1:] == ["open", "flush", "read"]
    probe.wait_for("release", path.name)
    assert probe.ops(path.name)[1:] == ["open", "flush", "read", "write", "release"]
    assert probe.do("data", name=path.name).startswith("mapped")


def test_mapping_is_seen_by_a_reader_and_written_by_the_close_of_another_descriptor(probe: Probe) -> None:
    path = probe.make("x" * SIZE)
    with mapped(path) as (fd, address):
        os.close(fd)
        store(address, b"mapped")
        assert path.read_bytes()[:6] == b"mapped"
        assert "write" in probe.ops(path.name)


def test_mapping_error_is_eio_at_close_without_a_flush_but_as_it_is_at_fsync(probe: Probe) -> None:
    outcomes = []
    for name in ("closed", "synced"):
        path = probe.make("x" * SIZE, name=name)
        probe.rule("write", name, times=9, errno=errno.EFBIG)
        with mapped(path) as (fd, address):
            store(address, b"mapped")
            outcomes.append(attempt(partial(os.close if name == "closed" else os.fsync, fd)))
            if name == "synced":
                os.close(fd)
    assert outcomes == ["EIO", "EFBIG"]
    assert "flush" not in probe.ops("closed")
