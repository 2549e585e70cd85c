"""Unpacking of a body that the service, or a proxy before it, compressed.

httpx could do it, but stops its own chain of generators half way when the data is damaged (see `download.Pieces`), and
takes a stream that ends early, or one that swells a thousandfold, for a good one.
"""

from __future__ import annotations

import zlib

from remotefs.config import MIB
from remotefs.errors import ReplyBroken

ACCEPTED = "gzip"
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
# gzip or zlib, told apart by their first bytes.
_EITHER = 32 + zlib.MAX_WBITS
_MOST_AT_ONCE = MIB


class Unpacker:
    """Takes packed bytes, gives at most 1 MiB of unpacked ones at a time. Raises ReplyBroken for damaged data."""

    def __init__(self, encoding: str) -> None:
        if encoding not in _KNOWN:
            raise ReplyBroken(f"the body of a reply is packed as {encoding[:20]!r}, which was not asked for")
        self._stream = zlib.decompressobj(_EITHER)
        self._packed = b""

    def feed(self, packed: bytes) -> None:
        """The next packed bytes; everything before was taken."""
        self._packed += packed

    def take(self) -> bytes:
        """What can be unpacked now; empty when more has to be fed."""
        if not self._packed:
            return b""
        try:
            piece = self._stream.decompress(self._packed, _MOST_AT_ONCE)
        except zlib.error:
            raise ReplyBroken("the packed body of a reply is damaged") from None
        if self._stream.unused_data:
            raise ReplyBroken("the packed body of a reply goes on after its end")
        self._packed = self._stream.unconsumed_tail
        return piece

    def finish(self) -> None:
        """The body ended; raises ReplyBroken when the packed stream did not."""
        if not self._stream.eof:
            raise ReplyBroken("the packed body of a reply was cut short")
