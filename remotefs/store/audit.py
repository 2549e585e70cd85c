"""All rows at one moment, and the few changes that repair wrong ones; for `remotefs check`."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from remotefs.errors import StateUnusable
from remotefs.store import journal
from remotefs.store.database import RESCUE_ADVICE, Database
from remotefs.store.records import Inode, Intent, Remote


class Name(NamedTuple):
    """A row of `dentry`."""

    parent: int
    name: str
    ino: int


@dataclass(frozen=True)
class Rows:
    """The tables, as committed at one moment."""

    inodes: Mapping[int, Inode] = field(default_factory=dict)
    names: Sequence[Name] = ()
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    intents: Sequence[Intent] = ()
    # Folders whose files have not all followed their rename.
    renamed: Sequence[int] = ()
    # Uploads whose bytes are in the shared store.
    shared: Container[str] = ()


def read_rows(path: Path) -> Rows:
    """Return all rows of a database, read on a connection of its own; for a thread. Raises StateUnusable."""
    try:
        with _reading(path) as connection:
            inodes = connection.execute(f"SELECT {', '.join(Inode._fields)} FROM inode")  # noqa: S608 - our columns
            names = connection.execute("SELECT parent, name, ino FROM dentry ORDER BY cookie")
            remotes = connection.execute(f"SELECT {', '.join(Remote._fields)} FROM remote")  # noqa: S608 - as above
            intents = connection.execute(f"{journal.SELECT} ORDER BY seq")
            renamed = connection.execute("SELECT ino FROM renamed")
            shared = connection.execute("SELECT file_id FROM share WHERE state = 1")
            return Rows(
                inodes={row[0]: Inode._make(row) for row in inodes},
                names=[Name._make(row) for row in names],
                remotes={row[0]: Remote._make(row) for row in remotes},
                intents=[journal.intent_of(row) for row in intents],
                renamed=[ino for (ino,) in renamed],
                shared=frozenset(file_id for (file_id,) in shared),
            )
    except (sqlite3.Error, ValueError) as error:
        raise StateUnusable(f"{path}: {error}; {RESCUE_ADVICE}") from error


class RowRepair:
    """Repairs of single rows: changes that no operation of the tree makes."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def set_nlink(self, ino: int, nlink: int) -> None:
        """Set the number of names that an inode has."""
        with self._db.transaction():
            self._db.execute("UPDATE inode SET nlink = ? WHERE ino = ?", (nlink, ino))

    def set_parent(self, ino: int, parent: int) -> None:
        """Set the folder that a folder lies in."""
        with self._db.transaction():
            self._db.execute("UPDATE inode SET parent = ? WHERE ino = ?", (parent, ino))

    def drop_name(self, name: Name) -> None:
        """Remove a name whose inode or whose folder does not exist."""
        with self._db.transaction():
            self._db.execute("DELETE FROM dentry WHERE parent = ? AND name = ?", (name.parent, name.name))

    def add_name(self, name: Name) -> None:
        """Add a name, unless the folder has it already."""
        with self._db.transaction():
            self._db.execute("INSERT OR IGNORE INTO dentry (parent, name, ino) VALUES (?, ?, ?)", name)

    def unbind(self, ino: int) -> None:
        """Record that the inode is bound to no remote file."""
        with self._db.transaction():
            self._db.execute("UPDATE inode SET file_id = NULL WHERE ino = ?", (ino,))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # One transaction around all queries: the tables are read as of the same commit, while the mount goes on.
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()
