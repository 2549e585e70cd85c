"""What an upload says of its file beside its name: the type and the expiry (M1, M3).

The user sets both on a file, or on a folder for the files that are made in it later. They are rows of the table of
extended attributes, under the names by which they are set. No listing of attributes shows them, so no tool copies them,
and they go where the inode goes.

The service never changes either of a file that it has. So a change of a file that is up asks for another upload of the
same bytes (REUPLOAD), which a third row records:

    ASKED    no request that carries the present options has begun
    SENT     one has begun: the next upload that is confirmed carries them, or later ones

Invariant: the row becomes SENT in the transaction that records an attempt, and goes in the one that binds its reply. An
option that is set between the two makes it ASKED again, so the file goes up once more.
"""

from __future__ import annotations

import fnmatch
import re
import time

from remotefs.api.mime import guess_mime_type, type_of
from remotefs.config import UploadConfig
from remotefs.data.intents.paths import InodePaths
from remotefs.store.records import Inode
from remotefs.store.store import Store

PREFIX = b"user.remotefs."
TYPE = PREFIX + b"mime_type"
EXPIRY = PREFIX + b"expires_in"
_PENDING = PREFIX + b"pending_options"
# On the files that a user pinned (`remotefs pin`): their bytes stay though the shared store has them (X2).
KEPT = PREFIX + b"kept"
_ASKED, _SENT = b"asked", b"sent"


class UploadOptions:
    """Keeps the options of each inode, and tells those of its next upload. Waits for nothing."""

    def __init__(self, store: Store, paths: InodePaths, config: UploadConfig) -> None:
        self._tree = store.tree
        self._xattrs = store.xattrs
        self._paths = paths
        self._text_type = config.text_type
        # Whether a folder may have options. Most users never set one, and each new file would be asked for it.
        self._has_folders = store.xattrs.is_on_directory((TYPE, EXPIRY))
        self._expires_in = [(re.compile(fnmatch.translate(each)), int(time_s)) for each, time_s in config.expires_in]

    # -- what the next upload says

    def type_of(self, inode: Inode, head: bytes) -> str:
        """Return the MIME type under which a file goes up; `head` is its first HEAD_BYTES, or all of a shorter file."""
        return type_of(self._name(inode), head, self._text_type, self.chosen_type(inode.ino))

    def name_type(self, inode: Inode) -> str:
        """Return the MIME type that the file's name suggests."""
        return guess_mime_type(self._name(inode))

    def expires_in_s(self, inode: Inode) -> int | None:
        """Return how many seconds the service is to keep the file from its upload on; None: for ever."""
        chosen_s = self.chosen_expiry_s(inode.ino)
        return self._expiry_by_name_s(inode) if chosen_s is None else chosen_s

    def _name(self, inode: Inode) -> str:
        return (self._paths.path(inode) or "").rpartition("/")[2]

    def _expiry_by_name_s(self, inode: Inode) -> int | None:
        names = (self._paths.path(inode) or "").split("/") if self._expires_in else []
        fitting = (time_s for pattern, time_s in self._expires_in if any(map(pattern.match, names)))
        return next(fitting, None)

    # -- what the user chose

    def chosen_type(self, ino: int) -> str | None:
        """Return the type that was chosen for a file or folder itself, or None."""
        value = self._xattrs.find(ino, TYPE)
        return value.decode() if value is not None else None

    def chosen_expiry_s(self, ino: int) -> int | None:
        """Return the expiry, in seconds from an upload, that was chosen for a file or folder itself, or None."""
        value = self._xattrs.find(ino, EXPIRY)
        return int(value) if value is not None else None

    def with_attributes(self, ino: int) -> dict[bytes, bytes]:
        """Return the attributes of a file that can be set on another one: the user's own, and what was chosen here."""
        return {name: value for name, value in self._xattrs.of(ino).items() if name not in (_PENDING, KEPT)}

    def choose(self, inode: Inode, name: bytes, value: bytes | None) -> None:
        """Keep a choice for a file or folder, or drop it (None)."""
        self._has_folders = self._has_folders or inode.is_dir
        now_ns = time.time_ns()
        if value is None:
            self._xattrs.remove(inode.ino, name, now_ns=now_ns)
        else:
            self._xattrs.put(inode.ino, name, value, now_ns=now_ns)

    def inherited(self, directory: int) -> dict[bytes, bytes]:
        """Return the options, by attribute, of files that are made in a folder: those of the nearest folder above."""
        return self._xattrs.inherited(directory, (TYPE, EXPIRY)) if self._has_folders else {}

    def inherit(self, directory: int, ino: int) -> None:
        """Give a file that was just made in a folder the options of that folder."""
        for name, value in self.inherited(directory).items():
            self._xattrs.note(ino, name, value)

    # -- whether they are with the service

    def is_pending(self, ino: int) -> bool:
        """Return whether the file is to go up again, as it is, because of its options."""
        return self._xattrs.find(ino, _PENDING) is not None

    def pending(self) -> list[Inode]:
        """Return all such files; for a start, when nobody else waits for the loop."""
        return [self._tree.get(ino) for ino in self._xattrs.having(_PENDING)]

    def is_unsent(self, ino: int) -> bool:
        """Return whether that is so, and no request with the present options has begun."""
        return self._xattrs.find(ino, _PENDING) == _ASKED

    def ask(self, ino: int) -> None:
        """Let the file go up again with its options. The caller schedules it."""
        self._xattrs.note(ino, _PENDING, _ASKED)

    def withdraw(self, ino: int) -> None:
        """Take `ask` back. The caller schedules the file."""
        self._xattrs.note(ino, _PENDING, None)

    def sending(self, ino: int) -> None:
        """Note that an upload with the present options begins."""
        if self.is_unsent(ino):
            self._xattrs.note(ino, _PENDING, _SENT)

    def confirmed(self, ino: int) -> None:
        """Note that the upload that began last is confirmed."""
        if self._xattrs.find(ino, _PENDING) == _SENT:
            self._xattrs.note(ino, _PENDING, None)
