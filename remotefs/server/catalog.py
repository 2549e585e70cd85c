"""The rows of a store: one row for each file, in SQLite. Safe with several threads and processes.

Pages of the listing are read by keyset: a cursor is the (time, id) of a row, and the next page begins beside it in that
order. So a file that is added or deleted between two pages shifts nothing, and each page costs the same.

Invariant: `created_us` grows strictly with every row that this store adds, so that newest first is the reverse order of
the commits. The id breaks the ties that rows from elsewhere may bring.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from remotefs.server.errors import ServerError, bad_request
from remotefs.server.queries import Cursor, ListQuery, Page
from remotefs.server.records import FileRecord

_SCHEMA_VERSION = 1
# How long a commit waits for that of another process, at most.
_BUSY_S = 30.0
_COLUMNS = "id, created_us, filename, mime_type, size_bytes, downloadable, expires_us, session_id"
# The triggers keep `usage` equal to the sum of all sizes, so that the check of the quota reads one row.
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    id TEXT PRIMARY KEY, created_us INTEGER NOT NULL, filename TEXT NOT NULL, mime_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, downloadable INTEGER NOT NULL, expires_us INTEGER, session_id TEXT
) WITHOUT ROWID;
CREATE INDEX files_newest ON files (created_us, id);
CREATE INDEX files_expiry ON files (expires_us) WHERE expires_us IS NOT NULL;
CREATE TABLE usage (bytes INTEGER NOT NULL);
INSERT INTO usage VALUES (0);
CREATE TRIGGER files_added AFTER INSERT ON files BEGIN UPDATE usage SET bytes = bytes + new.size_bytes; END;
CREATE TRIGGER files_removed AFTER DELETE ON files BEGIN UPDATE usage SET bytes = bytes - old.size_bytes; END;
PRAGMA user_version = 1;
"""


