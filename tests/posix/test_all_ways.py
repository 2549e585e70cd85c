"""One file, worked on by every way there is of getting at its bytes, in any order; beside it a bytearray."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.posix.support import read_file

pytestmark = pytest.mark.usefixtures("place")
# More than the kernel reads ahead or sends at once, and little enough to meet what was done before.
_MOST_BYTES = 300_000
_SECTOR = 512


class Worked:
    """A new file of the working directory, open, and what it holds."""

    def __init__(self) -> None:
        self.expected = bytearray()
        self._fd, self.path = tempfile.mkstemp(dir=".")
        self._fresh = 0

    def close(self) -> None:
        os.close(self._fd)

    def write(self, offset: int, size: int) -> None:
        os.pwrite(self._fd, self._new(offset, size), offset)

    def read(self, offset: int, size: int) -> None:
        assert os.pread(self._fd, size, offset) == self.expected[offset : offset + size]

    def write_mapped(self, offset: int, size: int) -> None:
        if end := min(offset + size, len(self.expected)):
            with mmap.mmap(self._fd, end) as mapping:
                mapping[min(offset, end) : end] = self._new(min(offset, end), end - min(offset, end))

    def read_mapped(self, offset: int, size: int) -> None:
        if end := min(offset + size, len(self.expected)):
            with mmap.mmap(self._fd, end, prot=mmap.PROT_READ) as mapping:
                assert mapping[offset:] == self.expected[offset:end]

    def write_directly(self, offset: int, size: int) -> None:
        offset, size = _sectors(offset, size)
        with mmap.mmap(-1, size) as buffer:
            buffer[:] = self._new(offset, size)
            self._directly(lambda fd: os.pwrite(fd, buffer, offset))

    def read_directly(self, offset: int, size: int) -> None:
        offset, size = _sectors(offset, size)
        with mmap.mmap(-1, size) as buffer:
            self._directly(lambda fd: os.preadv(fd, [buffer], offset))
            wanted = self.expected[offset : offset + size]
            assert buffer[: len(wanted)] == wanted

    def copy(self, offset: int, size: int) -> None:
        """Within the file, behind where it comes from."""
        copied = bytes(self.expected[offset : offset + size])
        if copied:
            assert os.copy_file_range(self._fd, self._fd, len(copied), offset, offset + size) == len(copied)
            self._put(offset + size, copied)

    def truncate(self, offset: int, size: int) -> None:
        os.ftruncate(self._fd, offset)
        self._put(offset, b"")
        del self.expected[offset:]

    def reopen(self, offset: int, size: int) -> None:
        os.close(self._fd)
        self._fd = os.open(self.path, os.O_RDWR)

    def sync(self, offset: int, size: int) -> None:
        os.fsync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def check(self) -> None:
        assert os.fstat(self._fd).st_size == len(self.expected)

    def _new(self, offset: int, size: int) -> bytes:
        """Bytes that were never there before, taken for written."""
        self._fresh = self._fresh % 255 + 1
        data = bytes((self._fresh + i) % 251 + 1 for i in range(min(size, 251))) * (size // 251 + 1)
        self._put(offset, data[:size])
        return data[:size]

    def _put(self, offset: int, data: bytes) -> None:
        self.expected.extend(bytes(max(0, offset + len(data) - len(self.expected))))
        self.expected[offset : offset + len(data)] = data

    def _directly(self, call: Callable[[int], object]) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        try:
            call(fd)
        finally:
            os.close(fd)


def _sectors(offset: int, size: int) -> tuple[int, int]:
    """Whole sectors about there, at least one."""
    return offset // _SECTOR * _SECTOR, max(size // _SECTOR, 1) * _SECTOR


Way = Callable[[Worked, int, int], None]
WAYS: list[Way] = [
    Worked.write, Worked.read, Worked.write_mapped, Worked.read_mapped, Worked.write_directly, Worked.read_directly,
    Worked.copy, Worked.truncate, Worked.reopen, Worked.sync,
]  # fmt: skip
_places = st.integers(0, _MOST_BYTES) | st.sampled_from([0, 1, 4095, 4096, 131_072])
_sizes = st.integers(1, 70_000) | st.sampled_from([1, 4096, 131_072])


_steps = st.lists(st.tuples(st.sampled_from(WAYS), _places, _sizes), min_size=20, max_size=60)
_sample = partial(settings, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(_steps)
@_sample(max_examples=7)
def test_whatever_the_way_the_bytes_are_the_same(steps: list[tuple[Way, int, int]]) -> None:
    _work_through(steps)


@pytest.mark.long
@given(_steps)
@_sample(max_examples=100)
def test_whatever_the_way_the_bytes_are_the_same_for_long(steps: list[tuple[Way, int, int]]) -> None:
    _work_through(steps)


def _work_through(steps: list[tuple[Way, int, int]]) -> None:
    # A file for each list of steps, so that one folder does for all.
    file = Worked()
    try:
        for way, offset, size in steps:
            way(file, offset, size)
            file.check()
    finally:
        file.close()
    assert read_file(file.path) == file.expected
