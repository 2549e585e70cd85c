"""A8: a change of the database's format, its copy for the way back, and databases of newer versions."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from remotefs import __version__
from remotefs.errors import LocalError, OutOfSpace, StateUnusable
from remotefs.store.copies import FORMER_KEPT_DAYS, Copies
from remotefs.store.database import Database
from remotefs.store.migration import FORMAT, Upgrade, format_of
from remotefs.store.rescue import is_sound, rebuild
from remotefs.store.schema import MIGRATIONS

OLD = 3


def write_old(path: Path, *, version: int = OLD) -> Path:
    """Write a database as the version of that format left it, with one row."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for script in MIGRATIONS[:version]:
            connection.executescript(script)
        connection.execute(
            "INSERT INTO inode VALUES (7, 33188, 0, 0, 1, 0, 5, 0, 0, 0, NULL, NULL, 0, 0, 1, NULL, 'file_x', NULL, NULL, 0)"
        )
        connection.execute(f"PRAGMA user_version = {version}")
    return path


def newer(path: Path, *, writer: str | None = "9.8.7") -> Path:
    """Write a database of a format that this version does not know."""
    with closing(sqlite3.connect(path)) as connection, connection:
        if writer is not None:
            connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value, added)")
            connection.execute("INSERT INTO meta VALUES ('written_by', ?, 1)", (writer,))
        connection.execute(f"PRAGMA user_version = {FORMAT + 2}")
    return path


def test_an_older_database_is_copied_as_it_was_and_then_changed(tmp_path: Path) -> None:
    path = write_old(tmp_path / "state.db")
    with closing(Database(path)) as database:
        assert database.upgrade == Upgrade(OLD, FORMAT, tmp_path / "copies" / f"format-{OLD}.db")
        assert database.all("SELECT ino, file_id FROM inode") == [(7, "file_x")]
        assert database.all("SELECT value FROM meta WHERE key = 'written_by'") == [(__version__,)]
    copy = tmp_path / "copies" / f"format-{OLD}.db"
    assert (format_of(path), format_of(copy), is_sound(copy)) == (FORMAT, OLD, True)
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT ino, file_id, spelled_id FROM inode").fetchall() == [(7, "file_x", None)]
    assert sorted(os.listdir(copy.parent)) == [copy.name]


@pytest.mark.parametrize("again", [False, True])
def test_a_database_of_this_version_and_a_new_one_are_not_copied(tmp_path: Path, again: bool) -> None:
    if again:
        Database(tmp_path / "state.db").close()
    with closing(Database(tmp_path / "state.db")) as database:
        assert database.upgrade is None
    assert not (tmp_path / "copies").exists()


def test_the_copy_put_back_in_its_place_is_the_database_from_before(tmp_path: Path) -> None:
    path = write_old(tmp_path / "state.db")
    before = list(_rows(path))
    Database(path).close()
    (tmp_path / "copies" / f"format-{OLD}.db").replace(path)
    assert (format_of(path), list(_rows(path))) == (OLD, before)
    Database(path).close()
    assert format_of(path) == FORMAT


def _rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_old(tmp_path / "state.db")
    before = path.read_bytes()
    full = os.statvfs_result((4096, 4096, 1000, 1, 1, 10, 10, 10, 0, 255))
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _: full)
        with pytest.raises(
            OutOfSpace, match=r"has no room for the copy; make room, nothing was changed \(1 MiB are needed"
        ):
            Database(path)
    assert path.read_bytes() == before
    assert not (tmp_path / "copies").exists()
    Database(path).close()
    assert format_of(path) == FORMAT


def test_a_copy_that_cannot_be_written_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = write_old(tmp_path / "state.db")
    (tmp_path / "copies").write_text("in the way")
    with pytest.raises(LocalError, match=f"cannot be written: {os.strerror(errno.EEXIST)}; the database is as it was"):
        Database(path)
    assert format_of(path) == OLD


@pytest.mark.parametrize(
    ("writer", "said"),
    [("9.8.7", f"(9.8.7, its format is {FORMAT + 2}; {__version__} reads up to {FORMAT})"), (None, "(its format"), ("\x1b[2J", "(its format")],
)  # fmt: skip
def test_a_newer_one_is_refused_with_its_version(tmp_path: Path, writer: str | None, said: str) -> None:
    path = newer(tmp_path / "state.db", writer=writer)
    with pytest.raises(StateUnusable) as caught:
        Database(path)
    assert "was written by a newer remotefs " + said in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "update remotefs, or use another --state-dir" in str(caught.value)
    assert "to go back" not in str(caught.value)
    assert format_of(path) == FORMAT + 2


def test_a_newer_one_with_a_copy_from_before_names_the_way_back(tmp_path: Path) -> None:
    path = newer(tmp_path / "state.db")
    (tmp_path / "copies").mkdir()
    for version in (1, OLD, FORMAT + 1):
        (tmp_path / "copies" / f"format-{version}.db").touch()
    with pytest.raises(StateUnusable, match=rf"to go back, put \S+/copies/format-{OLD}\.db in its place"):
        Database(path)


def test_a_rebuilt_database_takes_no_copy_of_a_newer_version(tmp_path: Path) -> None:
    ours = write_old(tmp_path / "ours.db")
    theirs = newer(tmp_path / "theirs.db")
    assert rebuild(tmp_path / "state.db", [theirs, ours]).copy == ours
    with closing(Database(tmp_path / "state.db")) as database:
        assert database.all("SELECT ino FROM inode WHERE ino = 7") == [(7,)]


def test_copies_from_before_go_after_their_time(tmp_path: Path) -> None:
    path = write_old(tmp_path / "state.db")
    Database(path).close()
    copies = Copies(path, tmp_path / "copies", lambda _: True)
    (former,) = (tmp_path / "copies").iterdir()
    assert copies.newest_first() == []
    copies.drop_former()
    assert former.exists()
    long_ago = former.stat().st_mtime - (FORMER_KEPT_DAYS + 1) * 86_400
    os.utime(former, (long_ago, long_ago))
    copies.drop_former()
    assert not former.exists()
