"""The one SQLite database of a mount: migrations, transactions, and the checkpoints of its log.

The loop thread calls SQLite directly (a statement takes microseconds), so code between two awaits is atomic. Across an
await it is not, and the changes of other tasks would get into the transaction: it fails and never commits.

    commit ──append──► state.db-wal, "the log" ──checkpoint──► state.db

With `synchronous=NORMAL` a commit is an append to the log without an fsync. It survives `kill -9` as it is. To survive
a power cut it needs a sync, which `durable()` waits for; all who wait share one round of syncs in one thread
(`durability`).

A checkpoint copies the newest version of each page from the log into the database. Passive checkpoints run in a thread,
on a connection of their own, and block nobody. But they never catch up with a mount in use, and SQLite writes the log
from its start again only after all of it was copied. So when few frames are left, the loop thread copies those itself
and restarts the log. A frame is one page in the log.
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
from remotefs.store.migration import migrate
from remotefs.store.pages import frames_of, used_bytes

_log = logging.getLogger(__name__)

# A log of this size is copied into the database. A larger limit makes recovery longer, a smaller one makes more writes
# in all, because a page that changes often is copied more often.
CHECKPOINT_BYTES = 16 << 20
# A log that restarts is cut to this size by its next commit. The loop waits meanwhile, up to 60 ms on a disk that is
# told of each freed block, so it happens only to a log that was much too long.
LOG_LIMIT_BYTES = 4 * CHECKPOINT_BYTES
# A commit writes whole pages, however few bytes of a page it changed. With SQLite's default of 4 KiB a mkdir wrote
# 27 KB to the log and a small file up to its upload 149 KB; with 1 KiB it is 8 and 41 KB, for 3 % more time. A database
# keeps the page size it was made with.
PAGE_BYTES = 1024
# The loop thread copies the rest of the log itself once at most this many frames are left. The loop waits for the disk
# meanwhile.
_FEW_FRAMES = 256
# At most this many passive checkpoints in a row try to get there. In a burst more frames may be left after the last.
_MOST_PASSIVE = 8
# The advice for a database that cannot be read; it ends an error message.
RESCUE_ADVICE = (
    "`remotefs check --repair --state-dir DIR` rebuilds it from what is left, "
    "`remotefs export --state-dir DIR . DEST` copies the files out of its folder"
)
# The size of a file that only occupies space. It is removed when the disk is full, so that an unlink can still be
# recorded (A8).
RESERVE_BYTES = 4 << 20

_LOG_SUFFIX = "-wal"
# Trio's own count, which another trio may not have: better no guard then than no transaction.
_COUNTS_STEPS = hasattr(trio.lowlevel.Task, "_schedule_points")

# So many rows are remembered between two transactions.
_KEPT_ROWS = 1000

Row = tuple[Any, ...]


class Database:
    """The open database file at `path`, which is created or brought to this version's format (`migration`).

    Raises StateUnusable if it cannot be used, OutOfSpace if the disk has no room for its new format, LocalError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal_path = path.with_name(path.name + _LOG_SUFFIX)
        self._reserve = path.with_name("reserve")
        try:
            self._connection = _connect(path)
            # The change of the format, and the copy from before; None if there was none.
            self.upgrade = migrate(self._connection, path)
            # Whether an earlier process ended without closing the database: a close removes the log.
            self.was_left_open = self._log_bytes() > 0
            # The number of frames of that process's log that are lost because the log is damaged (see `_take_in`).
            self.lost_frames = self._take_in() if self.was_left_open else 0
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StateUnusable(f"{path}: {error}; {RESCUE_ADVICE}") from error
        # What a rollback has to undo in memory; None outside of a transaction.
        self._undo: list[Callable[[], None]] | None = None
        # Rows that `kept` answered with since the last transaction.
        self._kept: dict[tuple[str, object], Row | None] = {}
        # The statements of the running transaction, to run them again if a full disk undoes it.
        self._statements: list[tuple[str, Sequence[Any]]] = []
        # The step of the loop in which the running transaction began.
        self._step = _step_of_loop()
        # Why the last transaction failed, if the disk or SQLite was the reason; None after a commit.
        self.trouble: str | None = None
        self.durability = Durability(self._wal_path)
        # Set unless the log is being copied.
        self._copied = trio.Event()
        self._copied.set()
        # SQLite's number of changes when the log was copied last. The next change restarts the log.
        self._copied_changes = 0
        self._keep_reserve()
        if not _COUNTS_STEPS:
            _log.warning("trio %s does not count steps: transactions are not checked for awaits", trio.__version__)

    @property
    def path(self) -> Path:
        """Return the path of the database file."""
        return self._path

    # -- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes of a `with` block together, or none of them.

        A transaction inside another belongs to the outer one, which alone commits or rolls back. Raises OutOfSpace if
        the disk is full, StateUnusable on any other failure of SQLite, and AssertionError, without a commit, if there
        was an await inside.
        """
        if self._undo is not None:
            self._check_no_await()
            yield
            return
        self._undo, self._step = [], _step_of_loop()
        # Nothing is kept until it has ended.
        self._kept.clear()
        try:
            self._run("BEGIN IMMEDIATE", ())
            yield
            self._check_no_await()
            self._commit()
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._undo = None
            self._statements.clear()

    def _check_no_await(self) -> None:
        """Raise AssertionError if other tasks could run since the transaction began: they would have belonged to it."""
        if _step_of_loop() != self._step:
            raise AssertionError("there is an await inside a transaction: it is rolled back")

    def define(self, name: str, function: Callable[[], int]) -> None:
        """Let statements of this connection, and its temporary triggers, call a function without arguments."""
        self._connection.create_function(name, 0, function)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call `undo` if the running transaction does not commit. Memory that mirrors rows is restored by it."""
        assert self._undo is not None, "only inside a transaction"
        self._undo.append(undo)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement that changes rows and return its cursor. Allowed only inside a transaction."""
        assert self._undo is not None, "only inside a transaction"
        self._check_no_await()
        if not self._connection.in_transaction:
            # SQLite undoes a transaction by itself on some errors. A later statement would be committed alone.
            raise StateUnusable(f"{self._path}: the change was undone after an error")
        cursor = self._run(sql, parameters)
        self._statements.append((sql, parameters))
        return cursor

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """Return the first row of a query, or None. Raises StateUnusable."""
        try:
            row: Row | None = self._connection.execute(sql, parameters).fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._translated(error) from error
        return row

    def kept(self, sql: str, parameter: object) -> Row | None:
        """Return what `one` returns for one parameter, from memory until the next transaction. Raises StateUnusable."""
        if self._undo is not None:
            return self.one(sql, (parameter,))
        key = (sql, parameter)
        if key not in self._kept:
            if len(self._kept) >= _KEPT_ROWS:
                self._kept.clear()
            self._kept[key] = self.one(sql, (parameter,))
        return self._kept[key]

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query. Raises StateUnusable."""
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
            # On a full disk the reserve is given up and the commit is tried once more, so that an unlink succeeds (A8).
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._give_up_reserve():
                raise self._translated(error) from error
            self._commit_again()
        self.trouble = None
        crashpoints.reached("transaction is committed", self.durability.committed())

    def _commit_again(self) -> None:
        """Commit after a full disk. SQLite has undone the transaction by then; nobody else writes, so it can be redone.

        Source: https://www.sqlite.org/lang_transaction.html, "Response To Errors Within A Transaction".
        """
        if not self._connection.in_transaction:
            self._run("BEGIN IMMEDIATE", ())
            for sql, parameters in self._statements:
                self._run(sql, parameters)
        self._run("COMMIT", ())

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            # If this fails, SQLite rolls back at the next BEGIN, or when the database is opened again.
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        for undo in reversed(self._undo or []):
            undo()

    def _translated(self, error: Exception) -> Exception:
        is_full = getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
        if is_full:
            self._give_up_reserve()
        reason = "the disk is full" if is_full else str(error)
        if _is_damage(error):
            reason = f"{reason}; unmount it, then {RESCUE_ADVICE}"
        if self._undo is not None:
            self.trouble = reason
        return (OutOfSpace if is_full else StateUnusable)(f"{self._path}: {reason}")

    # -- the disk

    async def durable(self) -> None:
        """Return once every commit so far survives a power cut, with the names of the files that it refers to.

        The bytes of those files are not included: their writer syncs them first. Raises StateUnusable.
        """
        await self.durability.wait()

    async def names_durable(self) -> None:
        """Return once the names of all files that were made so far survive a power cut. Raises StateUnusable."""
        await self.durability.wait_for_names()

    async def run_checkpoints(self, *, every_s: float = 5.0) -> None:
        """Copy the log into the database whenever it has grown to CHECKPOINT_BYTES. Runs until cancelled."""
        while True:
            await trio.sleep(every_s)
            try:
                await self.checkpoint_if_due()
            except (OSError, sqlite3.Error) as error:
                _log.warning("%s: the log cannot be copied into the database yet: %s", self._path, error)
            self._keep_reserve()

    async def checkpoint_if_due(self) -> None:
        """Copy the log if CHECKPOINT_BYTES were written to it since the last time. Raises OSError, sqlite3.Error."""
        # The length of the file does not tell: it stays when the log restarts.
        if self._log_bytes() < CHECKPOINT_BYTES or self._connection.total_changes == self._copied_changes:
            return
        with self._wal_path.open("rb") as log:
            is_due = used_bytes(log) >= CHECKPOINT_BYTES
        if is_due:
            await self.checkpoint()

    async def checkpoint(self) -> None:
        """Copy the log into the database and restart it. Raises sqlite3.Error."""
        self._copied = trio.Event()
        try:
            for _ in range(_MOST_PASSIVE):
                if await trio.to_thread.run_sync(_checkpoint, self._path) <= _FEW_FRAMES:
                    break
            self._begin_log_anew("RESTART")
            self._copied_changes = self._connection.total_changes
        finally:
            self._copied.set()

    async def between_batches(self) -> None:
        """Let others run between two batches of a long piece of work, and the log be copied if its time has come (H8).

        What commits meanwhile is left for the loop to copy: it waits for the disk then, and so do all requests.
        """
        await trio.lowlevel.checkpoint()
        await self._copied.wait()

    def _take_in(self) -> int:
        """Copy the log that an earlier process left; return how many of its frames SQLite did not accept.

        After a kill there are none. After a power cut they belong to commits that nobody waited for. Else the log is
        damaged: SQLite drops every frame from the first damaged one on, without an error. Then a copy of the log is
        kept beside the database.
        """
        # The columns are: blocked, frames in the log (those that SQLite accepts), frames copied so far.
        _, accepted, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        (page_bytes,) = self._connection.execute("PRAGMA page_size").fetchone()
        lost = max(frames_of(self._wal_path.read_bytes(), page_bytes) - int(accepted), 0)
        if lost:
            shutil.copyfile(self._wal_path, self._path.with_name(f"damaged-{time.time_ns()}{_LOG_SUFFIX}"))
        self._begin_log_anew("TRUNCATE")
        return lost

    def _begin_log_anew(self, mode: str) -> None:
        """Copy the rest of the log, so that it restarts. A reader of older rows on another connection defers that."""
        self._connection.execute(f"PRAGMA wal_checkpoint({mode})")
        crashpoints.reached("log begins anew")

    def _log_bytes(self) -> int:
        try:
            return self._wal_path.stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Close the database. SQLite copies the log into it and removes the log."""
        self.durability.close()
        self._connection.close()
        crashpoints.reached("database is closed")

    def _keep_reserve(self) -> None:
        if self._reserve.exists():
            return
        try:
            with self._reserve.open("wb") as file:
                # Allocated and not only extended: a sparse file would hold no space.
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            self._reserve.unlink(missing_ok=True)

    def _give_up_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True


def _is_damage(error: Exception) -> bool:
    """Return whether SQLite, or what it returned, says that the database itself is damaged."""
    # The upper bytes of a code say more exactly what is damaged.
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    return isinstance(error, UnicodeDecodeError) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _step_of_loop() -> tuple[object, int]:
    """Return the running task, and the number of its awaits so far at which others could run; no task: (None, 0).

    The number is 0 if this trio does not count them: then nothing guards a transaction against an await inside.
    """
    try:
        task = trio.lowlevel.current_task()
    except RuntimeError:
        return None, 0
    # The number that trio.testing.assert_no_checkpoints compares. That function costs 100 times as much.
    return task, task._schedule_points if _COUNTS_STEPS else 0  # noqa: SLF001 - trio has no other cheap way


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600, exist_ok=True)
    # timeout=0: nobody else writes, so there is no lock to wait for, and the loop thread must not wait.
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, timeout=0.0)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT_BYTES}")
    connection.execute("PRAGMA synchronous = NORMAL")
    # SQLite would run its own checkpoints inside a commit, in the loop thread; `run_checkpoints` does it instead.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA cache_size = -16384")  # KiB
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _checkpoint(path: Path) -> int:
    """Copy as much of the log as is possible without blocking others, for a thread; return the frames left."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _, frames, taken = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        crashpoints.reached("database has taken its log in")
        return int(frames) - int(taken)
    finally:
        connection.close()
