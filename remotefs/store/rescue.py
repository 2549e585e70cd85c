"""The rebuilding of a database that SQLite gives up, from the rows that can still be read and from the newest copy.

    state.db, state.db-wal ─ pages.rows_of ─► rows ─ by their columns ─► Salvage ─┐
                                                                                  ├─► state.db.new ─► state.db
    the newest sound copy ─ rows that the database lacks ─────────────────────────┘

The damaged files are kept in a folder beside the new database.

The rows that a tree needs are taken over: inodes, names, attributes, known remote files and the facts of the folder. No
row that deletes is: neither a pending DELETE, nor a list of ids to delete, nor a tombstone. A file that was removed
here and not yet deleted at the service is shown again, so that no file is lost that somebody may still want (S3).
Pending uploads follow from the state of their inodes, and the next mount schedules them again.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType

import msgspec

from remotefs.store.database import PAGE_BYTES, Database
from remotefs.store.meta import facts_of, facts_without_row
from remotefs.store.migration import FORMAT, format_of
from remotefs.store.pages import Row, Value, newest_pages, page_size, rows_of
from remotefs.store.records import Inode, Remote

_log = logging.getLogger(__name__)
# The page sizes to try if the header is damaged: ours, and SQLite's default in state folders of earlier versions.
_LIKELY_PAGES = (PAGE_BYTES, 4096)
_FACTS = "facts"
_TEXT, _NUMBER = str | None, int | None
# The types that a column may have. They tell the rows of a table from all others.
_INODE_TYPES = tuple(
    {"target": bytes | None, "parent": _NUMBER, "staged_gen": _NUMBER, "replaced_by": _NUMBER, "file_id": _TEXT,
     "conflict_id": _TEXT}.get(column, int)
    for column in Inode._fields
)  # fmt: skip
_REMOTE_TYPES = tuple(
    {"file_id": str, "filename": str, "mime_type": str, "digest": _TEXT, "asked": _TEXT, "ino": _NUMBER,
     "expires_ns": _NUMBER, "foreseen": _NUMBER, "listed_size": _NUMBER}.get(column, int)
    for column in Remote._fields
)  # fmt: skip
# The number of columns that `remote` had in its first form.
_FIRST_REMOTE_COLUMNS = 14


@dataclass
class Salvage:
    """The rows that were found, by their primary keys."""

    inodes: dict[int, tuple[Value, ...]] = field(default_factory=dict)
    names: dict[int, tuple[Value, ...]] = field(default_factory=dict)
    xattrs: dict[tuple[int, bytes], tuple[Value, ...]] = field(default_factory=dict)
    remotes: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    facts: Value = None

    @property
    def count(self) -> int:
        """Return the number of rows, without the facts."""
        return len(self.inodes) + len(self.names) + len(self.xattrs) + len(self.remotes)

    def fill_up(self, other: Salvage) -> None:
        """Take the rows that are missing here from an older salvage."""
        self.inodes = other.inodes | self.inodes
        self.names = other.names | self.names
        self.xattrs = other.xattrs | self.xattrs
        self.remotes = other.remotes | self.remotes
        self.facts = self.facts if self.facts is not None else other.facts


@dataclass(frozen=True)
class Rebuilt:
    """The sources of a rebuilt database: the number of rows of the damaged one, the copy, and the damaged files."""

    rows: int
    copy: Path | None
    damaged: Path


def salvage(database: bytes, log: bytes) -> Salvage:
    """Return the rows that can be read from a database file and its write-ahead log. Pure."""
    # With a wrong page size hardly any row can be read, so the size that gives the most rows is the right one.
    sizes = dict.fromkeys(page_size(database, likely) for likely in _LIKELY_PAGES)
    found = [_sorted_out(rows_of(newest_pages(database, log, size))) for size in sizes]
    return max(found, key=lambda one: one.count)


def _sorted_out(rows: Iterable[Row]) -> Salvage:
    """Return the rows of the tables that are taken over, told apart by the number and types of their columns."""
    found = Salvage()
    for rowid, values in rows:
        match values:
            # The first column of `inode` and `dentry` is the rowid itself, and SQLite stores NULL in its place.
            case _ if rowid is not None and _is_inode((rowid, *values[1:])):
                found.inodes[rowid] = (rowid, *values[1:])
            case (None, int(), str(), int()) if rowid is not None:
                found.names[rowid] = (rowid, *values[1:])
            case (str(file_id), *_) if rowid is None and _has_types(_widened(values), _REMOTE_TYPES):
                found.remotes[file_id] = _widened(values)
            case (int(ino), bytes(name), bytes()) if rowid is None:
                found.xattrs[ino, name] = values
            case (str(key), value) if rowid is None and key == _FACTS and facts_of(value) is not None:
                found.facts = value
            case _:  # an index, a table that is not taken over, or rubbish
                continue
    return found


def _is_inode(values: tuple[Value, ...]) -> bool:
    """Return whether a row can be an inode with a name. One without a name was only to be removed."""
    return _has_types(values, _INODE_TYPES) and Inode._make(values).nlink > 0


def _widened(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return a row of `remote` with the columns that later migrations added.

    SQLite does not rewrite rows when a table gets a column: an old row is as narrow as the table was then.
    """
    defaults = tuple(Remote._field_defaults.get(column) for column in Remote._fields)
    return values + defaults[len(values) :] if len(values) >= _FIRST_REMOTE_COLUMNS else values


