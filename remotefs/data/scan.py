"""A reader that opens the files of a folder one after another finds the next ones on their way.

`cat *` goes by name, `grep -r` as the folder is listed. Once a few files were opened in one of these orders, the next
are fetched, twice as many each time; a file opened out of order ends it. Nothing is fetched but by an open, so it stops
when the reader does.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from remotefs.store.records import Inode
from remotefs.store.tree import Tree

# Opens in one order before it is believed; a chance pair costs nothing then.
_BELIEVED_AFTER = 2
# How many entries a reader may skip: folders, files that a pattern leaves out.
_SKIPPED = 4
# Files on their way at most; where requests are limited, fewer, for the reader may stop.
_MOST_FILES = 16
_MOST_FILES_WHERE_LIMITED = 4
# A larger file is read ahead in itself.
_LARGEST_BYTES = 1 << 20
_FOLDERS = 64


@dataclass
class Order:
    """One order of a folder's files, as its reader was last seen to follow it. Pure."""

    # What comes next, after the file that was opened last.
    expected: tuple[int, ...] = ()
    streak: int = 0

    def opened(self, ino: int, following: tuple[int, ...]) -> int:
        """Note an open, with what follows it; how many of those are worth having."""
        self.streak = self.streak + 1 if ino in self.expected[:_SKIPPED] else 0
        self.expected = following
        return 0 if self.streak < _BELIEVED_AFTER else 1 << min(self.streak, 10)


@dataclass
class _Folder:
    by_name: Order = field(default_factory=Order)
    as_listed: Order = field(default_factory=Order)
    # Invariant: at most as many as can be on their way.
    begun: deque[int] = field(default_factory=lambda: deque(maxlen=4 * _MOST_FILES))


class Scans:
    """Watches opens. `prefetch` begins to bring a file; `requests_per_minute` is None where there is no limit."""

    def __init__(
        self, tree: Tree, prefetch: Callable[[Inode], None], requests_per_minute: Callable[[], float | None]
    ) -> None:
        self._tree = tree
        self._prefetch = prefetch
        self._requests_per_minute = requests_per_minute
        # The last used comes last.
        self._folders: OrderedDict[int, _Folder] = OrderedDict()

    def opened(self, ino: int) -> None:
        """A file was opened for reading: begin to fetch what its reader will open next, if that is known."""
        places = self._tree.names_of(ino)
        if not places:
            return
        parent, name = places[0]
        most = _MOST_FILES if self._requests_per_minute() is None else _MOST_FILES_WHERE_LIMITED
        folder = self._folder(parent)
        for order, following in zip(
            (folder.by_name, folder.as_listed), self._tree.following(parent, name, limit=most), strict=True
        ):
            files = [inode for inode in following if inode.is_file]
            count = order.opened(ino, tuple(inode.ino for inode in files))
            for inode in files[: min(count, most)]:
                self._begin(folder, inode)

    def _begin(self, folder: _Folder, inode: Inode) -> None:
        if inode.ino not in folder.begun and inode.size <= _LARGEST_BYTES:
            folder.begun.append(inode.ino)
            self._prefetch(inode)

    def _folder(self, ino: int) -> _Folder:
        folder = self._folders.setdefault(ino, _Folder())
        self._folders.move_to_end(ino)
        if len(self._folders) > _FOLDERS:
            self._folders.popitem(last=False)
        return folder
