"""Keeps the labels of an inode's bytes in line with its names (data/content/labels.py says what a label is)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cachetools import LRUCache

from remotefs.data.content.labels import ATTRIBUTE, Label, write_label
from remotefs.data.content.store import ContentStore
from remotefs.data.files.staging import Staging
from remotefs.store.database import Database
from remotefs.store.records import ContentState, Inode

# The labels written last, so that a change of an inode that leaves its label as it is writes nothing.
_REMEMBERED = 4096


class Labels:
    """Writes the labels of staged files and of pinned content."""

    def __init__(self, database: Database, staging: Staging, content: ContentStore) -> None:
        self._db = database
        self._staging = staging
        self._content = content
        self._written: LRUCache[Path, Label] = LRUCache(maxsize=_REMEMBERED)

    def write(self, inode: Inode, path: str) -> None:
        """Label the bytes of an inode, staged or pinned, with the path that it has now."""
        label = Label.of(inode, path)
        for file in self._files(inode):
            if self._written.get(file) != label:
                write_label(file, label)
                self._written[file] = label

    def void(self, inode: Inode) -> None:
        """Make the labels of an inode's bytes void, inside a transaction: its user has given the bytes up."""
        for file in self._files(inode):
            self._make_void(file)

    def void_staged(self, ino: int, generation: int) -> None:
        """Make the label of one staged file void, inside a transaction: nothing needs the file."""
        self._make_void(self._staging.place(ino, generation))

    def _make_void(self, file: Path) -> None:
        self._written.pop(file, None)
        with suppress(OSError):
            before = os.getxattr(file, ATTRIBUTE)
            # After a rollback the row still claims the bytes.
            self._db.on_rollback(lambda: _set(file, before))
        write_label(file, None)

    def _files(self, inode: Inode) -> list[Path]:
        files = []
        if inode.staged_gen is not None:
            files.append(self._staging.place(inode.ino, inode.staged_gen))
        if inode.file_id is not None and inode.state == ContentState.CLEAN and self._content.is_pinned(inode.file_id):
            files.append(self._content.where(inode.file_id))
        return files


def _set(file: Path, value: bytes) -> None:
    with suppress(OSError):
        os.setxattr(file, ATTRIBUTE, value)
