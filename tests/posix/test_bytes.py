"""The bytes of files: reading, writing, holes, sizes, mappings, direct access."""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import subprocess
import sys
import threading

import pytest

from tests.aio import AsyncWriter
from tests.posix.support import CALLER, opened, outcome, read_file, write_file

pytestmark = pytest.mark.usefixtures("place")
NEW = os.O_RDWR | os.O_CREAT
MIB = 1 << 20


def _noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 131_072, 3 * MIB + 1])
def test_what_was_written_is_read(size: int) -> None:
    data = _noise(size)
    write_file("f", data)
    with opened("f", os.O_RDONLY) as fd:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert (
            hashlib.sha256(b"".join(iter(lambda: os.read(fd, 70_001), b""))).digest() == hashlib.sha256(data).digest()
        )
        assert os.fstat(fd).st_blocks * 512 >= size


def test_reading_ends_at_the_end_of_the_file() -> None:
    write_file("f", b"0123456789")
    with opened("f", os.O_RDONLY) as fd:
        assert [os.pread(fd, 5, at) for at in (0, 8, 10, 11, 1 << 40)] == [b"01234", b"89", b"", b"", b""]
        assert os.pread(fd, 0, 0) == b""
        assert outcome(os.pread, fd, 1, -1) == "EINVAL"


def test_seeking() -> None:
    write_file("f", b"0123456789")
    with opened("f", os.O_RDWR) as fd:
        assert (os.lseek(fd, -3, os.SEEK_END), os.read(fd, 9), os.lseek(fd, 0, os.SEEK_CUR)) == (7, b"789", 10)
        assert os.lseek(fd, 1000, os.SEEK_SET) == 1000
        assert (os.read(fd, 1), os.fstat(fd).st_size) == (b"", 10)
        assert outcome(os.lseek, fd, -1, os.SEEK_SET) == "EINVAL"
        assert (os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 0, os.SEEK_HOLE)) == (0, 10)
        assert outcome(os.lseek, fd, 10, os.SEEK_DATA) == "ENXIO"


def test_descriptors_do_what_they_were_opened_for() -> None:
    write_file("f")
    with opened("f", os.O_RDONLY) as reader, opened("f", os.O_WRONLY) as writer:
        told = [
            outcome(os.write, reader, b"x"),
            outcome(os.read, writer, 1),
            outcome(os.ftruncate, reader, 0),
        ]
    assert told == ["EBADF", "EBADF", "EINVAL"]
    assert read_file("f") == b"content"


def test_a_hole_is_zeros() -> None:
    with opened("f", NEW) as fd:
        os.pwrite(fd, b"end", 5 * MIB)
        os.pwrite(fd, b"middle", 2 * MIB + 17)
        assert os.pread(fd, 100, 0) == bytes(100)

    content = read_file("f")
    wanted = bytearray(5 * MIB + 3)
    wanted[2 * MIB + 17 : 2 * MIB + 23] = b"middle"
    wanted[-3:] = b"end"
    assert content == wanted


def test_vectors() -> None:
    with opened("f", NEW) as fd:
        assert os.pwritev(fd, [b"one", b"", b"three"], 2) == 8
        buffers = [bytearray(4), bytearray(9)]
        assert os.preadv(fd, buffers, 1) == 9
    assert bytes(buffers[0] + buffers[1][:5]) == b"\0onethree"


# -- size


@pytest.mark.parametrize("way", ["truncate", "ftruncate"])
@pytest.mark.parametrize("size", [0, 1, 4096, 70_000, 100_000, 300_001])
def test_cutting_and_extending(size: int, way: str) -> None:
    data = _noise(100_000)
    write_file("f", data)
    if way == "truncate":
        os.truncate("f", size)
    else:
        with opened("f", os.O_WRONLY) as fd:
            os.ftruncate(fd, size)

    assert (os.stat("f").st_size, read_file("f")) == (size, data[:size] + bytes(max(0, size - 100_000)))


def test_what_was_cut_off_does_not_come_back() -> None:
    write_file("f", b"x" * 10_000)
    with opened("f", os.O_RDWR) as fd:
        os.ftruncate(fd, 5_000)
        os.ftruncate(fd, 10_000)
        assert os.pread(fd, 10_000, 0) == b"x" * 5_000 + bytes(5_000)
    os.truncate("f", 2)
    os.truncate("f", 4)
    assert read_file("f") == b"xx\0\0"


