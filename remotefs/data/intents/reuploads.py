"""The rule for renamed files: which of them are uploaded again under their new name (REUPLOAD, W7).

The service cannot rename a file. Uploading it again gives it a new id, so that is done only for files of ours whose
bytes are here, and only where one rename touches few of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from remotefs.config import WritebackConfig
from remotefs.data.intents.paths import InodePaths
from remotefs.store.records import Inode, Origin
from remotefs.store.remotes import Remotes


class Holdings(Protocol):
    """The content on this disk."""

    def has_all(self, file_id: str) -> bool:
        """Return whether the whole content of a remote file is on this disk."""
        ...


class ReuploadRule:
    """Decides which renamed files are uploaded again; keeps no state of its own."""

    def __init__(self, remotes: Remotes, paths: InodePaths, holdings: Holdings, config: WritebackConfig) -> None:
        self._remotes = remotes
        self._paths = paths
        self._holdings = holdings
        self._config = config

    def is_within_limits(self, files: Iterable[Inode]) -> bool:
        """Return whether these files may be uploaded again together: W7 limits their number and their bytes."""
        applicable = [file for file in files if self.applies(file)]
        total = sum(file.size for file in applicable)
        return len(applicable) <= self._config.reupload_max_files and total <= self._config.reupload_max_bytes

    def applies(self, inode: Inode) -> bool:
        """Return whether a clean file is ours and here, and its path asks for another remote filename."""
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if remote is None or remote.origin != Origin.OURS:
            return False
        is_here = inode.staged_gen is not None or inode.size == 0 or self._holdings.has_all(remote.file_id)
        return is_here and remote.asked_name != self._paths.remote_name(inode)
