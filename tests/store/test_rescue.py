"""A damaged database: what is read of it page by page, and the new one that is made of that."""

from __future__ import annotations

import random
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs.errors import StateUnusable
from remotefs.store.database import Database
from remotefs.store.meta import Facts, Meta
from remotefs.store.pages import newest_pages, page_size, rows_of
from remotefs.store.records import NEVER_NS, ROOT_INO, ContentState, IntentKind, Origin, Remote
from remotefs.store.rescue import damage, is_sound, mend_indexes, rebuild, salvage
from remotefs.store.store import Store

FILES = 400


def populate(path: Path, files: int = FILES) -> None:
    """A tree with more rows than a page holds, long names and attributes, a tombstone and a pending DELETE."""
    database = Database(path)
    store = Store.of(database, root_uid=1, root_gid=2)
    folder = store.tree.create(ROOT_INO, "d", stat.S_IFDIR | 0o755, uid=1, gid=2, now_ns=5)
    for number in range(files):
        file_id = f"file_{number:06d}"
        store.remotes.add(Remote(file_id, f"d\uff0fn{number}", number, "text/plain", number, None, True, Origin.OURS))
        inode = store.tree.create(
            folder.ino, f"n{number}" + "é" * (number % 90), stat.S_IFREG | 0o644, uid=1, gid=2, now_ns=5,
            size=number, file_id=file_id,
        )  # fmt: skip
        store.remotes.show(file_id, inode.ino)
    store.xattrs.put(folder.ino, b"user.long", bytes(range(256)) * 30, now_ns=5)
    store.remotes.tombstone("file_000001")
    store.journal.put_delete("file_000001", due_ns=NEVER_NS)
    store.journal.put(IntentKind.UPLOAD, 5, due_ns=7, replaces=["file_000002"])
    store.meta.record(organization="org_1", listed_ns=9)
    database.close()


def names_in(path: Path) -> set[str]:
    database = Database(path)
    store = Store.of(database, root_uid=1, root_gid=2)
    folder = store.tree.resolve("d")
    names = {entry.name for entry in store.tree.entries(folder.ino, limit=10_000)} if folder else set()
    database.close()
    return names


