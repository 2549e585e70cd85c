"""What readers get: sizes of requests, short and wrong answers, errors, the page cache.

| fact | test |
|---|---|
| a cached READ is at most the readahead, 128 KiB; sysfs raises that, up to 1 MiB a request | `test_size_of_read_*` |
| READ of O_DIRECT and direct_io, and WRITE, are at most 1 MiB; a READ need not be aligned | `test_size_of_*` |
| `max_read` as a mount option ends the process: pyfuse3 cannot tell it to libfuse | `test_max_read_*` |
| a short READ below EOF cuts the file for that reader | `test_short_*` |
| ... is zeros that stay in the cache if attributes changed meanwhile, and in a mapping always | same |
| a file longer than listed is cut there, one listed as 0 bytes is never read | `test_longer_*` |
| direct_io reads short, longer and shorter files right; a shared mapping of it is ENODEV | `test_direct_io_*` |
| errno of READ is told as it is; a cached READ is tried again first; a mapping gets SIGBUS | `test_error_*` |
| ESTALE from OPEN makes the kernel look up again, once: a new inode is opened; GETATTR the same | `test_stale_*` |
| cached pages stay over reopening (keep_cache) while the size and mtime of answers stay | `test_cache_*` |
| pages that are read during an asynchronous O_DIRECT write stay after it, unless mtime moved | `test_pages_*` |
| after a read the next stat asks GETATTR again (for atime); no SETATTR is ever sent for atime | `test_atime_*` |
"""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.aio import AsyncWriter
from tests.kernel.probe import DEADLINE_S, PROBEFS, Call, Probe, attempt
from tests.posix.support import opened

KIB, MIB = 1 << 10, 1 << 20


def sizes(probe: Probe, op: str, path: Path) -> set[int]:
    return {request["size"] for request in probe.requests(op, name=path.name)}


def read_at_once(path: Path, size: int, flags: int = 0) -> bytes:
    """One read into page-aligned memory."""
    memory = mmap.mmap(-1, size)
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        return memory[: os.readv(fd, [memory])]
    finally:
        os.close(fd)


@pytest.mark.parametrize(("read_ahead_kib", "largest"), [(None, 128 * KIB), (1024, MIB), (4096, MIB)])
def test_size_of_read_is_the_readahead_up_to_one_mib(
    mount: Callable[..., Probe], read_ahead_kib: int | None, largest: int
) -> None:
    probe = mount()
    setting = Path(f"/sys/class/bdi/0:{probe.connection.name}/read_ahead_kb")
    if read_ahead_kib:
        setting.write_text(str(read_ahead_kib))
    else:
        assert setting.read_text() == "128\n"
    path = probe.make("x" * (3 * MIB))
    assert len(path.read_bytes()) == 3 * MIB
    assert max(sizes(probe, "read", path)) == largest


def test_size_of_a_random_read_is_what_was_asked_for(probe: Probe) -> None:
    path = probe.make("x" * MIB)
    with path.open("rb", buffering=0) as file:
        os.pread(file.fileno(), 4 * KIB, 500 * KIB)
    assert sizes(probe, "read", path) == {4 * KIB}


def test_size_of_direct_read_and_of_write_is_one_mib(probe: Probe) -> None:
    path = probe.make("x" * (4 * MIB))
    assert len(read_at_once(path, 4 * MIB, os.O_DIRECT)) == 4 * MIB
    with path.open("wb", buffering=0) as file:
        file.write(b"x" * (4 * MIB))
    assert (sizes(probe, "read", path), sizes(probe, "write", path)) == ({MIB}, {MIB})


def test_size_of_read_with_direct_io_need_not_be_aligned(mount: Callable[..., Probe]) -> None:
    probe = mount(direct_io=True)
    path = probe.make("x" * 1000)
    with path.open("rb", buffering=0) as file:
        os.pread(file.fileno(), 7, 5)
    read = probe.one("read", path.name)
    assert (read["off"], read["size"]) == (5, 7)


def test_max_read_option_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    arguments: list[str | Path] = [
        sys.executable,
        PROBEFS,
        tmp_path / "mnt",
        tmp_path / "control",
        '{"options": ["max_read=65536"]}',
    ]
    ended = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=DEADLINE_S)
    subprocess.run(["fusermount3", "-u", "-z", "-q", tmp_path / "mnt"], check=False)
    assert "requested different maximum read size (0 vs 65536)" in ended.stderr


def test_short_read_cuts_the_file_for_that_reader(probe: Probe) -> None:
    path = probe.make("a" * 10_000)
    probe.rule("read", path.name, short=100)
    assert read_at_once(path, 20_000) == b"a" * 100


def test_short_read_leaves_zeros_when_attributes_changed_meanwhile(probe: Probe) -> None:
    path = probe.make("a" * 10_000)
    probe.rule("read", path.name, short=100, gate="short")
    reading = Call(lambda: read_at_once(path, 20_000))
    probe.wait_for("read", path.name)
    os.chmod(path, 0o600)
    probe.release("short")
    damaged = b"a" * 100 + b"\0" * 9_900
    assert reading.result() == damaged
    assert read_at_once(path, 20_000) == damaged  # and so it stays in the cache


def test_short_read_of_a_mapping_is_zeros(probe: Probe) -> None:
    path = probe.make("a" * 10_000)
    probe.rule("read", path.name, short=100)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ) as mapping:
        assert mapping[:] == b"a" * 100 + b"\0" * 3_996


