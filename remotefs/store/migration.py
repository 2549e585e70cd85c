"""Brings a database to the format of this version, after a copy for the way back.

    state.db, format 3 ── VACUUM INTO ──► copies/format-3.new ── rename ──► copies/format-3.db
             └── migrations 4, 5, one transaction each ──► state.db, format 5

The format of a database is the number of migrations that it has had (`schema`), in `PRAGMA user_version`. The row
WRITTEN_BY of `meta` names the version of remotefs that brought it there, for a message of an older one.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from remotefs import __version__, crashpoints
from remotefs.errors import LocalError, OutOfSpace, StateUnusable
from remotefs.store.copies import COPIES_NAME, former_name
from remotefs.store.disk import sync_folder
from remotefs.store.schema import MIGRATIONS

# The newest format that this version reads.
FORMAT = len(MIGRATIONS)
WRITTEN_BY = "written_by"
_NOTE = f"INSERT OR REPLACE INTO meta (key, value) VALUES ('{WRITTEN_BY}', '{__version__}');"  # noqa: S608 - both ours
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
# Where a database file has its `user_version`: https://www.sqlite.org/fileformat.html, "The Database Header".
_USER_VERSION = slice(60, 64)


@dataclass(frozen=True)
class Upgrade:
    """A change of the format, and the copy of the database as it was before."""

    before: int
    after: int
    copy: Path


def migrate(connection: sqlite3.Connection, path: Path) -> Upgrade | None:
    """Bring the database to this version's format; return the change, or None if nothing was to be done.

    A crash leaves each migration done or not begun, and the next call goes on. Raises StateUnusable if the database is
    of a newer version, OutOfSpace before anything is changed if there is no room for the copy, LocalError and
    sqlite3.Error.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise StateUnusable(_newer(connection, path, version))
    if version == FORMAT:
        return None
    # An empty file has no format yet.
    copy = _keep_former(connection, path, version) if version else None
    try:
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            crashpoints.reached("database gets a new form", number)
            # The version changes in the same transaction.
            connection.executescript(f"BEGIN IMMEDIATE; {script}; {_NOTE} PRAGMA user_version = {number}; COMMIT;")
    except sqlite3.OperationalError as error:
        if _is_full(error):
            raise OutOfSpace(
                f"{path}: the disk is full; make room and try again: the change to the format of this version goes on"
            ) from error
        raise
    return Upgrade(version, FORMAT, copy) if copy is not None else None


def format_of(path: Path) -> int:
    """Return the format of a database file that was closed; 0 if it cannot be read."""
    try:
        with path.open("rb") as file:
            return int.from_bytes(file.read(_USER_VERSION.stop)[_USER_VERSION])
    except OSError:
        return 0


def _keep_former(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Copy the database as it is and return the copy, which is on the disk then. Raises OutOfSpace, LocalError."""
    folder = path.with_name(COPIES_NAME)
    target = folder / former_name(version)
    new = target.with_suffix(".new")
    _require_room(path)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        connection.execute("VACUUM INTO ?", (str(new),))
        with new.open("rb") as file:
            os.fsync(file.fileno())
        crashpoints.reached("database of the former format is copied", target.name)
        new.replace(target)
        sync_folder(folder)
    except (OSError, sqlite3.OperationalError) as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LocalError(f"{new}: cannot be written: {error.strerror}; the database is as it was") from error
        if _is_full(error):
            raise OutOfSpace(_no_room(path)) from error
        raise
    return target


def _require_room(path: Path) -> None:
    """Raise OutOfSpace unless the disk takes the copy, and as much again for the pages that the migrations change."""
    log = path.with_name(path.name + "-wal")
    needed = 2 * (path.stat().st_size + (log.stat().st_size if log.exists() else 0))
    space = os.statvfs(path.parent)
    free = space.f_bavail * space.f_frsize
    if free < needed:
        raise OutOfSpace(f"{_no_room(path)} ({_mib(needed)} are needed, {_mib(free)} are free)")


def _mib(size: int) -> str:
    return f"{-(-size // 2**20)} MiB"


def _no_room(path: Path) -> str:
    return (
        f"{path}: this version of remotefs changes the format of the database, and copies it before that: "
        "the disk has no room for the copy; make room, nothing was changed"
    )


def _newer(connection: sqlite3.Connection, path: Path, version: int) -> str:
    """Return the message about a database of a newer format: its version, and how to go on."""
    former = [number for number in range(1, FORMAT + 1) if (path.with_name(COPIES_NAME) / former_name(number)).exists()]
    way_back = ""
    if former:
        copy = path.with_name(COPIES_NAME) / former_name(former[-1])
        way_back = f"; to go back, put {copy} in its place as docs/upgrading.md says"
    facts = f"{_writer(connection)}its format is {version}; {__version__} reads up to {FORMAT}"
    return f"{path} was written by a newer remotefs ({facts}); update remotefs, or use another --state-dir{way_back}"


def _writer(connection: sqlite3.Connection) -> str:
    # A newer format may have no such table.
    with suppress(sqlite3.Error):
        row = connection.execute("SELECT value FROM meta WHERE key = ?", (WRITTEN_BY,)).fetchone()
        if row is not None and isinstance(row[0], str) and _VERSION.fullmatch(row[0]):
            return f"{row[0]}, "
    return ""


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
