"""The rows behind shared attributes: what changed here, the map of all machines, and what of it is in the tree (X3).

Each change of a user marks its inode in the same transaction, by triggers of this connection: no code that changes the
tree has to think of it, and none can forget it. Two kinds of changes are none of the user's:

    quietly        the tree follows the listing or the map. Nothing is marked, and folders keep their times: that a file
                   appears here is no change of its folder; the machine that made it has recorded one.
    exactly        attributes are set as the map says. Nothing is marked, and folders take the given times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from remotefs.store.database import Database

_USER, _QUIETLY, _EXACTLY = 0, 1, 2
_TELL = "SELECT shared_marked()"
_MARK = "INSERT INTO shared_dirty (ino) VALUES ({}) ON CONFLICT (ino) DO UPDATE SET generation = generation + 1"
# The columns of an inode that machines share, and those that decide about its keys.
_COLUMNS = "mode, uid, gid, mtime_ns, file_id, nlink, rdev, target"

# Whether a listing or an upload has told of the file of a row, and it was not found gone since.
_IS_KNOWN = "EXISTS (SELECT 1 FROM remote WHERE file_id = substr(key, 3))"


class SharedRow(NamedTuple):
    """A row of the map."""

    key: str
    hlc: int
    writer: str
    record: bytes
    applied: int


class SharedLog:
    """Owns the tables `shared_…`; `watch` makes this connection mark changes."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._mode = _USER

    # -- marking

    def watch(self, on_mark: Callable[[], None]) -> None:
        """Mark the inodes of all changes from here on, and call `on_mark` for each."""
        self._db.define("shared_mode", lambda: self._mode)
        self._db.define("shared_marked", partial(_told, on_mark))
        by_user, quietly = (f"WHEN shared_mode() = {mode}" for mode in (_USER, _QUIETLY))
        new, old = _MARK.format("NEW.ino"), _MARK.format("OLD.ino")
        self._trigger("inode_update", f"AFTER UPDATE OF {_COLUMNS} ON main.inode {by_user}", new)
        self._trigger("inode_delete", f"AFTER DELETE ON main.inode {by_user}", old)
        self._trigger("dentry_insert", f"AFTER INSERT ON main.dentry {by_user}", new)
        self._trigger("dentry_update", f"AFTER UPDATE ON main.dentry {by_user}", f"{new}; {old}")
        self._trigger("dentry_delete", f"AFTER DELETE ON main.dentry {by_user}", old)
        self._trigger("xattr_insert", f"AFTER INSERT ON main.xattr {by_user}", new)
        self._trigger("xattr_delete", f"AFTER DELETE ON main.xattr {by_user}", old)
        keep_time = "UPDATE inode SET mtime_ns = OLD.mtime_ns WHERE ino = NEW.ino"
        of_folder = f"AFTER UPDATE OF mtime_ns ON main.inode {quietly} AND NEW.parent IS NOT NULL"
        self._trigger("folder_time", of_folder, keep_time)

    def _trigger(self, name: str, event: str, statements: str) -> None:
        with self._db.transaction():
            self._db.execute(
                f"CREATE TEMP TRIGGER IF NOT EXISTS shared_{name} {event} BEGIN {statements}; {_TELL}; END"
            )

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Let the changes of a block, which has no await, be none of the user's; folders keep their times."""
        with self._in_mode(_QUIETLY):
            yield

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Let the changes of a block, which has no await, be none of the user's."""
        with self._in_mode(_EXACTLY):
            yield

    @contextmanager
    def _in_mode(self, mode: int) -> Iterator[None]:
        before, self._mode = self._mode, mode
        try:
            yield
        finally:
            self._mode = before

    def mark(self, inos: Iterable[int]) -> None:
        """Mark inodes as changed."""
        with self._db.transaction():
            for ino in inos:
                self._db.execute(_MARK.format("?"), (ino,))

    def any_inodes(self, limit: int, *, after: int) -> list[int]:
        """Return at most `limit` inodes above `after`, in order: those of the tree, and those that once had a key."""
        # Each half by its index and no further than the page: else every page would read all rows.
        half = "SELECT ino FROM (SELECT ino FROM {} WHERE ino > ? ORDER BY ino LIMIT ?)"
        sql = f"{half.format('inode')} UNION {half.format('shared_held')} ORDER BY ino LIMIT ?"
        return [ino for (ino,) in self._db.all(sql, (after, limit, after, limit, limit))]

    def dirty(self, limit: int) -> list[tuple[int, int]]:
        """Return at most `limit` marked inodes, each with its generation."""
        return self._db.all("SELECT ino, generation FROM shared_dirty ORDER BY ino LIMIT ?", (limit,))

    def is_dirty(self, ino: int) -> bool:
        """Return whether an inode is marked."""
        return self._db.one("SELECT 1 FROM shared_dirty WHERE ino = ?", (ino,)) is not None

    def is_any_dirty(self) -> bool:
        """Return whether any inode is marked."""
        return self._db.one("SELECT 1 FROM shared_dirty LIMIT 1") is not None

    def clean(self, marked: Iterable[tuple[int, int]]) -> None:
        """Take marks away, as far as the inodes have not changed since `dirty` returned them."""
        with self._db.transaction():
            for ino, generation in marked:
                self._db.execute("DELETE FROM shared_dirty WHERE ino = ? AND generation = ?", (ino, generation))

    # -- the map

    def find(self, key: str) -> SharedRow | None:
        """Return the row of a key, or None."""
        row = self._db.one("SELECT key, hlc, writer, record, applied FROM shared_record WHERE key = ?", (key,))
        return None if row is None else SharedRow._make(row)

    def put(self, row: SharedRow) -> None:
        """Insert the row of a key, or replace it."""
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO shared_record VALUES (?, ?, ?, ?, ?)", row)

    def of_writer(self, writer: str, limit: int, *, after: str = "") -> list[SharedRow]:
        """Return at most `limit` rows whose record is of a writer, by ascending key above `after`."""
        return self._rows("writer = ? AND key > ? ORDER BY key LIMIT ?", writer, after, limit)

    def files(self, limit: int, *, after: str = "") -> list[tuple[str, int, bool]]:
        """Return at most `limit` files by ascending key above `after`: key, time of its record, whether it is known."""
        return self._db.all(
            f"SELECT key, hlc, {_IS_KNOWN} FROM shared_record WHERE key > ? AND key < 'f0' "  # noqa: S608 - a constant
            "ORDER BY key LIMIT ?",
            (max(after, "f/"), limit),
        )

    def forget_files(self, keys: Iterable[str], *, before_hlc: int) -> None:
        """Drop the rows of files that are not known and whose record is older than a time."""
        with self._db.transaction():
            for key in keys:
                self._db.execute(
                    f"DELETE FROM shared_record WHERE key = ? AND hlc < ? AND NOT {_IS_KNOWN}",  # noqa: S608 - a constant
                    (key, before_hlc),
                )

    def applied(self, keys: Iterable[str]) -> None:
        """Note that the tree shows what the map says of some keys, as far as it can."""
        with self._db.transaction():
            for key in keys:
                self._db.execute("UPDATE shared_record SET applied = 1 WHERE key = ?", (key,))

    # One lower bound a query: of two, SQLite may begin at the first and read all rows before the page.

    def unapplied_entries(self, limit: int, *, after: str = "") -> list[SharedRow]:
        """Return at most `limit` rows of paths that the tree does not show yet, by ascending key above `after`."""
        return self._rows("applied = 0 AND key > ? AND key < 'e0' ORDER BY key LIMIT ?", max(after, "e/"), limit)

    def unapplied_files(self, limit: int, *, after: str = "") -> list[SharedRow]:
        """Return at most `limit` rows of files that the tree shows, and not yet as the map says; as above, by key."""
        return self._rows(
            "applied = 0 AND key > ? AND key < 'f0' AND EXISTS "
            "(SELECT 1 FROM remote WHERE file_id = substr(key, 3) AND ino IS NOT NULL AND tombstoned = 0) "
            "ORDER BY key LIMIT ?",
            max(after, "f/"), limit,
        )  # fmt: skip

    def _rows(self, condition: str, *parameters: object) -> list[SharedRow]:
        sql = f"SELECT key, hlc, writer, record, applied FROM shared_record WHERE {condition}"  # noqa: S608 - constant words
        return [SharedRow._make(row) for row in self._db.all(sql, parameters)]

    # -- what the tree had

    def held(self, ino: int) -> list[str]:
        """Return the keys that an inode had when it was last compared with the map."""
        return [key for (key,) in self._db.all("SELECT key FROM shared_held WHERE ino = ? ORDER BY key", (ino,))]

    def holder(self, key: str) -> int | None:
        """Return the inode that had a key, or None."""
        row = self._db.one("SELECT ino FROM shared_held WHERE key = ?", (key,))
        return None if row is None else int(row[0])

    def hold(self, key: str, ino: int) -> None:
        """Note that an inode has a key."""
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO shared_held VALUES (?, ?)", (key, ino))

    def release(self, key: str) -> None:
        """Note that no inode has a key any more."""
        with self._db.transaction():
            self._db.execute("DELETE FROM shared_held WHERE key = ?", (key,))

    # -- the logs of others

    def positions(self) -> dict[str, int]:
        """Return by writer the number of the segment that is read next."""
        return dict(self._db.all("SELECT writer, next_sequence FROM shared_writer"))

    def read_up_to(self, writer: str, next_sequence: int) -> None:
        """Note which segment of a writer is read next."""
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO shared_writer VALUES (?, ?)", (writer, next_sequence))


def _told(on_mark: Callable[[], None]) -> int:
    """Call a function; SQL wants a value."""
    on_mark()
    return 0
