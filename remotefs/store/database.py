"""The one SQLite database of a mount: schema, transactions, and when a commit is on the disk.

The loop thread calls SQLite directly (a statement takes microseconds), so whatever stands between two awaits is
atomic. `synchronous=NORMAL` makes a commit an append to the write-ahead log without an fsync; who needs it to survive
a power cut awaits `durable()`, and all who wait share one round of syncs in one thread (`durability`).

The log is taken into the database by passive checkpoints in a thread, on a connection of their own. They never catch up
with a mount in use, and only a log that was taken in whole begins anew. So when few frames are left, the loop takes
those itself, and the log is written from its start again.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from remotefs import crashpoints
from remotefs.errors import OutOfSpace, StateUnusable
from remotefs.store.durability import Durability
from remotefs.store.pages import frames_of
from remotefs.store.schema import MIGRATIONS

_log = logging.getLogger(__name__)

# A log of this many bytes is taken into the database; larger is a longer recovery, smaller more writes in all.
CHECKPOINT_BYTES = 16 << 20
# What the file of the log is cut to when it begins anew after a burst.
_LOG_LIMIT_BYTES = 2 * CHECKPOINT_BYTES
# A commit writes whole pages, however few bytes of each it changed: with SQLite's own 4 KiB a mkdir was 27 KB of log
# and a small file up to its upload 149 KB, with these 8 and 41, for 3 % more time. Of databases made from now on.
PAGE_BYTES = 1024
# So few frames, of a page each, the loop takes in itself: it waits for the disk meanwhile.
_FEW_FRAMES = 256
# So many passive checkpoints in a row try to get there; in a burst the last of them leaves more.
_MOST_PASSIVE = 8
# What can be done about a database that cannot be read.
RESCUE_ADVICE = (
    "`remotefs check --repair --state-dir DIR` makes it again of what is left, "
    "`remotefs export --state-dir DIR . DEST` copies out what is in its folder"
)
# Held back, and given up when the disk is full, so that unlink can still be recorded (A8).
RESERVE_BYTES = 4 << 20

_LOG_SUFFIX = "-wal"

Row = tuple[Any, ...]


class Database:
    """Opens (and creates or migrates) the database file at `path`. Raises StateUnusable where it cannot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal_path = path.with_name(path.name + _LOG_SUFFIX)
        self._reserve = path.with_name("reserve")
        try:
            self._connection = _connect(path)
            _migrate(self._connection, path)
            # Whether an earlier process left without closing it.
            self.was_left_open = self._log_bytes() > 0
            # How many frames of its log were lost to a damage (see `_take_in`).
            self.lost_frames = self._take_in() if self.was_left_open else 0
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StateUnusable(f"{path}: {error}; {RESCUE_ADVICE}") from error
        self._undo: list[Callable[[], None]] | None = None
        # Why the last transaction did not commit, if the disk or SQLite was in the way.
        self.trouble: str | None = None
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
        try:
            row: Row | None = self._connection.execute(sql, parameters).fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._translated(error) from error
        return row

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._translated(error) from error

    def _run(self, sql: str, parameters: Sequence[Any]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _commit(self) -> None:
        crashpoints.reached("transaction is about to commit")
        try:
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._give_up_reserve():
                raise self._translated(error) from error
            self._run("COMMIT", ())
        self.trouble = None
        crashpoints.reached("transaction is committed", self.durability.committed())

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            # What cannot be rolled back now is at the next BEGIN, or by whoever opens the database next.
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        for undo in reversed(self._undo or []):
            undo()

    def _translated(self, error: Exception) -> Exception:
        is_full = getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
        if is_full:
            self._give_up_reserve()
        reason = "the disk is full" if is_full else str(error)
        if self._undo is not None:
            self.trouble = reason
        return (OutOfSpace if is_full else StateUnusable)(f"{self._path}: {reason}")

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
                if self._log_bytes() >= CHECKPOINT_BYTES:
                    await self.checkpoint()
            except (OSError, sqlite3.Error) as error:
                _log.warning("%s: its log stays long: %s", self._path, error)
            self._keep_reserve()

    async def checkpoint(self) -> None:
        """Take the log into the database and begin it anew. Raises sqlite3.Error."""
        for _ in range(_MOST_PASSIVE):
            if await trio.to_thread.run_sync(_checkpoint, self._path) <= _FEW_FRAMES:
                break
        self._begin_log_anew("RESTART")

    def _take_in(self) -> int:
        """Take in the log that an earlier process left; return how many of its frames SQLite did not accept.

        After a kill there are none, after a power cut they are of commits that nobody waited for. Otherwise the log is
        damaged, and SQLite drops without an error all that comes after the damage: the log is kept aside then.
        """
        _, accepted, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        (page_bytes,) = self._connection.execute("PRAGMA page_size").fetchone()
        lost = max(frames_of(self._wal_path.read_bytes(), page_bytes) - int(accepted), 0)
        if lost:
            shutil.copyfile(self._wal_path, self._path.with_name(f"damaged-{time.time_ns()}{_LOG_SUFFIX}"))
        self._begin_log_anew("TRUNCATE")
        return lost

    def _begin_log_anew(self, mode: str) -> None:
        """Take what is left of the log in. Who reads an older state of the rows elsewhere puts that off."""
        self._connection.execute(f"PRAGMA wal_checkpoint({mode})")
        crashpoints.reached("log begins anew")

    def _log_bytes(self) -> int:
        try:
            return self._wal_path.stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Close; SQLite folds the log into the database."""
        self.durability.close()
        self._connection.close()
        crashpoints.reached("database is closed")

    def _keep_reserve(self) -> None:
        if self._reserve.exists():
            return
        try:
            with self._reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            self._reserve.unlink(missing_ok=True)

    def _give_up_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600, exist_ok=True)
    # Nobody else writes, so there is nothing to wait for; and the loop must not.
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, timeout=0.0)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
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
        crashpoints.reached("database gets a new form", number)
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def _checkpoint(path: Path) -> int:
    """Take in what can be without holding anybody up, for a thread; return the frames that are left."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _, frames, taken = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        crashpoints.reached("database has taken its log in")
        return int(frames) - int(taken)
    finally:
        connection.close()
