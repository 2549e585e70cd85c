"""The uploads whose bytes are to be in the shared store as well, and those that are (X1, X2).

A row is made in the transaction that binds an upload to its id. So a crash at any later moment leaves it, and the next
mount goes on. An object is never changed once it is in the store, so a row that says so stays true.
"""

from __future__ import annotations

from remotefs.store.database import Database
from remotefs.store.records import Share, ShareState

_COLUMNS = ", ".join(Share._fields)
# What has another copy: the store has the bytes, and the log of this machine has what it publishes of their inodes. The
# parameters are an attribute that keeps them here, and a condition of the caller's.
_SPARE = """
    FROM share JOIN remote USING (file_id) WHERE share.state = 1 AND remote.tombstoned = 0 AND NOT EXISTS (
        SELECT 1 FROM inode i WHERE i.file_id = share.file_id AND (
            i.state != 0 OR i.staged_gen IS NOT NULL
            OR EXISTS (SELECT 1 FROM shared_dirty d WHERE d.ino = i.ino)
            OR EXISTS (SELECT 1 FROM xattr x WHERE x.ino = i.ino AND x.name = ?)))
"""


class Shares:
    """Owns the table `share`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- reading

    def find(self, file_id: str) -> Share | None:
        """Return the row of an id, or None."""
        row = self._db.one(f"SELECT {_COLUMNS} FROM share WHERE file_id = ?", (file_id,))  # noqa: S608 - our own columns
        return None if row is None else Share._make(row)

    def is_stored(self, file_id: str) -> bool:
        """Return whether the store has the bytes of an id, as far as this machine has put them there."""
        share = self.find(file_id)
        return share is not None and share.state == ShareState.STORED

    def is_withheld(self, file_id: str) -> bool:
        """Return whether the bytes of an id are kept out of the store, by the user's choice."""
        share = self.find(file_id)
        return share is not None and share.state == ShareState.WITHHELD

    def due(self, now_ns: int, limit: int) -> list[Share]:
        """Return at most `limit` rows that wait and are due, the longest due first."""
        sql = f"SELECT {_COLUMNS} FROM share WHERE state = 0 AND due_ns <= ? ORDER BY due_ns LIMIT ?"  # noqa: S608 - as above
        return [Share._make(row) for row in self._db.all(sql, (now_ns, limit))]

    def next_due_ns(self, after_ns: int) -> int | None:
        """Return the due time of the next row that waits and is due after `after_ns`; None if there is none."""
        row = self._db.one("SELECT min(due_ns) FROM share WHERE state = 0 AND due_ns > ?", (after_ns,))
        return row[0] if row is not None else None

    def waiting(self, limit: int) -> list[Share]:
        """Return at most `limit` rows that wait, those that failed first."""
        sql = f"SELECT {_COLUMNS} FROM share WHERE state = 0 ORDER BY reason IS NULL, due_ns LIMIT ?"  # noqa: S608 - as above
        return [Share._make(row) for row in self._db.all(sql, (limit,))]

    def is_any_on_its_way(self) -> bool:
        """Return whether any row waits that has not failed."""
        return self._db.one("SELECT 1 FROM share WHERE state = 0 AND reason IS NULL LIMIT 1") is not None

    def is_spare(self, file_id: str, *, kept_by: bytes) -> bool:
        """Return whether the bytes of an id are in the store, and the attributes of its files are published.

        False for one of which a file has the attribute `kept_by`.
        """
        return self._db.one(f"SELECT 1 {_SPARE} AND share.file_id = ?", (kept_by, file_id)) is not None

    def spare(self, *, kept_by: bytes, after: str, limit: int) -> list[str]:
        """Return at most `limit` ids of which that is so, in ascending order above `after`."""
        sql = f"SELECT share.file_id {_SPARE} AND share.file_id > ? ORDER BY share.file_id LIMIT ?"
        return [file_id for (file_id,) in self._db.all(sql, (kept_by, after, limit))]

    def waiting_count(self) -> int:
        """Return the number of rows that wait."""
        return self._count("state = 0")

    def stored_count(self) -> int:
        """Return the number of rows whose bytes are in the store."""
        return self._count("state = 1")

    def _count(self, condition: str) -> int:
        row = self._db.one(f"SELECT count(*) FROM share WHERE {condition}")  # noqa: S608 - constant words
        assert row is not None
        return int(row[0])

    def stored_ids(self, limit: int, *, after: str) -> list[str]:
        """Return at most `limit` ids whose bytes are in the store, in order, above `after`."""
        sql = "SELECT file_id FROM share WHERE state = 1 AND file_id > ? ORDER BY file_id LIMIT ?"
        return [file_id for (file_id,) in self._db.all(sql, (after, limit))]

    # -- writing

    def add(self, file_id: str) -> None:
        """Let the bytes of an id be put into the store, unless they are there or wait for that already."""
        with self._db.transaction():
            self._db.execute("INSERT OR IGNORE INTO share (file_id) VALUES (?)", (file_id,))

    def add_again(self, file_id: str) -> None:
        """Let the bytes of an id be put into the store, whether or not they were put there before."""
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO share (file_id) VALUES (?)", (file_id,))

    def stored(self, file_id: str) -> None:
        """Note that the store has the bytes of an id."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE share SET state = ?, reason = NULL WHERE file_id = ? AND state = 0",
                (ShareState.STORED, file_id),
            )

    def lost(self, file_id: str) -> None:
        """Let the bytes of an id be put again: the store turned out not to have them."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE share SET state = ?, tries = 0, reason = NULL, due_ns = 0 WHERE file_id = ?",
                (ShareState.WAITING, file_id),
            )

    def failed(self, file_id: str, reason: str | None, *, due_ns: int) -> None:
        """Note why an id waits, None if only the store is to blame, and until when."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE share SET tries = tries + 1, reason = ?, due_ns = ? WHERE file_id = ?",
                (reason, due_ns, file_id),
            )

    def withhold(self, file_id: str, *, reason: str | None = None) -> None:
        """Keep the bytes of an id out of the store; `reason`: its object may still be there."""
        with self._db.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO share (file_id, state, reason) VALUES (?, ?, ?)",
                (file_id, ShareState.WITHHELD, reason),
            )

    def hurry(self) -> None:
        """Make all rows due that wait."""
        with self._db.transaction():
            self._db.execute("UPDATE share SET due_ns = 0 WHERE state = 0 AND due_ns > 0")

    def drop(self, *file_ids: str) -> None:
        """Remove the rows of ids that nobody needs in the store."""
        with self._db.transaction():
            for file_id in file_ids:
                self._db.execute("DELETE FROM share WHERE file_id = ?", (file_id,))
