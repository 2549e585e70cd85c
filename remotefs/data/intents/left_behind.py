"""Files that could not follow the rename of a folder above them, for a reason nobody foresaw (H7).

One such file holds up neither the others nor the removals at the service: it is left behind, and tried again ever more
rarely. Its rename keeps its row until the file has followed or is gone. Only a DELETE waits for it of which the file
may be the successor (W5).

All this is memory: the next mount lets every file beneath the folder follow again, which changes nothing of the others.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

from remotefs import names
from remotefs.backoff import backoff_s
from remotefs.errors import RemotefsError
from remotefs.store.records import Intent
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
# The first pause, and the longest to which it is doubled.
_PAUSE_S = (1.0, 600.0)
# With more files than this the trouble is not with single files.
_MOST = 100
# No shorter wait: a due time is a sum, and may be missed by its rounding.
_SHORTEST_S = 0.01


class LeftFile(NamedTuple):
    """A file that waits for `until_s` after so many failures; `reupload` is what its rename decided (W7)."""

    ino: int
    number: int
    reupload: bool
    failures: int
    until_s: float


class LeftBehind:
    """Owns which files have not followed which rename. `clock` gives seconds."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._clock = clock
        self._files: dict[int, LeftFile] = {}

    def due(self) -> list[LeftFile]:
        """Return the files to try again now."""
        now_s = self._clock()
        return [file for file in self._files.values() if file.until_s <= now_s]

    def next_s(self) -> float:
        """Return the seconds until the next file is to be tried again."""
        return max(min((file.until_s for file in self._files.values()), default=math.inf) - self._clock(), _SHORTEST_S)

    def has_any(self, number: int) -> bool:
        """Return whether a file has not followed this rename."""
        return any(file.number == number for file in self._files.values())

    def may_succeed(self, intent: Intent) -> bool:
        """Return whether one of the files has the path of a file that a DELETE is for: it may be the successor (W5)."""
        if not self._files or intent.file_id is None:
            return False
        remote = self._remotes.find(intent.file_id)
        paths = {self._journal.former_path(intent.seq), names.decode(remote.filename) if remote else None} - {None, ""}
        inodes = (self._tree.resolve(path) for path in paths if path)
        return any(inode is not None and inode.ino in self._files for inode in inodes)

    def leave(self, ino: int, number: int, error: Exception, *, reupload: bool) -> None:
        """Leave a file behind after a failure, which is logged once. Raises the error if there are too many of them."""
        before = self._files.get(ino)
        if before is None and len(self._files) >= _MOST:
            raise error
        failures = before.failures if before else 0
        until_s = self._clock() + backoff_s(*_PAUSE_S, failures)
        self._files[ino] = LeftFile(ino, number, reupload, failures + 1, until_s)
        if before is None:
            foreseen = isinstance(error, RemotefsError | OSError)
            reason = str(error) or type(error).__name__
            text = "%s: it has not followed the rename of its folder, and is tried again: %s"
            _log.error(text, self._shown(ino), reason, exc_info=None if foreseen else error)

    def forget(self, ino: int) -> None:
        """Forget a file: it has followed, or is gone."""
        self._files.pop(ino, None)

    def _shown(self, ino: int) -> str:
        try:
            return next(self._tree.each_path_of(ino), f"inode {ino}")
        except Exception:  # noqa: BLE001 - the file may be one whose rows cannot be read
            return f"inode {ino}"