def _has_types(values: tuple[Value, ...], types: Sequence[type | UnionType]) -> bool:
    return len(values) == len(types) and all(isinstance(value, kind) for value, kind in zip(values, types, strict=True))


def rebuild(path: Path, copies: Sequence[Path]) -> Rebuilt:
    """Put a new database in the place of a damaged one, keep the damaged files beside it, and return the sources.

    `copies` are older copies of it, the newest first; those that a newer version of remotefs wrote are left alone. The
    caller holds the lock of the state folder. Raises StateUnusable, OSError.
    """
    log = path.with_name(path.name + "-wal")
    found = salvage(_bytes_of(path), _bytes_of(log))
    count = found.count
    copy = next((copy for copy in copies if format_of(copy) <= FORMAT and is_sound(copy)), None)
    new = path.with_name(path.name + ".new")
    _remove(new)
    # Nothing to merge: then copying the file and removing a few rows is faster than inserting every row.
    if copy is not None and not count:
        _take_copy(copy, new)
    else:
        if copy is not None:
            found.fill_up(salvage(_bytes_of(copy), b""))
        _write(new, found)
    damaged = _put_aside(path)
    new.replace(path)
    _log.warning("%s: rebuilt from %d of its rows and %s; it is kept in %s", path, count, copy or "no copy", damaged)
    return Rebuilt(count, copy, damaged)


def mend_indexes(path: Path) -> bool:
    """Rebuild the indexes of a database, which repairs it if its rows are whole; return whether it is sound now."""
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("REINDEX")
        finally:
            connection.close()
    except (sqlite3.Error, ValueError):
        return False
    return is_sound(path)


def is_missing(path: Path) -> bool:
    """Return whether there is no database, or only an empty file, which SQLite would take for a new database."""
    return not path.exists() or (path.stat().st_size == 0 and not _bytes_of(path.with_name(path.name + "-wal")))


def is_sound(path: Path) -> bool:
    """Return whether SQLite finds nothing wrong with a database file. False if there is none."""
    return path.is_file() and not damage(path)


def damage(path: Path, *, quick: bool = False) -> list[str]:
    """Return the faults of a database file, in SQLite's words where it finds them; for a thread: it reads all of it.

    `quick` does not compare indexes with rows and takes 0.4 s for 100,000 files instead of 1.3 s.
    """
    check = "quick_check" if quick else "integrity_check"
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            found = [str(line) for (line,) in connection.execute(f"PRAGMA {check}(20)")]
            facts = connection.execute("SELECT value FROM meta WHERE key = ?", (_FACTS,)).fetchone()
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        return [str(error)]
    if found == ["ok"]:
        found = []
    if facts is not None and facts_of(facts[0]) is None:
        found.append("the facts of the state folder cannot be read")
    return found


def _take_copy(copy: Path, new: Path) -> None:
    """Write the rows of a sound copy to `new`, with the result of `_write` in a fraction of its time."""
    shutil.copyfile(copy, new)
    database = Database(new)
    try:
        with database.transaction():
            for table in ("intent", "renamed", "followed"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - words of this module
            database.execute("DELETE FROM inode WHERE nlink <= 0")
            database.execute("UPDATE remote SET tombstoned = 0, missed = 0 WHERE tombstoned OR missed")
    finally:
        database.close()


def _write(path: Path, found: Salvage) -> None:
    database = Database(path)
    try:
        for table, columns, rows in (
            ("inode", Inode._fields, found.inodes.values()),
            ("dentry", ("cookie", "parent", "name", "ino"), found.names.values()),
            ("xattr", ("ino", "name", "value"), found.xattrs.values()),
            ("remote", Remote._fields, _shown_again(found.remotes.values())),
        ):
            _insert(database, table, columns, rows)
        facts = found.facts
        if facts is None:
            # Without them the folder would belong to whoever answers first (S1).
            facts = msgspec.json.encode(facts_without_row(path))
        _insert(database, "meta", ("key", "value"), [(_FACTS, facts)])
    finally:
        database.close()


def _insert(database: Database, table: str, columns: Sequence[str], rows: Iterable[tuple[Value, ...]]) -> None:
    # OR IGNORE: a freed page may hold an older row that contradicts another, two inodes of one name for instance.
    marks = ", ".join("?" * len(columns))
    sql = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - words of this module
    with database.transaction():
        for row in rows:
            database.execute(sql, row)


def _shown_again(remotes: Iterable[tuple[Value, ...]]) -> Iterable[tuple[Value, ...]]:
    """Yield the rows of `remote` without tombstones and misses: the service's listings will show what is gone."""
    cleared = {"tombstoned": 0, "missed": 0}
    for remote in remotes:
        yield tuple(cleared.get(name, value) for name, value in zip(Remote._fields, remote, strict=True))


def _put_aside(path: Path) -> Path:
    """Move a database and its log into a folder of their own, for a later look, and return the folder."""
    folder = path.with_name(f"damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    folder.mkdir(mode=0o700, exist_ok=True)
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            shutil.move(file, folder / file.name)
    return folder


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
