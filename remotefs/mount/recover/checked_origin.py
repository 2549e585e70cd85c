"""The tree as `recover` sees it: each file is compared as a whole with the digest of its upload."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import xxhash

from remotefs.errors import CorruptionError
from remotefs.mount.assembly import Components
from remotefs.mount.transfers.unmounted_origin import UnmountedOrigin


class CheckedOrigin(UnmountedOrigin):
    """Reads files that are read once: no bytes stay in the state folder."""

    def __init__(self, parts: Components) -> None:
        super().__init__(parts)
        self._remotes = parts.remotes
        self._shared = parts.shared
        self._content = parts.content

    async def pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        """See Origin. Raises CorruptionError at the end of a file that is not the one that was uploaded."""
        inode = self._tree.resolve(path)
        remote = self._remotes.find(inode.file_id) if inode is not None and inode.file_id else None
        digest = xxhash.xxh3_128()
        try:
            async with aclosing(super().pieces(path)) as pieces:
                async for data in pieces:
                    digest.update(data)
                    yield data
        finally:
            if remote is not None:
                self._content.remove(remote.file_id)
        expected = self._shared.digest_of(remote) if remote is not None else None
        if expected not in {None, digest.hexdigest()}:
            raise CorruptionError(f"its bytes are not the ones that were uploaded: the object of {path} is another")
