"""The folders that somebody looks at, and the files in them to ask the service for (S4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio
from cachetools import TTLCache

from remotefs.store.records import Remote
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree

# A file browser lists a folder once, and people look at the window for a while.
_IN_VIEW_S = 600.0
# `find` lists all folders of a tree, but nobody looks at all of them.
_MOST_FOLDERS = 16


@dataclass
class _Folder:
    """The progress through a folder: `cookie` is the last entry that was asked for in the present round."""

    asked_at: float = -math.inf
    cookie: int = 0


class ViewedFolders:
    """Remembers listed folders for a while, and goes through their files, the folder asked for longest ago first."""

    def __init__(self, tree: Tree, remotes: Remotes) -> None:
        self._tree = tree
        self._remotes = remotes
        # A listing sets an entry again, so its time to live counts from the last listing. When the cache is full, the
        # folder that was not listed for longest goes: `next_ids` looks at all entries in the order of their listing.
        self._folders: TTLCache[int, _Folder] = TTLCache(_MOST_FOLDERS, _IN_VIEW_S, timer=trio.current_time)

    def note_listing(self, ino: int) -> None:
        """Note that a program lists a folder."""
        self._folders[ino] = self._folders.get(ino) or _Folder()

    def next_ids(self, count: int, known_until_ns: int) -> list[str]:
        """Return at most `count` ids of files in viewed folders that were known at `known_until_ns` (steady clock)."""
        now = trio.current_time()
        ids: dict[str, None] = {}
        for ino, folder in sorted(self._folders.items(), key=lambda item: item[1].asked_at):
            room = count - len(ids)
            if room <= 0:
                break
            entries = self._tree.entries(ino, after=folder.cookie, limit=room)
            folder.cookie = entries[-1].cookie if len(entries) == room else 0
            folder.asked_at = now
            bound = [remote for entry in entries if entry.is_file and (remote := self._bound(entry.ino)) is not None]
            ids.update((remote.file_id, None) for remote in bound if remote.known_ns <= known_until_ns)
        return list(ids)

    def _bound(self, ino: int) -> Remote | None:
        file_id = self._tree.get(ino).file_id
        remote = self._remotes.find(file_id) if file_id else None
        return remote if remote is not None and remote.ino == ino and not remote.tombstoned else None
