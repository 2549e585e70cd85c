from __future__ import annotations

import stat

from remotefs.data.share.records import EntryRecord, FileRecord, Record
from tests.data.share.wanted_tree import ListedFile, WantedFile, WantedTree, wanted_tree

DIR, GONE = EntryRecord("dir", 0o750), EntryRecord("gone")
LINK, PIPE = EntryRecord("symlink", 0o777, target=b"there"), EntryRecord("node", stat.S_IFIFO | 0o600)
PATH_OF_A_FOLDER = "d／x.txt"


def _file(*paths: str, mode: int = 0o600) -> FileRecord:
    return FileRecord(mode, 0, 0, 0, {}, 1, None, paths)


def _tree(winners: dict[str, Record], *listed: tuple[str, str]) -> WantedTree:
    """The tree of files given as (id, remote name), the oldest first."""
    listing = [ListedFile(file_id, filename, created) for created, (file_id, filename) in enumerate(listed)]
    tree = wanted_tree(winners, listing)
    assert tree == wanted_tree(dict(reversed(winners.items())), reversed(listing))
    return tree


def _paths(tree: WantedTree) -> dict[str, tuple[str, ...]]:
    return {file_id: file.paths for file_id, file in tree.files.items()}


def test_a_file_without_a_record_is_where_its_name_says() -> None:
    assert _tree({}, ("id1", PATH_OF_A_FOLDER)) == WantedTree(
        {"id1": WantedFile(("d/x.txt",), None)}, {}, frozenset({"d"})
    )


def test_a_record_alone_makes_no_file() -> None:
    assert _tree({"f/id1": _file(), "f/id2": _file("a/b")}) == WantedTree({}, {}, frozenset())


def test_a_record_gives_its_file_attributes_and_paths() -> None:
    record = _file("b/far", "a", mode=0o751)
    assert _tree({"f/id1": record}, ("id1", "x")).files == {"id1": WantedFile(("a", "b/far"), record)}


def test_a_tombstone_takes_no_file_away() -> None:
    assert _paths(_tree({"e/x": GONE, "e/d": GONE, "e/d/x.txt": GONE}, ("id1", PATH_OF_A_FOLDER), ("id2", "x"))) == {
        "id1": ("d/x.txt",),
        "id2": ("x",),
    }


def test_a_removed_folder_stays_while_something_is_in_it() -> None:
    assert _tree({"e/d": GONE}).implied == set()
    assert _tree({"e/d": GONE}, ("id1", PATH_OF_A_FOLDER)).implied == {"d"}
    assert _tree({"e/d": GONE, "e/d/e": GONE, "e/d/e/f": LINK}).implied == {"d", "d/e"}


def test_folders_links_and_nodes_are_where_their_records_say() -> None:
    assert _tree({"e/d": DIR, "e/d/l": LINK, "e/p": PIPE}) == WantedTree(
        {}, {"d": DIR, "d/l": LINK, "p": PIPE}, frozenset()
    )


def test_of_one_path_the_newest_file_has_it_and_attributes_are_by_id() -> None:
    tree = _tree({"f/id1": _file(mode=0o711)}, ("id1", "a.txt"), ("id3", "a.txt"), ("id2", "a.txt"))
    assert _paths(tree) == {"id1": ("a [id1].txt",), "id2": ("a.txt",), "id3": ("a [id3].txt",)}
    assert (tree.files["id1"].record, tree.files["id2"].record) == (_file(mode=0o711), None)


def test_files_of_one_moment_are_ordered_by_id() -> None:
    tree = wanted_tree({}, [ListedFile("id1", "a", 5), ListedFile("id2", "a", 5)])
    assert _paths(tree) == {"id2": ("a",), "id1": ("a [id1]",)}


def test_an_alias_is_a_path_like_any_other() -> None:
    assert _paths(_tree({"f/id1": _file("b")}, ("id1", "a"), ("id2", "b"))) == {"id1": ("b [id1]",), "id2": ("b",)}
    assert _paths(_tree({"f/id2": _file("b")}, ("id1", "b"), ("id2", "a"))) == {"id1": ("b [id1]",), "id2": ("b",)}


def test_a_folder_keeps_its_path_from_a_file() -> None:
    assert _paths(_tree({"e/d": DIR}, ("id1", "d"))) == {"id1": ("d [id1]",)}
    assert _paths(_tree({}, ("id1", "d"), ("id2", PATH_OF_A_FOLDER))) == {"id1": ("d [id1]",), "id2": ("d/x.txt",)}


def test_a_file_is_shown_beside_a_link_of_its_path() -> None:
    tree = _tree({"e/a": LINK}, ("id1", "a"))
    assert (_paths(tree), tree.entries) == ({"id1": ("a [id1]",)}, {"a": LINK})


def test_a_link_makes_way_for_a_folder_with_something_in_it() -> None:
    tree = _tree({"e/d": LINK}, ("id1", PATH_OF_A_FOLDER))
    assert (_paths(tree), tree.entries, tree.implied) == ({"id1": ("d/x.txt",)}, {}, {"d"})
    assert _tree({"e/d": LINK, "e/d/e": DIR}).entries == {"d/e": DIR}


def test_a_conflict_copy_takes_no_path_that_a_file_has() -> None:
    tree = _tree({}, ("id1", "a"), ("id2", "a"), ("id3", "a [id1]"))
    assert _paths(tree) == {"id1": ("a [id1] 2",), "id2": ("a",), "id3": ("a [id1]",)}


def test_a_name_that_no_path_has_is_shown_safely_at_the_root() -> None:
    assert _paths(_tree({}, ("id1", "../x"), ("id2", ".remotefs"))) == {
        "id1": ("..／x [id1]",),
        "id2": (".remotefs [id2]",),
    }
