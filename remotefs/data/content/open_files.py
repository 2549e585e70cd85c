"""The files of the content store whose descriptors are open."""

from __future__ import annotations

from cachetools import LRUCache

from remotefs.data.content.file import ContentFile
from remotefs.data.content.index import ContentIndex

# Two descriptors each; the usual limit of a process is 1,024.
_MOST_FILES = 128


class OpenFiles(LRUCache[str, ContentFile]):
    """By id. What falls out is closed, and the time of its last use, which `index` knows, kept on the disk."""

    def __init__(self, index: ContentIndex) -> None:
        super().__init__(maxsize=_MOST_FILES)
        self._index = index

    def popitem(self) -> tuple[str, ContentFile]:
        """Close the least recently used."""
        file_id, file = super().popitem()
        self._close(file_id, file)
        return file_id, file

    def release(self, file_id: str) -> None:
        """Close one, if it is open."""
        file = self.pop(file_id, None)
        if file is not None:
            self._close(file_id, file)

    def close(self) -> None:
        """Close all."""
        while self:
            self.popitem()

    def _close(self, file_id: str, file: ContentFile) -> None:
        entry = self._index.find(file_id)
        file.close(None if entry is None or entry.pinned else entry.used)