@given(
    st.lists(
        st.tuples(
            st.integers(-(1 << 63), (1 << 63) - 1), st.none() | st.floats(allow_nan=False), st.text(max_size=3000),
            st.binary(max_size=3000), st.sampled_from([0, 1, 255, -129, 1 << 40]),
        ),
        max_size=30,
    ),
    st.sampled_from([512, 1024, 4096]),
)  # fmt: skip
@settings(max_examples=40)
def test_every_row_of_a_sound_file_is_read_as_sqlite_reads_it(rows: list[tuple[object, ...]], size: int) -> None:
    """In tables with a rowid and without, with values that take overflow pages."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"PRAGMA page_size = {size}")
    connection.execute("CREATE TABLE a (n INTEGER, r REAL, t TEXT, b BLOB, s INTEGER, k TEXT)")
    connection.execute(
        "CREATE TABLE w (k INTEGER, r REAL, t TEXT, b BLOB, s INTEGER, PRIMARY KEY (k, t)) WITHOUT ROWID"
    )
    for row in rows:
        connection.execute("INSERT INTO a VALUES (?, ?, ?, ?, ?, 'a')", row)
        connection.execute("INSERT OR IGNORE INTO w VALUES (?, ?, ?, ?, ?)", row)
    connection.commit()
    file = connection.serialize()
    read = list(rows_of(newest_pages(file, b"", page_size(file, 1))))
    of_a = {(row.rowid, *_typed(row.values)) for row in read if len(row.values) == 6}
    assert of_a == set(connection.execute("SELECT rowid, * FROM a"))
    # The columns of a primary key come first in such a table.
    of_w = {_typed((k, r, t, b, s)) for k, t, r, b, s in (row.values for row in read if row.rowid is None)}
    assert of_w == set(connection.execute("SELECT * FROM w"))
    connection.close()


def _typed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """SQLite keeps a whole REAL as an integer."""
    return tuple(float(v) if i == 1 and v is not None else v for i, v in enumerate(values))


@given(st.binary(min_size=200, max_size=4096), st.integers(0, 1 << 30))
def test_rubbish_is_no_row_and_no_error(rubbish: bytes, seed: int) -> None:
    pages = newest_pages(rubbish, rubbish[::-1], random.Random(seed).choice([512, 1024]))
    assert list(rows_of(pages)) == []


def test_a_sound_database_is_salvaged_whole_but_for_what_deletes(tmp_path: Path) -> None:
    populate(tmp_path / "state.db")
    found = salvage((tmp_path / "state.db").read_bytes(), b"")
    assert (len(found.inodes), len(found.names), len(found.remotes)) == (FILES + 2, FILES + 1, FILES)
    assert [row[2] for row in found.xattrs.values()] == [bytes(range(256)) * 30]
    rebuilt = rebuild(tmp_path / "state.db", [])
    assert (rebuilt.rows, rebuilt.copy, is_sound(tmp_path / "state.db")) == (found.count, None, True)
    assert (rebuilt.damaged / "state.db").exists()
    database = Database(tmp_path / "state.db")
    store = Store.of(database, root_uid=1, root_gid=2)
    assert store.journal.pending() == []
    assert store.remotes.tombstoned() == []
    assert store.meta.facts.organization == "org_1"
    assert store.tree.resolve("d/n3" + "é" * 3) is not None
    database.close()


def overwritten(data: bytearray) -> None:
    data[:100] = b"\xa5" * 100


def truncated(data: bytearray) -> None:
    del data[len(data) // 2 :]


def flipped(data: bytearray) -> None:
    for seed in range(3):
        at = random.Random(seed).randrange(100, len(data))
        data[at] ^= 1 << seed


@pytest.mark.parametrize(("spoil", "least"), [(overwritten, FILES), (truncated, FILES // 5), (flipped, FILES - 60)])
def test_of_a_damaged_file_most_names_are_saved(tmp_path: Path, spoil: object, least: int) -> None:
    path = tmp_path / "state.db"
    populate(path)
    data = bytearray(path.read_bytes())
    assert callable(spoil)
    spoil(data)
    path.write_bytes(data)
    assert len(salvage(bytes(data), b"").names) >= least
    rebuild(path, [])
    assert damage(path) == []
    assert len(names_in(path)) >= least - 100


def test_what_the_damaged_file_lacks_comes_from_the_newest_sound_copy(tmp_path: Path) -> None:
    path, old, broken = tmp_path / "state.db", tmp_path / "old.db", tmp_path / "broken.db"
    populate(path)
    shutil.copy(path, old)
    broken.write_bytes(b"no database")
    path.write_bytes(path.read_bytes()[:1000])
    rebuilt = rebuild(path, [broken, old])
    assert rebuilt.copy == old
    assert len(names_in(path)) == FILES


def test_a_copy_alone_gives_the_tree_back_and_nothing_that_deletes(tmp_path: Path) -> None:
    populate(tmp_path / "copy.db")
    rebuilt = rebuild(tmp_path / "state.db", [tmp_path / "copy.db"])
    assert (rebuilt.rows, rebuilt.copy) == (0, tmp_path / "copy.db")
    assert len(names_in(tmp_path / "state.db")) == FILES
    database = Database(tmp_path / "state.db")
    store = Store.of(database, root_uid=1, root_gid=2)
    assert (store.journal.pending(), store.remotes.tombstoned()) == ([], [])
    database.close()


def spoil_facts(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE meta SET value = replace(CAST(value AS TEXT), '\"org_1\"', '\"org_' || char(1))")
    connection.close()


def facts_after_rebuilding(path: Path, copies: list[Path]) -> Facts:
    rebuild(path, copies)
    database = Database(path)
    try:
        return Meta(database).facts
    finally:
        database.close()


def test_s1_damaged_facts_are_damage_and_no_copy_with_them_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    populate(path, files=5)
    spoil_facts(path)
    assert [line for line in damage(path) if "facts" in line]
    assert not is_sound(path)
    assert not mend_indexes(path)
    database = Database(path)
    with pytest.raises(StateUnusable, match=r"check --repair --state-dir"):
        Meta(database)
    database.close()


def test_s1_lost_facts_come_from_the_copy_or_from_the_file_of_the_account(tmp_path: Path) -> None:
    path, copy = tmp_path / "state.db", tmp_path / "copy.db"
    populate(path, files=5)
    shutil.copy(path, copy)
    spoil_facts(path)
    assert facts_after_rebuilding(path, [copy]).organization == "org_1"
    spoil_facts(path)
    spoil_facts(copy)
    database = Database(tmp_path / "other.db")
    meta = Meta(database)
    meta.record(organization="org_2", base_url="https://files.test")
    meta.note_account()
    database.close()
    facts = facts_after_rebuilding(path, [copy])
    assert (facts.organization, facts.base_url, facts.owner_lost) == ("org_2", "https://files.test", False)
    path.unlink()
    database = Database(path)
    assert Meta(database).facts.organization == "org_2", "a new database of an old folder"
    database.close()


def test_s1_where_nothing_says_whose_a_rebuilt_folder_is_it_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    populate(path, files=5)
    spoil_facts(path)
    facts = facts_after_rebuilding(path, [])
    assert (facts.organization, facts.owner_lost) == (None, True)


def test_where_only_an_index_is_damaged_it_is_made_again(tmp_path: Path) -> None:
    """It lacks a row."""
    path = tmp_path / "state.db"
    populate(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    row = connection.execute("SELECT * FROM sqlite_schema WHERE name = 'dentry_ino'").fetchone()
    connection.execute("DELETE FROM sqlite_schema WHERE name = 'dentry_ino'")
    connection.commit()
    connection.close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO dentry (parent, name, ino) VALUES (1, 'late', 3)")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    assert damage(path)
    assert mend_indexes(path)
    assert is_sound(path)


def test_what_is_no_database_is_not_mended_by_its_indexes(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"something else entirely" * 500)
    assert damage(path)
    assert not mend_indexes(path)


def test_pages_of_the_log_count_and_frames_behind_a_damaged_one_too(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    populate(path, files=5)
    database = Database(path)
    store = Store.of(database, root_uid=1, root_gid=2)
    for number in range(20):
        store.tree.create(
            ROOT_INO, f"late{number}", stat.S_IFREG | 0o644, uid=1, gid=2, now_ns=5, state=ContentState.CLOSED
        )
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("state.db", "state.db-wal"):
        shutil.copy(tmp_path / name, killed)
    database.close()
    log = bytearray((killed / "state.db-wal").read_bytes())
    log[len(log) // 2] ^= 0xFF
    (killed / "state.db-wal").write_bytes(log)
    found = salvage((killed / "state.db").read_bytes(), bytes(log))
    assert {str(row[2]) for row in found.names.values()} >= {f"late{number}" for number in range(20)}
    # SQLite itself stops at the damage, without an error; that it did is seen from what follows there.
    opened = Database(killed / "state.db")
    (count,) = opened.one("SELECT count(*) FROM dentry") or (0,)
    assert count < 26
    assert opened.lost_frames > 0
    assert len(list(killed.glob("damaged-*-wal"))) == 1
    opened.close()


def test_after_a_kill_no_frame_of_the_log_is_lost(tmp_path: Path) -> None:
    populate(tmp_path / "first.db")
    database = Database(tmp_path / "first.db")
    with database.transaction():
        database.execute("INSERT INTO meta VALUES ('k', 1)")
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"first.db{suffix}", tmp_path / f"second.db{suffix}")
    database.close()
    second = Database(tmp_path / "second.db")
    assert (second.was_left_open, second.lost_frames) == (True, 0)
    second.close()
    third = Database(tmp_path / "second.db")
    assert (third.was_left_open, third.lost_frames) == (False, 0)
    third.close()