class Catalog:
    """All rows of a store. Reads have a connection of their own, so they never wait for a commit (WAL mode)."""

    def __init__(self, path: Path) -> None:
        _make_private(path)
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._writer = _connect(path)
        with self._transaction():
            _prepare(self._writer, path)
        self._reader = _connect(path)

    def close(self) -> None:
        """Close both connections as soon as no thread uses them. A call after that raises sqlite3.ProgrammingError."""
        with self._reading:
            self._reader.close()
        with self._writing:
            self._writer.close()

    def constant(self, name: str, proposed: str) -> str:
        """Return the value kept under `name`. The first value that was ever proposed stays."""
        with self._transaction():
            self._writer.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, proposed))
        return str(self._rows("SELECT value FROM meta WHERE name = ?", (name,))[0][0])

    def used_bytes(self) -> int:
        """Return the sum of the sizes of all files, in bytes."""
        return int(self._rows("SELECT bytes FROM usage", ())[0][0])

    def add(self, record: FileRecord, quota_bytes: int) -> FileRecord:
        """Commit a row and return the record with the creation time that it was given.

        Raises ApiError (400 `storage_quota_exceeded`) if all files together would exceed `quota_bytes`.
        """
        with self._transaction():
            row = self._writer.execute("SELECT bytes, (SELECT max(created_us) FROM files) FROM usage").fetchone()
            if row[0] + record.size_bytes > quota_bytes:
                raise bad_request(
                    f"The storage quota of {quota_bytes} bytes is used up; delete files first", "storage_quota_exceeded"
                )
            # Two files in one microsecond, or a clock that was set back: one more than the newest row keeps the order.
            kept = replace(record, created_us=max(record.created_us, (row[1] or 0) + 1))
            self._writer.execute(f"INSERT INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(kept))  # noqa: S608 -- constant text
        return kept

    def get(self, file_id: str) -> FileRecord | None:
        """Return the record of an id, or None."""
        return next(iter(self._records("WHERE id = ?", (file_id,))), None)

    def remove(self, file_id: str) -> bool:
        """Delete the row of an id and return whether there was one."""
        with self._transaction():
            return self._writer.execute("DELETE FROM files WHERE id = ?", (file_id,)).rowcount == 1

    def expired_before(self, moment_us: int, limit: int) -> Sequence[str]:
        """Return at most `limit` ids that expired before `moment_us` (microseconds since the epoch)."""
        rows = self._rows("SELECT id FROM files WHERE expires_us < ? LIMIT ?", (moment_us, limit))
        return [row[0] for row in rows]

    def missing(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that have no row."""
        return set(ids) - {record.id for record in self._records(f"WHERE id IN ({_marks(ids)})", tuple(ids))}

    def by_ids(self, ids: Sequence[str]) -> Page:
        """Return the files among `ids` that exist, newest first."""
        found = self._records(f"WHERE id IN ({_marks(ids)}) ORDER BY created_us DESC, id DESC", tuple(ids))
        return Page(found, older=False, has_more=False)

    def after(self, cursor: Cursor | None, limit: int) -> Page:
        """Return the `limit` newest files that are older than `cursor`; None: the newest of all."""
        where, values = ("", ()) if cursor is None else ("WHERE (created_us, id) < (?, ?)", tuple(cursor))
        # One row more than asked for, to know whether more follow.
        found = self._records(f"{where} ORDER BY created_us DESC, id DESC LIMIT ?", (*values, limit + 1))
        more = len(found) > limit
        return Page(found[:limit], older=more, has_more=more)

    def before(self, cursor: Cursor, limit: int) -> Page:
        """Return the `limit` files next newer than `cursor`, newest first."""
        text = "WHERE (created_us, id) > (?, ?) ORDER BY created_us, id LIMIT ?"
        found = self._records(text, (*cursor, limit + 1))
        return Page(found[:limit][::-1], older=True, has_more=len(found) > limit)

    def _records(self, clause: str, values: tuple[object, ...]) -> list[FileRecord]:
        rows = self._rows(f"SELECT {_COLUMNS} FROM files {clause}", values)  # noqa: S608 -- clauses are constants of this class
        return [_record(*row) for row in rows]

    def _rows(self, text: str, values: tuple[object, ...]) -> list[Any]:
        with self._reading:
            return self._reader.execute(text, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")


def _record(
    file_id: str,
    created_us: int,
    filename: str,
    mime_type: str,
    size_bytes: int,
    downloadable: int,
    expires_us: int | None,
    session_id: str | None,
) -> FileRecord:
    return FileRecord(file_id, created_us, filename, mime_type, size_bytes, bool(downloadable), expires_us, session_id)


def resolve(catalog: Catalog, query: ListQuery, page: Cursor | None) -> Page:
    """Return the page that `query` asks for. `page` is the place that its page token names.

    Raises ApiError (400) if `before_id` or `after_id` is not the id of a file.
    """
    if query.ids:
        return catalog.by_ids(query.ids)
    if query.before_id is not None:
        return catalog.before(_cursor_at(catalog, "before_id", query.before_id), query.limit)
    if query.after_id is not None:
        return catalog.after(_cursor_at(catalog, "after_id", query.after_id), query.limit)
    return catalog.after(page, query.limit)


def _cursor_at(catalog: Catalog, parameter: str, file_id: str) -> Cursor:
    record = catalog.get(file_id)
    if record is None:
        raise bad_request(f"{parameter}: no file {file_id}")
    return Cursor(record.created_us, record.id)


def _make_private(path: Path) -> None:
    """Make the database a file that only its owner can read, before SQLite opens it.

    SQLite gives its -wal and -shm the mode of the database. Those of an older version are put right.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with suppress(FileNotFoundError):
            each.chmod(0o600)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    with closing(connection.execute("PRAGMA user_version")) as cursor:
        version = cursor.fetchone()[0]
    if version == 0:
        for statement in _statements(_SCHEMA):
            connection.execute(statement)
    elif version != _SCHEMA_VERSION:
        raise ServerError(
            f"{path} has schema version {version}; this remotefs knows {_SCHEMA_VERSION}: use a newer one"
        )


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, because `executescript` would commit the transaction around it."""
    gathered = ""
    # A trigger has semicolons inside: SQLite itself says where a statement ends.
    for piece in script.split(";"):
        gathered += piece + ";"
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
