"""The tree's bookkeeping: what POSIX says of entries, link counts and times."""

from __future__ import annotations

import stat

import pytest

from remotefs.errors import AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound, TooManyLinks
from remotefs.store.database import Database
from remotefs.store.records import ROOT_INO, Inode
from remotefs.store.tree import MAX_LINKS, Tree
from remotefs.store.xattrs import Xattrs

NOW = 1_700_000_000_000_000_000


def make_file(tree: Tree, name: str, parent: int = ROOT_INO) -> Inode:
    return tree.create(parent, name, stat.S_IFREG | 0o644, uid=1, gid=2, now_ns=NOW)


def make_dir(tree: Tree, name: str, parent: int = ROOT_INO) -> Inode:
    return tree.create(parent, name, stat.S_IFDIR | 0o755, uid=1, gid=2, now_ns=NOW)


def listed(tree: Tree, ino: int = ROOT_INO) -> list[str]:
    return [entry.name for entry in tree.entries(ino)]


def test_root_is_there_and_owned(tree: Tree) -> None:
    root = tree.get(ROOT_INO)
    assert (root.is_dir, root.uid, root.gid, root.nlink) == (True, 1000, 100, 2)


def test_create_is_found_by_name_and_number(tree: Tree) -> None:
    made = make_file(tree, "a")
    assert tree.lookup(ROOT_INO, "a") == made == tree.get(made.ino)
    assert tree.resolve("a") == made
    assert tree.paths_of(made.ino) == ["a"]


def test_create_twice_is_refused(tree: Tree) -> None:
    make_file(tree, "a")
    with pytest.raises(AlreadyExists):
        make_dir(tree, "a")


def test_create_in_removed_directory_is_refused(tree: Tree) -> None:
    gone = make_dir(tree, "d")
    tree.rmdir(ROOT_INO, "d", now_ns=NOW)
    with pytest.raises(NotFound):
        make_file(tree, "a", gone.ino)


def test_create_touches_its_directory(tree: Tree) -> None:
    make_file(tree, "a")
    root = tree.get(ROOT_INO)
    assert root.mtime_ns == root.ctime_ns == NOW


def test_directories_count_their_subdirectories(tree: Tree) -> None:
    top = make_dir(tree, "d")
    make_dir(tree, "e", top.ino)
    make_file(tree, "f", top.ino)
    assert (top.nlink, tree.get(top.ino).nlink, tree.get(ROOT_INO).nlink) == (2, 3, 3)
    tree.rmdir(top.ino, "e", now_ns=NOW)
    assert tree.get(top.ino).nlink == 2


def test_link_and_unlink_count_names(tree: Tree) -> None:
    made = make_file(tree, "a")
    assert tree.link(made.ino, ROOT_INO, "b", now_ns=NOW).nlink == 2
    assert tree.paths_of(made.ino) == ["a", "b"]
    assert tree.unlink(ROOT_INO, "a", now_ns=NOW).nlink == 1
    last = tree.unlink(ROOT_INO, "b", now_ns=NOW)
    assert last.nlink == 0
    assert tree.unlinked() == [last]


def test_a_file_has_so_many_names_and_a_folder_as_many_others_as_come(tree: Tree) -> None:
    file, folder = make_file(tree, "f"), make_dir(tree, "d")
    for inode in (file, folder):
        tree.update(inode.ino, nlink=MAX_LINKS)
    with pytest.raises(TooManyLinks):
        tree.link(file.ino, folder.ino, "one more", now_ns=NOW)
    make_file(tree, "g", folder.ino)
    make_dir(tree, "e", folder.ino)
    assert tree.get(folder.ino).nlink == MAX_LINKS + 1


def test_unlink_of_a_directory_and_rmdir_of_a_file(tree: Tree) -> None:
    make_dir(tree, "d")
    make_file(tree, "f")
    with pytest.raises(IsADirectory):
        tree.unlink(ROOT_INO, "d", now_ns=NOW)
    with pytest.raises(NotADirectory):
        tree.rmdir(ROOT_INO, "f", now_ns=NOW)


def test_rmdir_of_a_full_directory(tree: Tree) -> None:
    make_file(tree, "f", make_dir(tree, "d").ino)
    with pytest.raises(DirectoryNotEmpty):
        tree.rmdir(ROOT_INO, "d", now_ns=NOW)


def test_rename_over_a_file_returns_it(tree: Tree) -> None:
    one, other = make_file(tree, "one"), make_file(tree, "other")
    replaced = tree.rename(ROOT_INO, "one", ROOT_INO, "other", now_ns=NOW)
    assert replaced is not None
    assert (replaced.ino, replaced.nlink) == (other.ino, 0)
    assert tree.lookup(ROOT_INO, "other") == tree.get(one.ino)
    assert listed(tree) == ["other"]


def test_rename_over_its_own_other_name_does_nothing(tree: Tree) -> None:
    made = make_file(tree, "a")
    tree.link(made.ino, ROOT_INO, "b", now_ns=NOW)
    assert tree.rename(ROOT_INO, "a", ROOT_INO, "b", now_ns=NOW) is None
    assert listed(tree) == ["a", "b"]


def test_rename_of_a_directory_moves_its_link(tree: Tree) -> None:
    one, two = make_dir(tree, "one"), make_dir(tree, "two")
    moved = make_dir(tree, "d", one.ino)
    tree.rename(one.ino, "d", two.ino, "e", now_ns=NOW)
    assert (tree.get(one.ino).nlink, tree.get(two.ino).nlink) == (2, 3)
    assert tree.get(moved.ino).parent == two.ino
    assert tree.paths_of(moved.ino) == ["two/e"]


