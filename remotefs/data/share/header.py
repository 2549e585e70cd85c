"""The form of an object: a header with the checksum of each chunk, then the bytes of the file. Pure.

    magic  size  chunk bytes  digest of the whole  checksum of a chunk …  checksum of all that   the bytes
    8      8     8            16                   8 each                 8

All numbers are little-endian. The length of the header follows from the size of the file, which the listing tells, so
one ranged request brings the header and the first bytes, and later ones begin at a known offset.
"""

from __future__ import annotations

import struct
from array import array

from remotefs.data.content.chunks import Layout, Sums, checksum

# Fixed, unlike the chunks of the cache: machines with other settings read the same objects.
CHUNK_BYTES = 128 * 1024
_HEAD = struct.Struct("<8sQQ16s")
_CHECK = struct.Struct("<Q")
_MAGIC = b"rfobject"


def layout_of(size: int) -> Layout:
    """Return how an object divides a file of `size` bytes."""
    return Layout(size, CHUNK_BYTES)


def header_bytes(size: int) -> int:
    """Return the length of the header of a file of `size` bytes."""
    return _HEAD.size + 8 * layout_of(size).count + _CHECK.size


def file_bytes(object_bytes: int) -> int | None:
    """Return the size of the file whose object has `object_bytes` bytes, None if no object has as many."""
    # Each chunk but the last has its bytes and a checksum; the rest follows.
    size = object_bytes - _HEAD.size - _CHECK.size
    size -= 8 * -(-size // (CHUNK_BYTES + 8))
    return size if size >= 0 and header_bytes(size) + size == object_bytes else None


def encode(sums: Sums) -> bytes:
    """Return the header of a file whose chunks are all known, with the digest of the whole."""
    assert sums.layout.chunk_bytes == CHUNK_BYTES
    assert sums.is_complete
    assert sums.digest is not None
    head = _HEAD.pack(_MAGIC, sums.layout.size, CHUNK_BYTES, bytes.fromhex(sums.digest))
    covered = head + struct.pack(f"<{sums.layout.count}Q", *sums.entries())
    return covered + _CHECK.pack(checksum(covered))


def decode(data: bytes, size: int) -> Sums:
    """Return the sums in the header of a file of `size` bytes. Raises ValueError when it is not that."""
    layout = layout_of(size)
    if len(data) != header_bytes(size):
        raise ValueError(f"its header has {len(data)} bytes, not {header_bytes(size)}")
    covered = data[: -_CHECK.size]
    if _CHECK.unpack_from(data, len(covered))[0] != checksum(covered):
        raise ValueError("its header is damaged")
    magic, stored_size, chunk_bytes, digest = _HEAD.unpack_from(data)
    if (magic, stored_size, chunk_bytes) != (_MAGIC, size, CHUNK_BYTES):
        raise ValueError(f"it is the object of another file, of {stored_size} bytes")
    entries = array("Q", struct.unpack_from(f"<{layout.count}Q", data, _HEAD.size))
    return Sums(layout, entries, digest.hex())


class CheckedChunks:
    """Lets out the bytes of an object chunk by chunk, each compared with its checksum. `index` is the next chunk."""

    def __init__(self, sums: Sums, index: int) -> None:
        self._sums = sums
        self._rest = b""
        self.index = index

    @property
    def digest(self) -> str | None:
        """Return the xxh3-128 of the whole file in hex, by the header."""
        return self._sums.digest

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes of the chunks that are whole now. Raises ValueError for one that does not match."""
        data, at, layout = self._rest + piece if self._rest else piece, 0, self._sums.layout
        view = memoryview(data)
        while self.index < layout.count and len(data) - at >= (length := layout.length(self.index)):
            if not self._sums.matches(self.index, view[at : at + length]):
                raise ValueError(f"its bytes from {layout.start(self.index)} on are damaged")
            self.index, at = self.index + 1, at + length
        self._rest = data[at:]
        return data[:at]
