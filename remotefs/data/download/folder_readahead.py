"""Watches how the files of a folder are read, and fetches the next ones for a program that reads one after another.

`cat *` opens them by name, `grep -r` in the order of the listing. After a few opens in one of these orders the next
files are fetched, twice as many each time. A file opened out of order ends this. So does a file that was not read to
its end, because a program that looks at the beginnings of files does not need the next ones whole. Only an open starts
a fetch, so it stops when the reader does.

A file of a few kilobytes is read to its end by a look, too. So the next file is fetched whole only if it is no longer
than a look, or if a longer one of the folder was read to its end (R8).

A reader that skips files usually skips kinds of files: a file browser looks into those whose names tell it no type, and
makes thumbnails of others. So a file is fetched only if one with its extension was among the last that were opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from cachetools import LRUCache

from remotefs.data.download.readahead import LOOK_BYTES
from remotefs.store.records import Inode
from remotefs.store.tree import Tree

# Opens in one order before files are fetched: two neighbours opened by chance cost nothing.
_BELIEVED_AFTER = 2
# How many entries a reader may skip: folders, and files that its pattern leaves out.
_SKIPPED = 4
# The most files on their way; fewer where requests are limited, because the reader may stop.
_MOST_FILES = 16
_MOST_FILES_WHERE_LIMITED = 4
# A larger file has readahead of its own.
_LARGEST_BYTES = 1 << 20
_FOLDERS = 64
# The extensions of how many files that were opened last count.
_KINDS = 16


@dataclass
class Order:
    """One order of a folder's files, as its reader was last seen to follow it. Pure."""

    # The files after the one that was opened last, as far as they were looked up.
    expected: tuple[int, ...] = ()
    streak: int = 0

    @property
    def is_believed(self) -> bool:
        """Return whether a reader follows this order."""
        return self.streak >= _BELIEVED_AFTER

    def opened(self, ino: int, most: int, following: Callable[[int], tuple[int, ...]]) -> tuple[int, ...]:
        """Note an open; return the inodes to fetch next, at most `most`.

        `following(n)` returns up to `n` files after this one; it is called once for many opens in this order.
        """
        near = self.expected[:_SKIPPED]
        self.streak = self.streak + 1 if ino in near else 0
        self.expected = self.expected[near.index(ino) + 1 :] if self.streak else ()
        if len(self.expected) < most:
            self.expected = following(2 * most)
        return self.expected[: min(1 << min(self.streak, 10), most)] if self.is_believed else ()

    def looked(self) -> None:
        """End the run: its reader did not read a file to its end."""
        self.streak = 0


@dataclass
class _Folder:
    by_name: Order = field(default_factory=Order)
    as_listed: Order = field(default_factory=Order)
    # Invariant: at most as many as can be on their way.
    begun: deque[int] = field(default_factory=lambda: deque(maxlen=4 * _MOST_FILES))
    # The extensions of the files that were opened last.
    kinds: deque[str] = field(default_factory=lambda: deque(maxlen=_KINDS))
    # Whether the last file that is longer than a look was read to its end; None if there was none yet.
    reads_on: bool | None = None


class Scans:
    """Watches opens and closes.

    `prefetch` begins to bring a file; `is_limited` says of an id whether the requests that bring it are limited.
    """

    def __init__(self, tree: Tree, prefetch: Callable[[Inode], None], is_limited: Callable[[str], bool]) -> None:
        self._tree = tree
        self._prefetch = prefetch
        self._is_limited = is_limited
        self._folders: LRUCache[int, _Folder] = LRUCache(_FOLDERS)
        # The newest `reads_on` of any folder: the guess for a folder in which nothing was read yet.
        self._reads_on = True

    def expects_look(self, ino: int) -> bool:
        """Return whether who opens a file will probably not read it to its end, as it was with the last long one."""
        for parent, _ in self._tree.names_of(ino)[:1]:
            reads_on = self._folder(parent).reads_on
            return not (self._reads_on if reads_on is None else reads_on)
        return False

    def opened(self, ino: int) -> None:
        """Note that a file was opened for reading; begin to fetch the files that its reader will probably open next."""
        places = self._tree.names_of(ino)
        if not places:
            return
        parent, name = places[0]
        folder = self._folder(parent)
        folder.kinds.append(_kind(name))
        inode = self._tree.find(ino)
        is_limited = inode is not None and inode.file_id is not None and self._is_limited(inode.file_id)
        most = _MOST_FILES_WHERE_LIMITED if is_limited else _MOST_FILES

        def by_name(limit: int) -> tuple[int, ...]:
            return self._tree.following_by_name(parent, name, limit=limit)

        def as_listed(limit: int) -> tuple[int, ...]:
            return self._tree.following_as_listed(parent, name, limit=limit)

        worth = folder.by_name.opened(ino, most, by_name)
        # A reader that follows the order of names is not checked for the other order.
        for following in worth or folder.as_listed.opened(ino, most, as_listed):
            self._begin(folder, following)

    def closed(self, inode: Inode, *, read_through: bool) -> None:
        """Note that a file was closed, and whether its reader read it to its end."""
        for parent, _ in self._tree.names_of(inode.ino)[:1]:
            folder = self._folder(parent)
            if inode.size > LOOK_BYTES:
                folder.reads_on = self._reads_on = read_through
            if not read_through:
                folder.by_name.looked()
                folder.as_listed.looked()

    def _begin(self, folder: _Folder, ino: int) -> None:
        if ino in folder.begun or not any(_kind(name) in folder.kinds for _, name in self._tree.names_of(ino)):
            return
        inode = self._tree.find(ino)
        if inode is not None and inode.is_file and inode.size <= (_LARGEST_BYTES if folder.reads_on else LOOK_BYTES):
            folder.begun.append(ino)
            self._prefetch(inode)

    def _folder(self, ino: int) -> _Folder:
        return self._folders.setdefault(ino, _Folder())


def _kind(name: str) -> str:
    """Return the extension of a file name in lower case; "" for none."""
    return name.rpartition(".")[2].lower() if "." in name else ""
