"""The remote files that are known: one row for each id that was listed or that an upload returned.

A row is in one of three states:

    shown         bound to an inode: a path shows the file
    known         not bound to an inode: no path shows it, or not yet
    a tombstone   the user unlinked or replaced the file here. The service may still list it, so the row stays and hides
                  it until two complete listings lacked it
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from remotefs.store.database import Database
from remotefs.store.records import Origin, Remote

_COLUMNS = ", ".join(Remote._fields)
_FIND = f"SELECT {_COLUMNS} FROM remote WHERE file_id = ?"  # noqa: S608 - only our own column names
# Of shown files, by the index of expiries.
_EXPIRING = "expires_ns > ? AND expires_ns <= ? AND ino IS NOT NULL AND tombstoned = 0"


class Remotes:
    """Owns the table `remote`. `now` returns the time in ns that a row is marked with when it is added."""

    def __init__(self, database: Database, now: Callable[[], int] = time.time_ns) -> None:
        self._db = database
        self._now = now

    def find(self, file_id: str) -> Remote | None:
        """Return the row of an id, or None."""
        row = self._db.kept(_FIND, file_id)
        return Remote._make(row) if row else None

    def named(self, filename: str) -> list[Remote]:
        """Return every known file with that remote filename, tombstones included, the newest first."""
        return self._where("filename = ? ORDER BY created_ns DESC, file_id DESC", filename)

    def unshown(self, *, after: str, limit: int) -> list[Remote]:
        """Return at most `limit` files that no path shows, by ascending id above `after`, without tombstones."""
        return self._where("ino IS NULL AND tombstoned = 0 AND file_id > ? ORDER BY file_id LIMIT ?", after, limit)

    def namesakes(self) -> list[list[Remote]]:
        """Return the shown files that share a remote filename: a list for each name, the newest file first."""
        names = self._db.all(
            "SELECT filename FROM remote WHERE tombstoned = 0 AND ino IS NOT NULL GROUP BY filename HAVING count(*) > 1"
        )
        return [[r for r in self.named(name) if r.ino is not None and not r.tombstoned] for (name,) in names]

    def tombstoned(self) -> list[Remote]:
        """Return the tombstones: files that the user gave up here and that the service may still list."""
        return self._where("tombstoned = 1")

    def known_count(self) -> int:
        """Return the number of ids that a listing is expected to show: all rows but tombstones."""
        # Two counts, each of a whole index: ten times as fast as reading the column of every row.
        row = self._db.one("SELECT (SELECT count(*) FROM remote) - (SELECT count(*) FROM remote WHERE tombstoned = 1)")
        assert row is not None
        return int(row[0])

    def shown_count(self) -> int:
        """Return the number of files that a path shows."""
        row = self._db.one("SELECT count(*) FROM remote WHERE tombstoned = 0 AND ino IS NOT NULL")
        assert row is not None
        return int(row[0])

    def any_shown(self) -> str | None:
        """Return the id of a file that a path shows and that the last listing had; None if there is none."""
        condition = "ino IS NOT NULL AND tombstoned = 0 AND missed = 0"
        row = self._db.one(f"SELECT file_id FROM remote WHERE {condition} ORDER BY file_id LIMIT 1")  # noqa: S608 - constant words
        return None if row is None else str(row[0])

    def newest_ns(self, until_ns: int) -> int:
        """Return the newest created_at (ns, the service's clock) up to `until_ns`, or 0 if there is none.

        The caller sets `until_ns` so that a file from the future is left out: it does not show the service's time.
        """
        row = self._db.one("SELECT max(created_ns) FROM remote WHERE created_ns <= ?", (until_ns,))
        return int(row[0] or 0) if row else 0

    def page(self, *, after: str, limit: int) -> list[tuple[str, int, int]]:
        """Return (file_id, known_ns, tombstoned) of at most `limit` rows, by ascending id above `after`."""
        return self._db.all(
            "SELECT file_id, known_ns, tombstoned FROM remote WHERE file_id > ? ORDER BY file_id LIMIT ?",
            (after, limit),
        )

    def missed(self, times: int, *, after: tuple[int, str] = (0, ""), limit: int = -1) -> list[Remote]:
        """Return at most `limit` files (-1: all) that at least `times` complete listings in a row lacked.

        Tombstones are included. They are in the order of (missed, file_id), which is above `after`.
        """
        # The first condition is that of the index.
        return self._where(
            "missed > 0 AND missed >= ? AND (missed, file_id) > (?, ?) ORDER BY missed, file_id LIMIT ?",
            times, *after, limit,
        )  # fmt: skip

    def generated(self, since_ns: int, *, after: str, limit: int) -> list[Remote]:
        """Return at most `limit` shown files that the service gives back and that were not uploaded here.

        They were created at `since_ns` or later (ns, the service's clock), by ascending id above `after`.
        """
        return self._where(
            "file_id > ? AND downloadable = 1 AND tombstoned = 0 AND ino IS NOT NULL AND origin = ? "
            "AND created_ns >= ? ORDER BY file_id LIMIT ?",
            after, Origin.FOREIGN, since_ns, limit,
        )  # fmt: skip

    def expired(self, now_ns: int, *, after: tuple[int, str], limit: int) -> list[Remote]:
        """Return at most `limit` files that have expired by `now_ns`, shown or not, tombstones included.

        They are in the order of (expires_ns, file_id), which is above `after`.
        """
        return self._where(
            "expires_ns <= ? AND (expires_ns, file_id) > (?, ?) ORDER BY expires_ns, file_id LIMIT ?",
            now_ns, *after, limit,
        )  # fmt: skip

    def expiring(self, after_ns: int, until_ns: int, *, limit: int) -> list[Remote]:
        """Return at most `limit` shown files that expire after `after_ns` and up to `until_ns`, the soonest first."""
        return self._where(f"{_EXPIRING} ORDER BY expires_ns, file_id LIMIT ?", after_ns, until_ns, limit)

    def expiring_count(self, after_ns: int, until_ns: int, *, at_most: int) -> int:
        """Return the number of shown files that expire after `after_ns` and up to `until_ns`, counted to `at_most`."""
        row = self._db.one(
            f"SELECT count(*) FROM (SELECT 1 FROM remote WHERE {_EXPIRING} LIMIT ?)",  # noqa: S608 - constant words
            (after_ns, until_ns, at_most),
        )
        assert row is not None
        return int(row[0])

    def add(self, remote: Remote) -> None:
        """Insert a row, or replace that of the same id, and mark it with the present time."""
        remote = remote._replace(known_ns=self._now())
        with self._db.transaction():
            # The statement consists of constants and question marks; only values come from outside.
            marks = ", ".join("?" * len(remote))
            self._db.execute(f"INSERT OR REPLACE INTO remote ({_COLUMNS}) VALUES ({marks})", remote)  # noqa: S608 - our own column names

    def renew(self, file_id: str, *, expires_ns: int | None, downloadable: bool, foreseen: int | None = None) -> None:
        """Save the columns of a known file that a listing may change. The file was listed, so it is not missed."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE remote SET expires_ns = ?, downloadable = ?, foreseen = ?, missed = 0 WHERE file_id = ?",
                (expires_ns, downloadable, foreseen, file_id),
            )

    def correct(self, remote: Remote) -> None:
        """Save the fields that never change at the service, which an earlier listing had shown otherwise."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE remote SET filename = ?, asked = ?, mime_type = ?, created_ns = ? WHERE file_id = ?",
                (remote.filename, remote.asked, remote.mime_type, remote.created_ns, remote.file_id),
            )

    def resize(self, file_id: str, size: int, *, listed_size: int | None) -> None:
        """Save the length of a file's content, and the length in listings if that differs (else None), in bytes."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE remote SET size = ?, listed_size = ? WHERE file_id = ?", (size, listed_size, file_id)
            )

    def miss(self, file_ids: Iterable[str], since_ns: int) -> None:
        """Count that a complete listing lacked these files, as far as their rows were added up to `since_ns`."""
        with self._db.transaction():
            for file_id in file_ids:
                self._db.execute(
                    "UPDATE remote SET missed = missed + 1 WHERE file_id = ? AND known_ns <= ?", (file_id, since_ns)
                )

    def set_back(self, now_ns: int) -> None:
        """Let rows that were added later than now count as added now: the steady clock has gone back."""
        with self._db.transaction():
            self._db.execute("UPDATE remote SET known_ns = ? WHERE known_ns > ?", (now_ns, now_ns))

    def show(self, file_id: str, ino: int | None) -> None:
        """Bind a file to the inode that shows it, or to none."""
        with self._db.transaction():
            self._db.execute("UPDATE remote SET ino = ? WHERE file_id = ?", (ino, file_id))

    def tombstone(self, file_id: str) -> None:
        """Make the row a tombstone: the user unlinked or replaced the file here, so it may be deleted (S3)."""
        with self._db.transaction():
            self._db.execute("UPDATE remote SET tombstoned = 1, ino = NULL WHERE file_id = ?", (file_id,))

    def restore(self, file_id: str) -> None:
        """Make a tombstone a known file again, because nothing takes the place of the file any more."""
        with self._db.transaction():
            self._db.execute("UPDATE remote SET tombstoned = 0 WHERE file_id = ?", (file_id,))

    def forget(self, file_id: str) -> None:
        """Remove the row of a file that the service has forgotten too."""
        with self._db.transaction():
            self._db.execute("DELETE FROM remote WHERE file_id = ?", (file_id,))

    def _where(self, condition: str, *parameters: object) -> list[Remote]:
        rows = self._db.all(f"SELECT {_COLUMNS} FROM remote WHERE {condition}", parameters)  # noqa: S608 - constant words
        return [Remote._make(row) for row in rows]
