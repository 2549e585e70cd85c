"""One file of the content folder: the bytes, sparse, and beside them the sums of their chunks.

Nothing here is synced. A chunk that a power cut kept from the disk does not match its sum, and so counts as damaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import xxhash

from remotefs import crashpoints
from remotefs.data.content.chunks import Layout, Sums, checksum
from remotefs.errors import CorruptionError


class DamagedChunk(CorruptionError):
    """The bytes of chunk `index` are not those that were stored."""

    def __init__(self, path: Path, index: int) -> None:
        super().__init__(f"{path}: the bytes of chunk {index} on this disk are damaged")
        self.index = index


class ContentFile:
    """The open descriptors and the sums of one file. Raises OSError as the disk does."""

    def __init__(self, path: Path, fd: int, sums_fd: int, sums: Sums) -> None:
        self._path = path
        self._fd = fd
        self._sums_fd = sums_fd
        self.sums = sums

    @classmethod
    def create(cls, path: Path, sidecar: Path, layout: Layout) -> ContentFile:
        """Make a file without any chunk; bytes that are in it already stay, but no sum counts them. Raises OSError."""
        sums = Sums(layout)
        with ExitStack() as undo:
            # The sums first, so that only damage leaves bytes without sums.
            sums_fd = _open(sidecar, undo, os.O_CREAT | os.O_TRUNC)
            os.pwrite(sums_fd, sums.encode(), 0)
            crashpoints.reached("cached sums are made", path.name)
            fd = _open(path, undo, os.O_CREAT)
            os.ftruncate(fd, layout.size)
            undo.pop_all()
        crashpoints.reached("cached file is made", path.name)
        return cls(path, fd, sums_fd, sums)

    @classmethod
    def open(cls, path: Path, sidecar: Path) -> ContentFile:
        """Open a file that is there. Raises CorruptionError when its sums cannot be read or its length is wrong."""
        with ExitStack() as undo:
            sums_fd, fd = _open(sidecar, undo), _open(path, undo)
            try:
                sums = Sums.decode(os.pread(sums_fd, os.fstat(sums_fd).st_size, 0))
            except ValueError as error:
                raise CorruptionError(f"{sidecar}: {error}") from error
            if os.fstat(fd).st_size != sums.layout.size:
                raise CorruptionError(f"{path}: it is not {sums.layout.size} bytes long any more")
            undo.pop_all()
        return cls(path, fd, sums_fd, sums)

    def read(self, offset: int, size: int) -> bytes | None:
        """Return bytes, clipped to the file; None when any of them is not here. Raises DamagedChunk."""
        layout = self.sums.layout
        chunks = layout.touching(offset, size)
        if not chunks:
            return b""
        if not all(index in self.sums for index in chunks):
            return None
        start, end = layout.start(chunks.start), layout.start(chunks.stop)
        data = self._pread(start, end - start, chunks.start)
        self._check(chunks, data)
        return data if (offset, size) == (start, end - start) else data[offset - start : offset - start + size]

    def write(self, chunks: range, data: bytes) -> None:
        """Write whole adjacent chunks, then their sums."""
        layout = self.sums.layout
        view, offset = memoryview(data), layout.start(chunks.start)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written
        crashpoints.reached("cached chunk is written", self._path.name)
        for index, piece in zip(chunks, layout.pieces(data), strict=True):
            self.sums.set(index, checksum(piece))
        self._save(chunks)
        crashpoints.reached("cached chunk has its sum", self._path.name)

    def drop(self, index: int) -> None:
        """Forget one chunk."""
        self.sums.set(index, 0)
        self._save(range(index, index + 1))

    def duplicate(self) -> int:
        """Return another descriptor of the bytes, for the caller to close."""
        return os.dup(self._fd)

    def close(self, used_ns: int | None) -> None:
        """Close the file and set its modification time to its last use, which orders eviction (None: leave it).

        Where the disk does not take the time, the order is an older one. A file is closed when another one is opened,
        and its trouble is none of that one's.
        """
        if used_ns is not None:
            with suppress(OSError):
                os.utime(self._fd, ns=(used_ns, used_ns))
        for fd in (self._fd, self._sums_fd):
            with suppress(OSError):
                os.close(fd)

    def _pread(self, offset: int, size: int, index: int) -> bytes:
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:  # a bad sector
            raise DamagedChunk(self._path, index) from error

    def _check(self, chunks: range, data: bytes) -> None:
        layout = self.sums.layout
        if len(data) != layout.start(chunks.stop) - layout.start(chunks.start):
            raise DamagedChunk(self._path, chunks.start)
        for index, piece in zip(chunks, layout.pieces(data), strict=True):
            if not self.sums.matches(index, piece):
                raise DamagedChunk(self._path, index)

    def _save(self, chunks: range) -> None:
        offset, entries = self.sums.encode_some(chunks)
        os.pwrite(self._sums_fd, entries, offset)


def hash_file(path: Path, layout: Layout, *, may_go_on: bool = False) -> Sums:
    """Read a whole file, for a thread; return the sums of its chunks and its xxh3-128 digest.

    With `may_go_on` what lies behind the end of the layout is not read. Raises CorruptionError when the file is shorter
    than the layout, or longer without that, OSError.
    """
    whole, sums = xxhash.xxh3_128(), Sums(layout)
    buffer = memoryview(bytearray(layout.chunk_bytes))
    with path.open("rb", buffering=0) as file:
        if not may_go_on and os.fstat(file.fileno()).st_size != layout.size:
            raise CorruptionError(f"{path}: it is not {layout.size} bytes long")
        for index in range(layout.count):
            piece = buffer[: min(file.readinto(buffer), layout.length(index))]
            if len(piece) != layout.length(index):
                raise CorruptionError(f"{path}: it ends before its {layout.size} bytes")
            sums.set(index, checksum(piece))
            whole.update(piece)
    sums.digest = whole.hexdigest()
    return sums


def damaged_chunks(path: Path, expected: Sums) -> list[int]:
    """Read a whole file, for a thread; return the chunks that `expected` says are here and that do not match it."""
    layout = expected.layout
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        return [
            index
            for index in range(layout.count)
            if index in expected
            and not expected.matches(index, os.pread(fd, layout.length(index), layout.start(index)))
        ]


def digest_of(path: Path | None) -> str:
    """Return the xxh3-128 digest of a file's bytes (None: of no bytes) in hex; to tell equal content, not for security.

    Raises OSError.
    """
    digest = xxhash.xxh3_128()
    for piece in _pieces(path) if path else ():
        digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


def _open(path: Path, undo: ExitStack, flags: int = 0) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    undo.callback(os.close, fd)
    return fd
