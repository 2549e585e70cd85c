"""A database that SQLite gives up, made again from what can be read of it and from the newest copy.

Taken over is what a tree needs: inodes, names, attributes, known remote files and the facts of the folder. Nothing that
deletes is: no pending DELETE, no list of ids to go, no tombstone. A file that was removed and not yet deleted at the
service is shown again, so that nothing goes that somebody may still want (S3). What was to be uploaded is known by its
state, and is scheduled again at the next mount.
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

from remotefs.store.database import PAGE_BYTES, Database
from remotefs.store.pages import Row, Value, newest_pages, page_size, rows_of
from remotefs.store.records import Inode, Remote

_log = logging.getLogger(__name__)
# Page sizes to try where the header does not tell: ours, and SQLite's own, of state folders of earlier versions.
_LIKELY_PAGES = (PAGE_BYTES, 4096)
_FACTS = "facts"
_TEXT, _NUMBER = str | None, int | None
# What may stand in each column.
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
# Those that the table had in its first form.
_FIRST_REMOTE_COLUMNS = 14


@dataclass
class Salvage:
    """Rows by their primary keys, as far as they were found."""

    inodes: dict[int, tuple[Value, ...]] = field(default_factory=dict)
    names: dict[int, tuple[Value, ...]] = field(default_factory=dict)
    xattrs: dict[tuple[int, bytes], tuple[Value, ...]] = field(default_factory=dict)
    remotes: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    facts: Value = None

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.inodes) + len(self.names) + len(self.xattrs) + len(self.remotes)

    def fill_up(self, other: Salvage) -> None:
        """Take what is missing here from another, older one."""
        self.inodes = other.inodes | self.inodes
        self.names = other.names | self.names
        self.xattrs = other.xattrs | self.xattrs
        self.remotes = other.remotes | self.remotes
        self.facts = self.facts if self.facts is not None else other.facts


@dataclass(frozen=True)
class Rebuilt:
    """How a database came to be: from how many rows of the damaged one, and with the help of which copy."""

    rows: int
    copy: Path | None
    damaged: Path


def salvage(database: bytes, log: bytes) -> Salvage:
    """Return what can be read of a database file and of its write-ahead log. Pure."""
    sizes = dict.fromkeys(page_size(database, likely) for likely in _LIKELY_PAGES)
    found = [_sorted_out(rows_of(newest_pages(database, log, size))) for size in sizes]
    return max(found, key=lambda one: one.count)


def _sorted_out(rows: Iterable[Row]) -> Salvage:
    """Tell the tables apart, by the shapes of their rows."""
    found = Salvage()
    for rowid, values in rows:
        match values:
            case _ if rowid is not None and _is_inode((rowid, *values[1:])):
                found.inodes[rowid] = (rowid, *values[1:])
            case (None, int(), str(), int()) if rowid is not None:
                found.names[rowid] = (rowid, *values[1:])
            case (str(file_id), *_) if rowid is None and _has_types(_widened(values), _REMOTE_TYPES):
                found.remotes[file_id] = _widened(values)
            case (int(ino), bytes(name), bytes()) if rowid is None:
                found.xattrs[ino, name] = values
            case (str(key), value) if rowid is None and key == _FACTS:
                found.facts = value
            case _:  # an index, a table that is not taken over, or nonsense
                continue
    return found


def _is_inode(values: tuple[Value, ...]) -> bool:
    """Whether a row can be an inode that has a name; of one that has none, removal is all that is left to do."""
    return _has_types(values, _INODE_TYPES) and Inode._make(values).nlink > 0


def _widened(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """A row of `remote` with the columns that it got later; SQLite writes a row no wider than the table was then."""
    defaults = tuple(Remote._field_defaults.get(column) for column in Remote._fields)
    return values + defaults[len(values) :] if len(values) >= _FIRST_REMOTE_COLUMNS else values


def _has_types(values: tuple[Value, ...], types: Sequence[type | UnionType]) -> bool:
    return len(values) == len(types) and all(isinstance(value, kind) for value, kind in zip(values, types, strict=True))


def rebuild(path: Path, copies: Sequence[Path]) -> Rebuilt:
    """Put a new database in the place of a damaged one, whose files are kept beside it. Raises StateUnusable, OSError.

    `copies` are older copies of it, the newest first. The caller holds the lock of the state folder.
    """
    log = path.with_name(path.name + "-wal")
    found = salvage(_bytes_of(path), _bytes_of(log))
    count = found.count
    copy = next(filter(is_sound, copies), None)
    new = path.with_name(path.name + ".new")
    _remove(new)
    if copy is not None and not count:
        _take_copy(copy, new)
    else:
        if copy is not None:
            found.fill_up(salvage(_bytes_of(copy), b""))
        _write(new, found)
    damaged = _put_aside(path)
    new.replace(path)
    _log.warning("%s: made again from %d of its rows and %s; it is kept in %s", path, count, copy or "no copy", damaged)
    return Rebuilt(count, copy, damaged)


def mend_indexes(path: Path) -> bool:
    """Try to mend a database whose rows are whole, by making its indexes again; return whether it is sound now."""
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
    """Return whether there is no database, or an empty file in its place, which SQLite would take for a new one."""
    return not path.exists() or (path.stat().st_size == 0 and not _bytes_of(path.with_name(path.name + "-wal")))


def is_sound(path: Path) -> bool:
    """Return whether SQLite finds nothing wrong with a database file; false where there is none."""
    return path.is_file() and not damage(path)


def damage(path: Path, *, quick: bool = False) -> list[str]:
    """Return what SQLite finds wrong with a database file, in its words; for a thread, as it reads all of it.

    `quick` does not compare indexes with rows: 0.4 s for 100,000 files, not 1.3.
    """
    check = "quick_check" if quick else "integrity_check"
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            found = [str(line) for (line,) in connection.execute(f"PRAGMA {check}(20)")]
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def _take_copy(copy: Path, new: Path) -> None:
    """As `_write` of all that is in a sound copy, in a fraction of the time."""
    shutil.copyfile(copy, new)
    database = Database(new)
    try:
        with database.transaction():
            database.execute("DELETE FROM intent")
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
        if found.facts is not None:
            _insert(database, "meta", ("key", "value"), [(_FACTS, found.facts)])
    finally:
        database.close()


def _insert(database: Database, table: str, columns: Sequence[str], rows: Iterable[tuple[Value, ...]]) -> None:
    marks = ", ".join("?" * len(columns))
    sql = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - words of this module
    with database.transaction():
        for row in rows:
            database.execute(sql, row)


def _shown_again(remotes: Iterable[tuple[Value, ...]]) -> Iterable[tuple[Value, ...]]:
    """No tombstones, and nothing that counts as missed: the service's listings say what is gone."""
    cleared = {"tombstoned": 0, "missed": 0}
    for remote in remotes:
        yield tuple(cleared.get(name, value) for name, value in zip(Remote._fields, remote, strict=True))


def _put_aside(path: Path) -> Path:
    """Move a database and what belongs to it into a folder of its own: it may still tell something to somebody."""
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
