"""The rule for files that are uploaded again as they are (REUPLOAD): renamed files (W7), and those with other options.

The service cannot rename a file. Uploading it again gives it a new id, so that is done only for files of ours whose
bytes are here, and only where one rename touches few of them. A user chose another type or expiry for a file by itself,
so that has no limit (M1, M3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from remotefs.config import WritebackConfig
from remotefs.data.intents.paths import InodePaths
from remotefs.data.intents.upload_options import UploadOptions
from remotefs.store.records import Inode, Origin
from remotefs.store.remotes import Remotes


class Holdings(Protocol):
    """The content on this disk."""

    def has_all(self, file_id: str) -> bool:
        """Return whether the whole content of a remote file is on this disk."""
        ...


class Tally:
    """Counts renamed files that would be uploaded again, as far as W7's limits allow: no further."""

    def __init__(self, applies: Callable[[Inode], bool], config: WritebackConfig) -> None:
        self._applies = applies
        self._files_left = config.reupload_max_files
        self._bytes_left = config.reupload_max_bytes

    def is_within_with(self, file: Inode) -> bool:
        """Count another file; return whether all so far may be uploaded again."""
        if self._applies(file):
            self._files_left -= 1
            self._bytes_left -= file.size
        return self._files_left >= 0 and self._bytes_left >= 0


class ReuploadRule:
    """Decides which files are uploaded again; keeps no state of its own."""

    def __init__(
        self,
        remotes: Remotes,
        paths: InodePaths,
        options: UploadOptions,
        holdings: Holdings,
        config: WritebackConfig,
    ) -> None:
        self._remotes = remotes
        self._paths = paths
        self._options = options
        self._holdings = holdings
        self._config = config

    def is_asked(self, inode: Inode) -> bool:
        """Return whether a clean file is to go up again with another type or expiry, whatever its name."""
        return self._options.is_pending(inode.ino)

    def is_within_limits(self, files: Iterable[Inode]) -> bool:
        """Return whether these files may be uploaded again together: W7 limits their number and their bytes."""
        return all(map(self.tally().is_within_with, files))

    def tally(self) -> Tally:
        """Return a count of files that are renamed together, with which no file is counted yet."""
        return Tally(self.applies, self._config)

    def applies(self, inode: Inode) -> bool:
        """Return whether a clean file is ours and here, and its path asks for another remote filename."""
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if remote is None or remote.origin != Origin.OURS:
            return False
        is_here = inode.staged_gen is not None or inode.size == 0 or self._holdings.has_all(remote.file_id)
        return is_here and remote.asked_name != self._paths.remote_name(inode)
