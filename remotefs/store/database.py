"""The one SQLite database of a mount: schema, transactions, and when a commit is on the disk.

The loop thread calls SQLite directly (a statement takes microseconds), so whatever stands between two awaits is
atomic. `synchronous=NORMAL` makes a commit an append to the write-ahead log without an fsync; who needs it to survive
a power cut awaits `durable()`, and all who wait share one round of syncs in one thread (`durability`). Checkpoints run
in a thread too, on a connection of their own.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from remotefs import steps
from remotefs.errors import OutOfSpace, StateUnusable
from remotefs.store.durability import Durability
from remotefs.store.schema import MIGRATIONS

_log = logging.getLogger(__name__)

# A log of this many bytes is copied into the database; larger is a longer recovery, smaller more writes in all.
CHECKPOINT_BYTES = 16 << 20
# Held back, and given up when the disk is full, so that unlink can still be recorded (A8).
RESERVE_BYTES = 4 << 20

Row = tuple[Any, ...]


class Database:
    """Opens (and creates or migrates) the database file at `path`. Raises StateUnusable where it cannot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal_path = path.with_name(path.name + "-wal")
        self._reserve = path.with_name("reserve")
        try:
            self._connection = _connect(path)
            _migrate(self._connection, path)
        except sqlite3.Error as error:
            raise StateUnusable(f"{path}: {error}; restore it from a copy, or use another --state-dir") from error
        self._undo: list[Callable[[], None]] | None = None
        self.durability = Durability(self._wal_path)
        self._keep_reserve()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    # -- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. A transaction inside another belongs to the outer one.

        Raises OutOfSpace when the disk is full, StateUnusable on any other trouble of SQLite.
        """
        if self._undo is not None:
            yield
            return
        self._undo = []
        try:
            self._run("BEGIN IMMEDIATE", ())
            yield
            self._commit()
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._undo = None

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call `undo` should the running transaction not commit: for memory that mirrors rows."""
        assert self._undo is not None, "only inside a transaction"
        self._undo.append(undo)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Change rows; only inside a transaction."""
        assert self._undo is not None, "only inside a transaction"
        return self._run(sql, parameters)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row, or None."""
        row: Row | None = self._run(sql, parameters).fetchone()
        return row

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows."""
        return self._run(sql, parameters).fetchall()

    def _run(self, sql: str, parameters: Sequence[Any]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _commit(self) -> None:
        steps.reached("transaction is about to commit")
        try:
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._give_up_reserve():
                raise self._translated(error) from error
            self._run("COMMIT", ())
        steps.reached("transaction is committed", self.durability.committed())

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for undo in reversed(self._undo or []):
            undo()

    def _translated(self, error: sqlite3.Error) -> Exception:
        if getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}:
            self._give_up_reserve()
            return OutOfSpace(f"{self._path}: the disk is full")
        return StateUnusable(f"{self._path}: {error}")

    # -- the disk

    async def durable(self) -> None:
        """Return once every commit made so far, and the files that it refers to by name, survive a power cut.

        The bytes of those files are the affair of whoever wrote them. Raises StateUnusable.
        """
        await self.durability.wait()

    async def run_checkpoints(self, *, every_s: float = 5.0) -> None:
        """Copy the log into the database whenever it has grown; runs until cancelled."""
        while True:
            await trio.sleep(every_s)
            try:
                if self._wal_path.stat().st_size >= CHECKPOINT_BYTES:
                    await trio.to_thread.run_sync(_checkpoint, self._path)
            except (OSError, sqlite3.Error) as error:
                _log.warning("%s: its log stays long: %s", self._path, error)
            self._keep_reserve()

    def close(self) -> None:
        """Close; SQLite folds the log into the database."""
        self.durability.close()
        self._connection.close()
        steps.reached("database is closed")

    def _keep_reserve(self) -> None:
        if self._reserve.exists():
            return
        try:
            with self._reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            self._reserve.unlink(missing_ok=True)

    def _give_up_reserve(self) -> bool:
        existed = self._reserve.exists()
        self._reserve.unlink(missing_ok=True)
        return existed


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA cache_size = -16384")  # KiB
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StateUnusable(f"{path} was written by a newer remotefs; update remotefs, or use another --state-dir")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        steps.reached("database gets a new form", number)
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def _checkpoint(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        steps.reached("database has taken its log in")
    finally:
        connection.close()