@pytest.mark.parametrize("listed", [0, 5_000])
def test_longer_file_is_cut_at_the_listed_size(probe: Probe, listed: int) -> None:
    path = probe.make("a" * 10_000, listed_size=listed)
    assert path.read_bytes() == b"a" * listed
    assert bool(probe.requests("read", name=path.name)) == bool(listed)


@pytest.mark.parametrize("listed", [0, 5_000, 20_000])
def test_direct_io_reads_a_file_to_its_true_end(mount: Callable[..., Probe], listed: int) -> None:
    probe = mount(direct_io=True)
    path = probe.make("a" * 10_000, listed_size=listed)
    assert path.read_bytes() == b"a" * 10_000


def test_direct_io_refuses_a_shared_mapping(mount: Callable[..., Probe]) -> None:
    path = mount(direct_io=True).make("text")
    with path.open("r+b") as file:
        assert attempt(lambda: mmap.mmap(file.fileno(), 4, mmap.MAP_SHARED)) == "ENODEV"
        assert mmap.mmap(file.fileno(), 4, mmap.MAP_PRIVATE)[:] == b"text"


@pytest.mark.parametrize("name", ["EIO", "EACCES", "ESTALE", "ENOENT", "ETIMEDOUT"])
def test_error_of_read_is_told_as_it_is_after_a_second_try(probe: Probe, name: str) -> None:
    path = probe.make("text")
    probe.rule("read", path.name, times=2, errno=getattr(errno, name))
    assert attempt(lambda: read_at_once(path, 100)) == name
    assert len(probe.requests("read", name=path.name)) == 2
    assert read_at_once(path, 100) == b"text"


def test_error_of_read_once_is_not_seen(probe: Probe) -> None:
    path = probe.make("text")
    probe.rule("read", path.name, errno=errno.EIO)
    assert read_at_once(path, 100) == b"text"


def test_error_under_a_mapping_is_sigbus(probe: Probe) -> None:
    path = probe.make("text")
    probe.rule("read", path.name, times=9, errno=errno.EACCES)
    script = "import mmap, os, sys; mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 4, prot=mmap.PROT_READ)[0]"
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -7


def test_stale_open_finds_the_new_inode(probe: Probe) -> None:
    path = probe.make("old")
    old = os.stat(path).st_ino
    probe.do("unmake", name=path.name)
    probe.make("new text", name=path.name)
    assert os.stat(path).st_ino == old  # cached
    probe.rule("open", path.name, errno=errno.ESTALE)
    probe.forget_log()
    with path.open() as file:
        assert file.read() == "new text"
        assert os.fstat(file.fileno()).st_ino != old
    assert [op for op in probe.ops() if op in {"open", "lookup"}][:2] == ["open", "lookup"]


def test_stale_twice_is_told(probe: Probe) -> None:
    path = probe.make()
    probe.rule("open", path.name, times=9, errno=errno.ESTALE)
    assert attempt(path.read_bytes) == "ESTALE"
    assert len(probe.requests("open", name=path.name)) == 2


def test_stale_getattr_is_looked_up_again(probe: Probe) -> None:
    path = probe.make("text")
    probe.do("invalidate_inode", inode=os.stat(path).st_ino, attr_only=True)
    probe.rule("getattr", path.name, errno=errno.ESTALE)
    probe.forget_log()
    assert os.stat(path).st_size == 4
    assert probe.ops(path.name) == ["getattr", "lookup"]


@pytest.mark.parametrize(
    ("change", "seen"), [({}, b"old"), ({"times_ns": {"m": 5}}, b"new"), ({"data": "longer"}, b"longer")]
)
def test_cache_is_kept_until_size_or_mtime_changes(
    mount: Callable[..., Probe], change: dict[str, object], seen: bytes
) -> None:
    path = (probe := mount(timeout_s=0)).make("old")
    assert path.read_bytes() == b"old"
    probe.change(path, data="new")
    probe.change(path, **change)
    assert path.read_bytes() == seen


@pytest.mark.parametrize("is_moved", [True, False])
def test_pages_read_during_an_asynchronous_direct_write_go_when_mtime_moved(probe: Probe, is_moved: bool) -> None:
    path = probe.make("o" * 64 * KIB)
    probe.rule("write", path.name, gate=path.name)
    with mmap.mmap(-1, 64 * KIB) as memory, opened(path, os.O_RDWR | os.O_DIRECT) as fd:
        memory[:] = b"n" * 64 * KIB
        with AsyncWriter(memory) as writer:
            writer.begin(fd)
            probe.wait_for("write", path.name)
            assert path.read_bytes() == b"o" * 64 * KIB
            if is_moved:
                probe.change(path, times_ns={"m": 10**18 + 1})
            probe.release(path.name)
            assert writer.end() == 64 * KIB
    assert path.read_bytes() == (b"n" if is_moved else b"o") * 64 * KIB


def test_atime_is_asked_for_and_never_set(probe: Probe) -> None:
    path = probe.make("text")
    os.stat(path)
    os.stat(path)
    assert probe.ops(path.name) == ["lookup"]
    read_at_once(path, 10)
    os.stat(path)
    assert "getattr" in probe.ops(path.name)
    assert "setattr" not in probe.ops(path.name)
