"""A short look at a database of which nothing is changed, whether a mount uses it or not: for `remotefs doctor`."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import msgspec

from remotefs.errors import StateUnusable
from remotefs.store.schema import MIGRATIONS

# SQLite asks after this many of its own steps whether to go on.
_STEPS = 10_000
_TABLES = ("inode", "dentry", "remote", "intent", "xattr", "renamed")


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """What a short look shows: `fault` is None where none was found, `whole` says whether all pages were looked at.

    `form` is the number of migrations that the database has had, `newest_form` how many this release knows.
    """

    form: int
    newest_form: int = len(MIGRATIONS)
    bytes: int = 0
    fault: str | None = None
    whole: bool = True


def glance(path: Path, *, seconds: float) -> Glance:
    """Return what `seconds` seconds show of a database. Raises StateUnusable where it cannot be read."""
    until = time.monotonic() + seconds
    try:
        with closing(_reading(path)) as connection:
            (form,) = connection.execute("PRAGMA user_version").fetchone()
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            fault, whole = _quick_check(connection)
            return Glance(form=form, bytes=path.stat().st_size, fault=fault, whole=whole)
    except (sqlite3.Error, OSError) as error:
        raise StateUnusable(f"{path}: {error}") from error


def rows_of(path: Path) -> dict[str, int]:
    """Return how many rows each table has; for a process that may take its time. Raises StateUnusable."""
    try:
        with closing(_reading(path)) as connection:
            return {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our tables
                for table in _TABLES
            }
    except (sqlite3.Error, OSError) as error:
        raise StateUnusable(f"{path}: {error}") from error


def names_of(path: Path) -> list[str]:
    """Return the names of the tree, each once. Raises StateUnusable."""
    try:
        with closing(_reading(path)) as connection:
            return [name for (name,) in connection.execute("SELECT DISTINCT name FROM dentry")]
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise StateUnusable(f"{path}: {error}") from error


def _quick_check(connection: sqlite3.Connection) -> tuple[str | None, bool]:
    """Return the first fault, and whether all was looked at before the time was over."""
    try:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return None, False
        raise
    return (None if said == "ok" else str(said)), True


def _reading(path: Path) -> sqlite3.Connection:
    """Return a connection that writes nothing: without a log none is made, so that no trace is left."""
    log = path.with_name(f"{path.name}-wal")
    still = "&immutable=1" if not log.exists() or log.stat().st_size == 0 else ""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro{still}", uri=True, timeout=0.0)
