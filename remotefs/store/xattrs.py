"""The extended attributes of inodes, as rows. The rows of an inode go with it (`Tree.forget`)."""

from __future__ import annotations

from remotefs.store.database import Database
from remotefs.store.tree import Tree

# The root is its own parent.
_ABOVE = (
    "WITH RECURSIVE above(ino, parent, height) AS (SELECT ino, parent, 0 FROM inode WHERE ino = ? UNION ALL "
    "SELECT i.ino, i.parent, height + 1 FROM above JOIN inode i ON i.ino = above.parent "
    "WHERE above.ino <> above.parent) SELECT x.name, x.value FROM above JOIN xattr x ON x.ino = above.ino"
)
_PUT = "INSERT OR REPLACE INTO xattr (ino, name, value) VALUES (?, ?, ?)"
_REMOVE = "DELETE FROM xattr WHERE ino = ? AND name = ?"


class Xattrs:
    """Owns the table `xattr` of `database`: for each inode values by name, both bytes."""

    def __init__(self, database: Database, tree: Tree) -> None:
        self._db = database
        self._tree = tree

    def of(self, ino: int) -> dict[bytes, bytes]:
        """Return the attributes of an inode, sorted by name."""
        return dict(self._db.all("SELECT name, value FROM xattr WHERE ino = ? ORDER BY name", (ino,)))

    def find(self, ino: int, name: bytes) -> bytes | None:
        """Return an attribute of an inode, or None."""
        row = self._db.one("SELECT value FROM xattr WHERE ino = ? AND name = ?", (ino, name))
        return row[0] if row else None

    def inherited(self, directory: int, names: tuple[bytes, ...]) -> dict[bytes, bytes]:
        """Return those of some attributes that a directory or one above it has; the nearest one counts."""
        marks = ", ".join("?" * len(names))
        found = self._db.all(f"{_ABOVE} WHERE x.name IN ({marks}) ORDER BY above.height DESC", (directory, *names))
        return dict(found)

    def is_on_directory(self, names: tuple[bytes, ...]) -> bool:
        """Return whether any directory has one of some attributes; reads all attributes where none has."""
        marks = ", ".join("?" * len(names))
        found = (
            f"SELECT 1 FROM xattr x JOIN inode i ON i.ino = x.ino WHERE i.parent IS NOT NULL AND x.name IN ({marks})"  # noqa: S608 - question marks
        )
        return self._db.one(f"{found} LIMIT 1", names) is not None

    def having(self, name: bytes) -> list[int]:
        """Return the numbers of the inodes with an attribute; reads all attributes."""
        return [ino for (ino,) in self._db.all("SELECT ino FROM xattr WHERE name = ? ORDER BY ino", (name,))]

    def note(self, ino: int, name: bytes, value: bytes | None) -> None:
        """Set an attribute, or remove it (None), that is not the user's own: no time of the inode changes."""
        with self._db.transaction():
            if value is None:
                self._db.execute(_REMOVE, (ino, name))
            else:
                self._db.execute(_PUT, (ino, name, value))

    def put(self, ino: int, name: bytes, value: bytes, *, now_ns: int) -> None:
        """Set an attribute of an inode, whose change time becomes `now_ns`."""
        with self._db.transaction():
            self._db.execute(_PUT, (ino, name, value))
            # An *implied* directory exists because of remote names alone and is removed with the last of them. With an
            # attribute of this machine it stays.
            self._tree.update(ino, ctime_ns=now_ns, implied=0)

    def remove(self, ino: int, name: bytes, *, now_ns: int) -> bool:
        """Remove an attribute of an inode and return whether there was one."""
        with self._db.transaction():
            removed = self._db.execute(_REMOVE, (ino, name)).rowcount > 0
            if removed:
                self._tree.update(ino, ctime_ns=now_ns)
            return removed
