"""Decompression of a body that the service, or a proxy in front of it, compressed.

httpx could do it, but with damaged data it leaves its own chain of generators suspended half way (see
`download.Pieces`), and it accepts a stream that ends early or swells a thousandfold.
"""

from __future__ import annotations

import zlib

from remotefs.config import MIB
from remotefs.errors import ReplyBroken

ACCEPTED = "gzip"
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
# zlib tells gzip and zlib streams apart by their first bytes.
_EITHER = 32 + zlib.MAX_WBITS
_MOST_AT_ONCE = MIB


class Unpacker:
    """Decompresses a stream, at most 1 MiB at a time. Raises ReplyBroken for damaged data."""

    def __init__(self, encoding: str) -> None:
        if encoding not in _KNOWN:
            raise ReplyBroken(f"the body of a reply is compressed as {encoding[:20]!r}, which was not asked for")
        self._stream = zlib.decompressobj(_EITHER)
        self._packed = b""

    def feed(self, packed: bytes) -> None:
        """Add the next compressed bytes, after `take` has returned everything before them."""
        self._packed += packed

    def take(self) -> bytes:
        """Return the next decompressed bytes, at most 1 MiB; empty when more has to be fed.

        Raises ReplyBroken for damaged data and for data after the end of the stream.
        """
        if not self._packed:
            return b""
        try:
            piece = self._stream.decompress(self._packed, _MOST_AT_ONCE)
        except zlib.error:
            raise ReplyBroken("the compressed body of a reply is damaged") from None
        if self._stream.unused_data:
            raise ReplyBroken("the compressed body of a reply continues after its end")
        self._packed = self._stream.unconsumed_tail
        return piece

    def finish(self) -> None:
        """Check the stream at the end of the body. Raises ReplyBroken when the compressed stream did not end there."""
        if not self._stream.eof:
            raise ReplyBroken("the compressed body of a reply was cut short")
