"""Renamed folders whose files have not followed yet: what the new names mean for them is still to be planned (W7).

A rename of a large folder commits the entry and one row, so that it takes no longer than any other. The files beneath
follow in batches, and after a crash from the row. A later rename has a higher number. What a file asks for is decided
by the last rename above it, so they are followed in order, and a second rename of one folder takes the first one's row.

A file that was closed, renamed or linked by itself meanwhile has followed already: it is noted with the number of the
newest rename of that moment.
"""

from __future__ import annotations

from typing import NamedTuple

from remotefs.store.database import Database


class Renamed(NamedTuple):
    """A row of `renamed`: a folder, and whether the rename may upload its files again (W7); None: not counted yet."""

    number: int
    ino: int
    reupload: int | None


class Renames:
    """Owns the tables `renamed` and `followed`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        # The numbers of renames that all files have followed but some, for which this run of the mount does not wait.
        self._put_off: set[int] = set()

    # -- reading

    def first(self) -> Renamed | None:
        """Return the rename that is followed next, or None; those that were put off do not count."""
        sql = "SELECT number, ino, reupload FROM renamed ORDER BY number LIMIT ?"
        rows = map(Renamed._make, self._db.all(sql, (len(self._put_off) + 1,)))
        return next((renamed for renamed in rows if renamed.number not in self._put_off), None)

    def put_off(self) -> list[int]:
        """Return the numbers of the renames of which the rest was put off."""
        return sorted(self._put_off)

    def is_pending(self, number: int) -> bool:
        """Return whether a rename is not followed to its end, and the folder was not renamed again."""
        return self._db.one("SELECT 1 FROM renamed WHERE number = ?", (number,)) is not None

    def folders(self, limit: int) -> list[int]:
        """Return at most `limit` of the folders, in the order of their renames."""
        return [ino for (ino,) in self._db.all("SELECT ino FROM renamed ORDER BY number LIMIT ?", (limit,))]

    def count(self) -> int:
        """Return the number of folders."""
        row = self._db.one("SELECT count(*) FROM renamed")
        assert row is not None
        return int(row[0])

    def has_followed(self, ino: int, number: int) -> bool:
        """Return whether a file has followed that rename by itself."""
        return self._db.one("SELECT 1 FROM followed WHERE ino = ? AND number >= ?", (ino, number)) is not None

    # -- writing

    def add(self, ino: int, *, reupload: bool | None) -> None:
        """Add the rename of a folder, in the place of an earlier one."""
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO renamed (ino, reupload) VALUES (?, ?)", (ino, reupload))

    def decide(self, number: int, *, reupload: bool) -> None:
        """Record whether a rename may upload the files again."""
        with self._db.transaction():
            self._db.execute("UPDATE renamed SET reupload = ? WHERE number = ?", (reupload, number))

    def remove(self, number: int) -> None:
        """Remove a rename that all files have followed."""
        with self._db.transaction():
            self._db.execute("DELETE FROM renamed WHERE number = ?", (number,))
            if self._db.one("SELECT 1 FROM renamed LIMIT 1") is None:
                self._db.execute("DELETE FROM followed")
        self._put_off.discard(number)

    def put_off_rest_of(self, number: int) -> None:
        """Keep a rename that all files have followed but some; nothing waits for those in this run of the mount."""
        self._put_off.add(number)

    def note_followed(self, ino: int) -> None:
        """Note that a file is in line with every rename so far."""
        newest = self._db.one("SELECT max(number) FROM renamed")
        if newest is not None and newest[0] is not None:
            with self._db.transaction():
                self._db.execute("INSERT OR REPLACE INTO followed (ino, number) VALUES (?, ?)", (ino, newest[0]))
