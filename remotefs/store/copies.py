"""Copies of the database beside it: one a day while a mount runs, and one at each clean end; three are kept.

They are for `remotefs check --repair`, when the database itself is damaged. A copy lacks the changes since it was made,
so the repair takes the rows that can still be read from the database first (`rescue`).

A database whose format a newer version changes is copied before that too (`migration`). That copy is for the way back
to the older version, and is kept for 30 days.

    state.db ── VACUUM INTO ──► copies/state-8.new ── rename ──► copies/state-8.db     state-7.db     state-6.db
"""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import trio

from remotefs import crashpoints
from remotefs.errors import StateUnusable

_log = logging.getLogger(__name__)
# The folder of the copies, in the state folder.
COPIES_NAME = "copies"
_NAME = re.compile(r"state-(\d{1,9})\.db")
_FORMER = re.compile(r"format-\d{1,9}\.db")
_KEPT = 3
# How long the copy from before a change of the format is kept.
FORMER_KEPT_DAYS = 30
# How often a mount checks whether a copy is due. If there is a copy, the first check comes this long after the start.
_LOOK_EVERY_S = 600.0
_DUE_AFTER_S = 86_400.0
# The copy of a clean end replaces the newest one if that is younger than this, so that a day of many remounts does not
# push out the older copies.
_SAME_DAY_S = 3600.0


def copies_of(database: Path) -> list[Path]:
    """Return the copies that lie beside a database, the newest first."""
    return Copies(database, database.with_name(COPIES_NAME), lambda _: True).newest_first()


def former_name(version: int) -> str:
    """Return the name of the copy from before a change of that format, in the folder COPIES_NAME."""
    return f"format-{version}.db"


def copy_live(database: Path, target: Path) -> None:
    """Copy a database that is in use, as it was after some commit, to a new or empty file; for a thread.

    Nobody has to wait for it. Raises StateUnusable.
    """
    # VACUUM INTO reads in one transaction, and in WAL mode a reader blocks no writer.
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise StateUnusable(f"{database}: cannot be copied: {error}") from error


def staged_in(database: Path) -> list[tuple[int, int]]:
    """Return (inode, generation) of all staged files that a copy refers to; for a thread. Raises StateUnusable."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT ino, staged_gen FROM inode WHERE staged_gen IS NOT NULL")
            return [(ino, generation) for ino, generation in rows]
    except sqlite3.Error as error:
        raise StateUnusable(f"{database}: cannot be read: {error}") from error


class Copies:
    """Owns the folder of the copies. `has_room` returns whether that number of bytes may be written to its disk."""

    def __init__(self, database: Path, folder: Path, has_room: Callable[[int], bool]) -> None:
        self._database = database
        self._folder = folder
        self._has_room = has_room

    def newest_first(self) -> list[Path]:
        """Return the copies, the newest first."""
        found = {int(match[1]): file for file in self._files() if (match := _NAME.fullmatch(file.name))}
        return [found[number] for number in sorted(found, reverse=True)]

    async def run(self) -> None:
        """Make a copy whenever the newest is a day old. Runs until cancelled. Raises StateUnusable, OSError."""
        if self.newest_first():
            await trio.sleep(_LOOK_EVERY_S)
        while True:
            if self._age_s() >= _DUE_AFTER_S:
                await trio.to_thread.run_sync(self.make)
            self.drop_former()
            await trio.sleep(_LOOK_EVERY_S)

    def drop_former(self) -> None:
        """Remove the copies from before a change of the format that are older than FORMER_KEPT_DAYS. Raises OSError."""
        for file in self._files():
            if _FORMER.fullmatch(file.name) and time.time() - file.stat().st_mtime > FORMER_KEPT_DAYS * 86_400:
                _log.info("%s: removed; it is from before an upgrade %d days ago", file, FORMER_KEPT_DAYS)
                file.unlink()

    def make(self) -> Path | None:
        """Copy the database while it is in use; for a thread. Return the copy, or None if there is no room.

        Raises StateUnusable, OSError. See `copy_live`.
        """
        return self._place(lambda target: copy_live(self._database, target))

    def make_of_closed(self) -> Path | None:
        """Copy the database after it was closed, in place of a copy of the last hour. Raises OSError.

        Return the copy, or None if there is no room.
        """
        newest = next(iter(self.newest_first()), None)
        if newest is not None and self._age_s() < _SAME_DAY_S:
            newest.unlink()
        return self._place(lambda target: shutil.copyfile(self._database, target))

    def _place(self, write: Callable[[Path], object]) -> Path | None:
        if not self._has_room(2 * self._database.stat().st_size):
            _log.info("%s: no room for a copy of the database", self._folder)
            return None
        self._folder.mkdir(mode=0o700, exist_ok=True)
        existing = self.newest_first()
        number = 1 + int(existing[0].stem.removeprefix("state-")) if existing else 1
        target = self._folder / f"state-{number}.db"
        # Under another name until it is complete: `newest_first` must not find half a copy after a crash.
        new = target.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        write(new)
        crashpoints.reached("database is copied", target.name)
        new.replace(target)
        for old in existing[_KEPT - 1 :]:
            old.unlink()
        return target

    def _age_s(self) -> float:
        """Return the age of the newest copy in seconds; infinity if there is none.

        A copy from the future was made while the clock was wrong. Its distance counts as its age, else it would remain
        the newest for ever.
        """
        newest = next(iter(self.newest_first()), None)
        return float("inf") if newest is None else abs(time.time() - newest.stat().st_mtime)

    def _files(self) -> list[Path]:
        try:
            return list(self._folder.iterdir())
        except FileNotFoundError:
            return []