def test_what_cannot_be_cut() -> None:
    os.mkdir("d")
    os.mkfifo("fifo")
    write_file("f", mode=0o444)
    assert [outcome(os.truncate, p, 0) for p in ("d", "fifo")] == ["EISDIR", "EINVAL"]
    assert outcome(os.truncate, "f", -1) == "EINVAL"
    with CALLER:
        assert outcome(os.truncate, "f", 0) == "EACCES"


def test_a_descriptor_sees_the_cut_of_another() -> None:
    write_file("f", b"0123456789")
    with opened("f", os.O_RDONLY) as reader, opened("f", os.O_RDWR) as writer:
        assert os.read(reader, 4) == b"0123"
        os.ftruncate(writer, 6)
        assert os.read(reader, 99) == b"45"
        os.pwrite(writer, b"ABC", 6)
        assert os.read(reader, 99) == b"ABC"


def test_allocation_extends() -> None:
    write_file("f", b"abc")
    with opened("f", os.O_RDWR) as fd:
        os.posix_fallocate(fd, 0, 100_000)
        assert (os.fstat(fd).st_size, os.pread(fd, 5, 0), os.pread(fd, 9, 99_998)) == (100_000, b"abc\0\0", b"\0\0")


def test_the_processes_own_limit_counts() -> None:
    script = "import os; os.write(os.open('f', os.O_CREAT | os.O_WRONLY), b'x' * 9000)"
    subprocess.run(["prlimit", "--fsize=5000", sys.executable, "-S", "-c", script], check=True)
    assert os.stat("f").st_size == 5000


# -- appending


def test_every_append_goes_to_the_end() -> None:
    with opened("f", NEW | os.O_APPEND) as one, opened("f", os.O_RDWR | os.O_APPEND) as other:
        for number in range(20):
            os.write((one, other)[number % 2], b"%02d " % number)
        os.lseek(one, 0, os.SEEK_SET)
        os.write(one, b"end")
        # Linux appends whatever the offset says (pwrite(2), BUGS).
        os.pwrite(other, b"!", 0)
    assert read_file("f") == b"".join(b"%02d " % n for n in range(20)) + b"end!"


def test_appends_of_several_processes_are_whole() -> None:
    script = "import os, sys\nfd = os.open('log', os.O_WRONLY | os.O_APPEND | os.O_CREAT)\nfor n in range(200): os.write(fd, f'{sys.argv[1]}:{n:03}\\n'.encode())"
    children = [subprocess.Popen([sys.executable, "-S", "-c", script, who]) for who in "abc"]
    assert [child.wait() for child in children] == [0, 0, 0]

    lines = read_file("log").decode().split()
    assert sorted(lines) == sorted(f"{who}:{n:03}" for who in "abc" for n in range(200))
    for who in "abc":
        own = [line for line in lines if line.startswith(who)]
        assert own == sorted(own)


def test_threads_write_their_own_parts() -> None:
    parts = [_noise(50_000, seed) for seed in range(4)]

    def work(fd: int, number: int) -> None:
        for at in range(0, 50_000, 1000):
            os.pwrite(fd, parts[number][at : at + 1000], number * 50_000 + at)

    with opened("f", NEW) as fd:
        threads = [threading.Thread(target=work, args=(fd, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert read_file("f") == b"".join(parts)


# -- mappings


def test_a_shared_mapping_is_the_file() -> None:
    write_file("f", bytes(10_000))
    with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, 0) as mapping:
        mapping[5:9] = b"here"
        assert os.pread(fd, 4, 5) == b"here"
        os.pwrite(fd, b"there", 9000)
        assert mapping[9000:9005] == b"there"
        mapping.flush()
    assert read_file("f")[5:9] == b"here"


def test_a_shared_mapping_written_after_close_is_kept() -> None:
    write_file("f", bytes(5000))
    fd = os.open("f", os.O_RDWR)
    mapping = mmap.mmap(fd, 0)
    os.close(fd)
    mapping[4990:] = b"after that"
    mapping.close()
    assert read_file("f")[4990:] == b"after that"


def test_a_private_mapping_is_ones_own() -> None:
    write_file("f", b"original" * 1000)
    with (
        opened("f", os.O_RDONLY) as fd,
        mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapping,
    ):
        mapping[:3] = b"own"
        assert mapping[:8] == b"ownginal"
    assert read_file("f") == b"original" * 1000


def test_the_rest_of_a_mapped_page_is_zeros_and_not_written() -> None:
    write_file("f", b"abc")
    with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, 3) as mapping:
        assert mapping[:] == b"abc"
    script = (
        "import mmap, os; fd = os.open('f', os.O_RDWR); os.ftruncate(fd, 4096); m = mmap.mmap(fd, 4096); "
        "os.ftruncate(fd, 3); m[100:104] = b'past'; m.flush(); m.close()"
    )
    subprocess.run([sys.executable, "-S", "-c", script], check=True)
    assert read_file("f") == b"abc"


def test_a_mapping_past_the_end_is_a_bus_error() -> None:
    write_file("f", bytes(3 * mmap.PAGESIZE))
    script = (
        "import mmap, os; fd = os.open('f', os.O_RDWR); m = mmap.mmap(fd, 0); os.ftruncate(fd, 5); m[2 * mmap.PAGESIZE]"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], check=False)
    assert done.returncode == -7  # SIGBUS


