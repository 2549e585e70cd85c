"""Whose files are asked for by their ids: those of the folders that somebody has listed lately."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import trio.testing

from remotefs.data.reconcile.viewed_folders import ViewedFolders
from remotefs.store.database import Database
from remotefs.store.records import ROOT_INO, Origin, Remote
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree

LATER_NS = 1 << 62


class Shelf:
    """A tree with files that the service has."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path / "state.db")
        self.tree = Tree(self.database, root_uid=0, root_gid=0)
        self.remotes = Remotes(self.database)
        self.viewed_folders = ViewedFolders(self.tree, self.remotes)

    def folder(self, name: str, files: int) -> int:
        """A folder with files `name-0`, … ; its inode."""
        ino = self.tree.create(ROOT_INO, name, stat.S_IFDIR | 0o755, uid=0, gid=0, now_ns=1).ino
        for number in range(files):
            self.file(ino, f"{name}-{number}")
        return ino

    def file(self, parent: int, file_id: str) -> int:
        made = self.tree.create(parent, file_id, stat.S_IFREG | 0o644, uid=0, gid=0, now_ns=1, file_id=file_id)
        self.remotes.add(Remote(file_id, file_id, 0, "text/plain", 1, None, False, Origin.FOREIGN, ino=made.ino))
        return made.ino

    def asked(self, count: int = 100) -> set[str]:
        ids = self.viewed_folders.next_ids(count, LATER_NS)
        assert len(ids) == len(set(ids)) <= count
        return set(ids)


@pytest.fixture
async def shelf(tmp_path: Path, mock_clock: trio.testing.MockClock) -> Shelf:
    return Shelf(tmp_path)


async def test_only_what_was_listed_is_in_view(shelf: Shelf) -> None:
    seen, _unseen = shelf.folder("seen", 3), shelf.folder("unseen", 3)
    assert shelf.asked() == set()
    shelf.viewed_folders.note_listing(seen)
    assert shelf.asked() == {"seen-0", "seen-1", "seen-2"}


async def test_a_large_folder_has_its_turns(shelf: Shelf) -> None:
    shelf.viewed_folders.note_listing(shelf.folder("d", 25))
    turns = [shelf.asked(10) for _ in range(3)]
    assert [len(turn) for turn in turns] == [10, 10, 5]
    assert set.union(*turns) == {f"d-{number}" for number in range(25)}
    assert shelf.asked(10) == turns[0]


async def test_folders_take_turns(shelf: Shelf, mock_clock: trio.testing.MockClock) -> None:
    for name in "ab":
        shelf.viewed_folders.note_listing(shelf.folder(name, 10))
    first = shelf.asked(10)
    mock_clock.jump(30.0)
    assert first | shelf.asked(10) == {f"{name}-{number}" for name in "ab" for number in range(10)}


async def test_what_was_listed_long_ago_is_out_of_view(shelf: Shelf, mock_clock: trio.testing.MockClock) -> None:
    ino = shelf.folder("d", 1)
    shelf.viewed_folders.note_listing(ino)
    mock_clock.jump(500.0)
    shelf.viewed_folders.note_listing(ino)
    mock_clock.jump(500.0)
    assert shelf.asked() == {"d-0"}
    mock_clock.jump(500.0)
    assert shelf.asked() == set()


async def test_a_walk_through_all_folders_brings_few_into_view(shelf: Shelf) -> None:
    folders = [shelf.folder(f"d{number}", 1) for number in range(40)]
    for ino in folders:
        shelf.viewed_folders.note_listing(ino)
    assert shelf.asked() == {f"d{number}-0" for number in range(24, 40)}


async def test_what_is_new_given_up_or_here_alone_is_not_asked_for(shelf: Shelf) -> None:
    ino = shelf.folder("d", 2)
    shelf.tree.create(ino, "local", stat.S_IFREG | 0o644, uid=0, gid=0, now_ns=1)
    shelf.tree.create(ino, "folder", stat.S_IFDIR | 0o755, uid=0, gid=0, now_ns=1)
    shelf.remotes.tombstone("d-1")
    shelf.viewed_folders.note_listing(ino)
    assert shelf.asked() == {"d-0"}
    assert shelf.viewed_folders.next_ids(100, known_until_ns=0) == []
