"""What is known of the service's files: one row for each id that was ever listed or that an upload returned.

A row is *shown* while it is bound to an inode, *tombstoned* once the user unlinked or replaced it here (it is masked
from then on, and stays as a tombstone until two complete listings came without it), and otherwise merely known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from remotefs.store.database import Database
from remotefs.store.records import Remote

_COLUMNS = ", ".join(Remote._fields)


class Remotes:
    """Owns the table `remote`; `now` gives the time in ns when a row becomes known."""

    def __init__(self, database: Database, now: Callable[[], int] = time.time_ns) -> None:
        self._db = database
        self._now = now

    def find(self, file_id: str) -> Remote | None:
        """The row, or None."""
        return next(iter(self._where("file_id = ?", file_id)), None)

    def named(self, filename: str) -> list[Remote]:
        """Every known file of that remote filename, the newest first."""
        return self._where("filename = ? ORDER BY created_ns DESC, file_id DESC", filename)

    def unshown(self, now_ns: int) -> list[Remote]:
        """Files that nobody here gave up, that have not expired, and that no path shows."""
        return self._where("ino IS NULL AND tombstoned = 0 AND (expires_ns IS NULL OR expires_ns > ?)", now_ns)

    def namesakes(self) -> list[list[Remote]]:
        """Shown files that share their remote filename with another, name by name, the newest first."""
        names = self._db.all(
            "SELECT filename FROM remote WHERE tombstoned = 0 AND ino IS NOT NULL GROUP BY filename HAVING count(*) > 1"
        )
        return [[r for r in self.named(name) if r.ino is not None and not r.tombstoned] for (name,) in names]

    def tombstoned(self) -> list[Remote]:
        """Tombstones: what the user gave up here and the service may still list."""
        return self._where("tombstoned = 1")

    def known_count(self) -> int:
        """How many ids a listing is expected to show."""
        row = self._db.one("SELECT count(*) FROM remote WHERE tombstoned = 0")
        assert row is not None
        return int(row[0])

    def shown_count(self) -> int:
        """Return how many files paths here show."""
        row = self._db.one("SELECT count(*) FROM remote WHERE tombstoned = 0 AND ino IS NOT NULL")
        assert row is not None
        return int(row[0])

    def newest_ns(self, until_ns: int) -> int:
        """Return the newest created_at seen that is not after `until_ns`, by the service's clock; 0 for none.

        One that lies in the future tells nothing of the service's clock.
        """
        row = self._db.one("SELECT max(created_ns) FROM remote WHERE created_ns <= ?", (until_ns,))
        return int(row[0] or 0) if row else 0

    def ids_known_since(self, at_ns: int) -> set[str]:
        """Every id that there was a row of at that time (by `now`), tombstones included."""
        return {row[0] for row in self._db.all("SELECT file_id FROM remote WHERE known_ns <= ?", (at_ns,))}

    def tombstoned_ids(self) -> set[str]:
        """Tombstones."""
        return {row[0] for row in self._db.all("SELECT file_id FROM remote WHERE tombstoned = 1")}

    def missed(self, times: int) -> list[Remote]:
        """Rows that at least so many complete listings in a row came without."""
        return self._where("missed >= ?", times)

    def expired(self, now_ns: int) -> list[Remote]:
        """Shown rows that have expired."""
        return self._where("expires_ns <= ? AND tombstoned = 0 AND ino IS NOT NULL", now_ns)

    def add(self, remote: Remote) -> None:
        """Insert or renew a row; it is known from now on."""
        remote = remote._replace(known_ns=self._now())
        with self._db.transaction():
            # Constants of this module and marks; only values come from outside.
            marks = ", ".join("?" * len(remote))
            self._db.execute(f"INSERT OR REPLACE INTO remote ({_COLUMNS}) VALUES ({marks})", remote)  # noqa: S608

    def renew(self, file_id: str, *, expires_ns: int | None, downloadable: bool, foreseen: int | None = None) -> None:
        """Save what a listing may change of a known file; it was not missed."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE remote SET expires_ns = ?, downloadable = ?, foreseen = ?, missed = 0 WHERE file_id = ?",
                (expires_ns, downloadable, foreseen, file_id),
            )

    def resize(self, file_id: str, size: int, *, listed_size: int | None) -> None:
        """Save the length of its content, and what listings say, where that is another."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE remote SET size = ?, listed_size = ? WHERE file_id = ?", (size, listed_size, file_id)
            )

    def miss(self, file_ids: Iterable[str]) -> None:
        """A complete listing came without these."""
        with self._db.transaction():
            for file_id in file_ids:
                self._db.execute("UPDATE remote SET missed = missed + 1 WHERE file_id = ?", (file_id,))

    def show(self, file_id: str, ino: int | None) -> None:
        """Bind to an inode, or to none."""
        with self._db.transaction():
            self._db.execute("UPDATE remote SET ino = ? WHERE file_id = ?", (ino, file_id))

    def tombstone(self, file_id: str) -> None:
        """The user unlinked or replaced it here: masked from now on, and may be deleted (S3)."""
        with self._db.transaction():
            self._db.execute("UPDATE remote SET tombstoned = 1, ino = NULL WHERE file_id = ?", (file_id,))

    def restore(self, file_id: str) -> None:
        """It was given up for something that is lost: show it again."""
        with self._db.transaction():
            self._db.execute("UPDATE remote SET tombstoned = 0 WHERE file_id = ?", (file_id,))

    def forget(self, file_id: str) -> None:
        """Remove the row: the service has forgotten the file too."""
        with self._db.transaction():
            self._db.execute("DELETE FROM remote WHERE file_id = ?", (file_id,))

    def _where(self, condition: str, *parameters: object) -> list[Remote]:
        rows = self._db.all(f"SELECT {_COLUMNS} FROM remote WHERE {condition}", parameters)  # noqa: S608 - constant words
        return [Remote._make(row) for row in rows]