def test_mappings_need_the_right_descriptor() -> None:
    write_file("f")
    with opened("f", os.O_RDONLY) as reader, opened("f", os.O_WRONLY) as writer:
        assert outcome(lambda: mmap.mmap(reader, 0, prot=mmap.PROT_WRITE | mmap.PROT_READ)) == "EACCES"
        assert outcome(lambda: mmap.mmap(writer, 7, prot=mmap.PROT_READ)) == "EACCES"


def test_two_processes_share_a_mapping() -> None:
    write_file("f", bytes(4096))
    script = "import mmap, os; m = mmap.mmap(os.open('f', os.O_RDWR), 0); m[0:5] = b'child'; m.close()"
    with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, 0) as mapping:
        subprocess.run([sys.executable, "-S", "-c", script], check=True)
        assert mapping[:5] == b"child"


# -- other ways


def test_direct_access() -> None:
    data = _noise(64 * 4096)
    with mmap.mmap(-1, len(data)) as buffer, opened("f", NEW | os.O_DIRECT) as fd:
        buffer[:] = data
        assert os.pwrite(fd, buffer, 0) == len(data)
        buffer[:] = bytes(len(data))
        assert os.preadv(fd, [buffer], 0) == len(data)
        assert buffer[:] == data
        with opened("f", os.O_RDWR) as cached:
            assert os.pread(cached, 4096, 8192) == data[8192:12288]
            os.pwrite(cached, b"cached", 4096)
            assert os.preadv(fd, [buffer], 4096) == len(data) - 4096
            assert buffer[:6] == b"cached"
            buffer[:6] = b"direct"
            os.pwrite(fd, memoryview(buffer)[:4096], 4096)
            assert os.pread(cached, 6, 4096) == b"direct"
        assert os.preadv(fd, [buffer], len(data)) == 0


def test_what_was_written_asynchronously_is_read_whatever_was_read_meanwhile() -> None:
    size, is_over = 640 << 10, threading.Event()
    write_file("f", b"0" * size)

    def keep_reading() -> None:
        while not is_over.is_set():
            read_file("f")

    readers = [threading.Thread(target=keep_reading) for _ in range(2)]
    with mmap.mmap(-1, size) as memory, opened("f", os.O_RDWR | os.O_DIRECT) as fd, AsyncWriter(memory) as writer:
        for reader in readers:
            reader.start()
        try:
            for number in range(12):
                memory[:] = bytes([number]) * size
                writer.begin(fd)
                assert writer.end() == size
                assert set(read_file("f")) == {number}
        finally:
            is_over.set()
            for reader in readers:
                reader.join()


def test_copies_within_the_kernel() -> None:
    data = _noise(300_000)
    write_file("f", data)
    with opened("f", os.O_RDONLY) as source, opened("g", NEW) as target, opened("h", NEW) as sent:
        at = 0
        while copied := os.copy_file_range(source, target, 100_000, at, at):
            at += copied
        assert os.sendfile(sent, source, 1000, 200_000) == 200_000
    assert (read_file("g"), read_file("h")) == (data, data[1000:201_000])


def test_syncing() -> None:
    with opened("f", NEW | os.O_SYNC) as fd:
        os.write(fd, b"1")
        os.fsync(fd)
        os.fdatasync(fd)
    with opened(".", os.O_RDONLY) as fd:
        os.fsync(fd)
    assert read_file("f") == b"1"