@pytest.mark.parametrize(
    ("make", "refused"), [(make_file, NotADirectory), (make_dir, DirectoryNotEmpty)], ids=["file", "full directory"]
)
def test_rename_of_a_directory_over_what_it_cannot_replace(tree: Tree, make: object, refused: type[Exception]) -> None:
    assert callable(make)
    make_dir(tree, "d")
    target = make(tree, "target")
    if target.is_dir:
        make_file(tree, "inside", target.ino)
    with pytest.raises(refused):
        tree.rename(ROOT_INO, "d", ROOT_INO, "target", now_ns=NOW)
    assert listed(tree) == ["d", "target"]


def test_exchange_of_a_file_and_a_directory(tree: Tree) -> None:
    top = make_dir(tree, "top")
    inner, outer = make_dir(tree, "inner", top.ino), make_file(tree, "outer")
    tree.exchange(top.ino, "inner", ROOT_INO, "outer", now_ns=NOW)
    assert tree.paths_of(inner.ino) == ["outer"]
    assert tree.paths_of(outer.ino) == ["top/inner"]
    assert (tree.get(top.ino).nlink, tree.get(ROOT_INO).nlink, tree.get(inner.ino).parent) == (2, 4, ROOT_INO)


def test_entries_go_on_behind_a_cookie_while_others_come_and_go(tree: Tree) -> None:
    for name in "abcdef":
        make_file(tree, name)
    first = tree.entries(ROOT_INO, limit=3)
    tree.unlink(ROOT_INO, "a", now_ns=NOW)
    tree.unlink(ROOT_INO, "e", now_ns=NOW)
    tree.rename(ROOT_INO, "f", ROOT_INO, "g", now_ns=NOW)
    make_file(tree, "h")
    assert [entry.name for entry in first] == ["a", "b", "c"]
    assert [entry.name for entry in tree.entries(ROOT_INO, after=first[-1].cookie)] == ["d", "g", "h"]


def test_files_beneath_reaches_every_depth(tree: Tree) -> None:
    top = make_dir(tree, "top")
    deep = make_dir(tree, "deep", make_dir(tree, "mid", top.ino).ino)
    wanted = {make_file(tree, "x", top.ino).ino, make_file(tree, "y", deep.ino).ino}
    make_file(tree, "elsewhere")
    assert {inode.ino for inode in tree.files_beneath(top.ino)} == wanted


def test_a_tree_deeper_than_the_stack(tree: Tree) -> None:
    parent = ROOT_INO
    for _ in range(3000):
        parent = make_dir(tree, "d", parent).ino
    made = make_file(tree, "f", parent)
    assert tree.paths_of(made.ino) == ["d/" * 3000 + "f"]
    assert list(tree.files_beneath(ROOT_INO)) == [made]
    assert tree.is_beneath(parent, ROOT_INO)


def test_is_beneath(tree: Tree) -> None:
    top = make_dir(tree, "top")
    deep = make_dir(tree, "deep", top.ino)
    assert tree.is_beneath(deep.ino, top.ino)
    assert tree.is_beneath(top.ino, top.ino)
    assert not tree.is_beneath(top.ino, deep.ino)


def test_notes_show_at_once_and_are_saved(tree: Tree, database: Database) -> None:
    made = make_file(tree, "a")
    tree.note(made.ino, size=7, mtime_ns=NOW + 1)
    assert (tree.get(made.ino).size, tree.entries(ROOT_INO)[0].mtime_ns) == (7, NOW + 1)
    assert tree.usage()[1] == 7
    assert database.one("SELECT size FROM inode WHERE ino = ?", (made.ino,)) == (0,)
    tree.save_notes()
    assert database.one("SELECT size FROM inode WHERE ino = ?", (made.ino,)) == (7,)


def test_n5_a_file_counts_with_its_size_after_it_was_read(tree: Tree) -> None:
    """A read notes the time alone."""
    made = tree.update(make_file(tree, "a").ino, size=7)
    other = tree.update(make_file(tree, "b").ino, size=2)
    tree.note(made.ino, atime_ns=NOW + 1)
    tree.note(other.ino, size=3, mtime_ns=NOW + 1)
    assert tree.usage() == (3, 10)


def test_h8_notes_are_saved_a_few_at_a_time(tree: Tree, database: Database) -> None:
    for name in "abc":
        tree.note(make_file(tree, name).ino, atime_ns=7)
    assert [tree.save_notes(2), tree.save_notes(2)] == [True, False]
    assert database.one("SELECT count(*) FROM inode WHERE atime_ns = 7") == (3,)


def test_notes_survive_a_rollback(tree: Tree, database: Database) -> None:
    made = make_file(tree, "a")
    tree.note(made.ino, size=7)
    with pytest.raises(RuntimeError), database.transaction():
        tree.update(made.ino, mode=stat.S_IFREG)
        raise RuntimeError
    assert tree.get(made.ino).size == 7
    assert tree.get(made.ino).mode == made.mode


def test_extended_attributes(tree: Tree, database: Database) -> None:
    made, xattrs = make_file(tree, "a"), Xattrs(database, tree)
    xattrs.put(made.ino, b"user.x", b"1", now_ns=NOW + 5)
    assert (xattrs.find(made.ino, b"user.x"), tree.get(made.ino).ctime_ns) == (b"1", NOW + 5)
    assert xattrs.remove(made.ino, b"user.x", now_ns=NOW)
    assert not xattrs.remove(made.ino, b"user.x", now_ns=NOW)
    assert xattrs.of(made.ino) == {}


def test_an_inode_number_is_never_used_again(tree: Tree) -> None:
    first = make_file(tree, "a")
    tree.unlink(ROOT_INO, "a", now_ns=NOW)
    tree.forget(first.ino)
    assert make_file(tree, "a").ino > first.ino
