"""The tree: directories, entries, attributes and extended attributes, as rows.

Pure POSIX bookkeeping: nothing here knows of the service, of handles or of the kernel. Every mutating method runs in a
transaction of its own or in the caller's; between two awaits all of it is atomic.

Sizes and times that change with every write are *noted*: kept in memory over the row and saved with the next update of
that inode or by `save_notes()`. A crash loses only notes, and those can be told again from the staged file.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from typing import Any

from remotefs.errors import AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound, TooManyLinks
from remotefs.store.database import Database
from remotefs.store.records import ROOT_INO, ContentState, Entry, Inode

# Names of one file, as ext4; folders in a folder have no limit, for the service has none.
MAX_LINKS = 65_000
# What a directory's reader takes for `.` and `..`; 0 is its start.
COOKIES_BELOW = 2

_COLUMNS = ", ".join(f"i.{field}" for field in Inode._fields)
_GET = f"SELECT {_COLUMNS} FROM inode i WHERE i.ino = ?"  # noqa: S608 - only our own column names
_LOOKUP = f"SELECT {_COLUMNS} FROM dentry d JOIN inode i ON i.ino = d.ino WHERE d.parent = ? AND d.name = ?"  # noqa: S608 - as above
_STAT_COLUMNS = ", ".join(f"i.{field}" for field in Entry._fields[2:])
_ENTRIES = (
    f"SELECT d.cookie + {COOKIES_BELOW}, d.name, {_STAT_COLUMNS} FROM dentry d JOIN inode i ON i.ino = d.ino "  # noqa: S608 - as above
    "WHERE d.parent = ? AND d.cookie > ? ORDER BY d.cookie LIMIT ?"
)
_FOLLOWING_BY_NAME = "SELECT ino FROM dentry WHERE parent = ? AND name > ? ORDER BY name LIMIT ?"
_FOLLOWING_AS_LISTED = (
    "SELECT ino FROM dentry WHERE parent = ? AND cookie > (SELECT cookie FROM dentry WHERE parent = ? AND name = ?) "
    "ORDER BY cookie LIMIT ?"
)


class Tree:
    """Owns the tables `inode`, `dentry` and `xattr` of `database`; makes the root when there is none."""

    def __init__(self, database: Database, *, root_uid: int, root_gid: int, root_mode: int = 0o755) -> None:
        self._db = database
        self._notes: dict[int, dict[str, int]] = {}
        with database.transaction():
            if self.find(ROOT_INO) is None:
                now = time.time_ns()
                database.execute(
                    "INSERT INTO inode (ino, mode, uid, gid, nlink, atime_ns, mtime_ns, ctime_ns, parent) "
                    "VALUES (?, ?, ?, ?, 2, ?, ?, ?, ?)",
                    (ROOT_INO, stat.S_IFDIR | root_mode, root_uid, root_gid, now, now, now, ROOT_INO),
                )

    # -- reading

    def find(self, ino: int) -> Inode | None:
        """The inode, or None."""
        row = self._db.one(_GET, (ino,))
        return self._inode(row) if row else None

    def get(self, ino: int) -> Inode:
        """The inode. Raises NotFound."""
        inode = self.find(ino)
        if inode is None:
            raise NotFound(f"inode {ino} is gone")
        return inode

    def lookup(self, parent: int, name: str) -> Inode | None:
        """What `name` in directory `parent` names, or None."""
        row = self._db.one(_LOOKUP, (parent, name))
        return self._inode(row) if row else None

    def resolve(self, path: str) -> Inode | None:
        """What a path relative to the root names, without following symbolic links; `""` is the root."""
        inode = self.find(ROOT_INO)
        for name in path.split("/") if path else ():
            if inode is None or not inode.is_dir:
                return None
            inode = self.lookup(inode.ino, name)
        return inode

    def entries(self, directory: int, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries with a cookie above `after`, in the order of their cookies, which are above COOKIES_BELOW."""
        rows = self._db.all(_ENTRIES, (directory, after - COOKIES_BELOW, limit))
        entries = [Entry._make(row) for row in rows]
        return [self._noted(entry) for entry in entries] if self._notes else entries

    def following_by_name(self, directory: int, name: str, *, limit: int) -> tuple[int, ...]:
        """The inodes that come after `name` by name, as a shell's `*` goes."""
        return tuple(ino for (ino,) in self._db.all(_FOLLOWING_BY_NAME, (directory, name, limit)))

    def following_as_listed(self, directory: int, name: str, *, limit: int) -> tuple[int, ...]:
        """The inodes that come after `name` as the directory is listed, as a walk goes."""
        return tuple(ino for (ino,) in self._db.all(_FOLLOWING_AS_LISTED, (directory, directory, name, limit)))

    def names_of(self, ino: int) -> list[tuple[int, str]]:
        """(parent, name) of each hard link, the oldest first; for a directory its one name."""
        return self._db.all("SELECT parent, name FROM dentry WHERE ino = ? ORDER BY cookie", (ino,))

    def paths_of(self, ino: int) -> list[str]:
        """The paths of each hard link relative to the root, the oldest first; empty once unlinked."""
        return [""] if ino == ROOT_INO else [self.path_of(parent, name) for parent, name in self.names_of(ino)]

    def path_of(self, parent: int, name: str) -> str:
        """The path of a name in a directory, which need not be there."""
        # A loop, for a tree can be deeper than Python's stack.
        components = [name]
        while parent != ROOT_INO:
            [(parent, name)] = self.names_of(parent)
            components.append(name)
        return "/".join(reversed(components))

    def is_empty(self, directory: int) -> bool:
        """Whether the directory has no entries."""
        return self._db.one("SELECT 1 FROM dentry WHERE parent = ? LIMIT 1", (directory,)) is None

    def is_beneath(self, directory: int, ancestor: int) -> bool:
        """Whether `directory` is `ancestor` or lies somewhere in it."""
        while directory != ancestor:
            if directory == ROOT_INO:
                return False
            parent = self.get(directory).parent
            assert parent is not None
            directory = parent
        return True

    def files_beneath(self, directory: int) -> Iterator[Inode]:
        """Every regular file under a directory, one page of entries of each level in memory at a time."""
        places = [(directory, 0)]
        while places:
            where, after = places.pop()
            page = self.entries(where, after=after)
            if page:
                places.append((where, page[-1].cookie))
            places += [(entry.ino, 0) for entry in page if entry.is_dir]
            # One may be gone by the time it is its turn.
            yield from (inode for entry in page if entry.is_file and (inode := self.find(entry.ino)) is not None)

    def holders(self, file_id: str) -> list[Inode]:
        """Inodes bound to a remote file."""
        return self._where("i.file_id = ?", file_id)

    def unlinked(self) -> list[Inode]:
        """Inodes without a name: after a crash, nobody can have them open."""
        return self._where("i.nlink = 0")

    def staged(self) -> list[Inode]:
        """Inodes whose bytes lie in staging."""
        return self._where("i.staged_gen IS NOT NULL")

    def unclosed(self) -> list[Inode]:
        """Inodes with a name that were written to and not closed."""
        return self._where("i.staged_gen IS NOT NULL AND i.state = ? AND i.nlink > 0", ContentState.DIRTY)

    def conflict_copies(self) -> list[Inode]:
        """Inodes shown under a twin's spelling."""
        return self._where("i.conflict_id IS NOT NULL")

    def usage(self) -> tuple[int, int]:
        """(number of inodes, sum of the sizes of regular files in bytes)."""
        row = self._db.one("SELECT count(*), coalesce(sum(size), 0) FROM inode")
        assert row is not None
        return row[0], row[1] + sum(note.get("size", 0) - self._row_size(ino) for ino, note in self._notes.items())

    # -- entries

    def create(
        self,
        parent: int,
        name: str,
        mode: int,
        *,
        uid: int,
        gid: int,
        now_ns: int,
        rdev: int = 0,
        target: bytes | None = None,
        **columns: Any,  # values of several column types, checked by SQLite
    ) -> Inode:
        """A new inode under `parent`. Raises NotFound, NotADirectory, AlreadyExists."""
        is_dir = stat.S_ISDIR(mode)
        with self._db.transaction():
            self._check_free(parent, name)
            values = {
                "mode": mode, "uid": uid, "gid": gid, "nlink": 2 if is_dir else 1, "rdev": rdev,
                "size": len(target or b""), "atime_ns": now_ns, "mtime_ns": now_ns, "ctime_ns": now_ns,
                "target": target, "parent": parent if is_dir else None,
            } | columns  # fmt: skip
            # The names are those of columns, by keyword; only values come from outside.
            cursor = self._db.execute(
                f"INSERT INTO inode ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608
                tuple(values.values()),
            )
            ino = cursor.lastrowid
            assert ino is not None
            self._add_entry(parent, name, ino)
            self._touch_directory(parent, now_ns, nlink=1 if is_dir else 0)
        return self.get(ino)

    def skip_numbers(self, up_to: int) -> None:
        """Give no new inode a number up to this one: files without a row have them."""
        with self._db.transaction():
            # SQLite's own table for AUTOINCREMENT, which it lets be written to. The root's row has made ours.
            self._db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'inode'", (up_to,))

    def link(self, ino: int, parent: int, name: str, *, now_ns: int) -> Inode:
        """One more name for a file. Raises as create() does, and TooManyLinks."""
        with self._db.transaction():
            inode = self.get(ino)
            if inode.nlink >= MAX_LINKS:
                raise TooManyLinks(f"{name}: a file has at most {MAX_LINKS} names")
            self._check_free(parent, name)
            self._add_entry(parent, name, ino)
            self._touch_directory(parent, now_ns)
            return self.update(ino, nlink=inode.nlink + 1, ctime_ns=now_ns)

    def unlink(self, parent: int, name: str, *, now_ns: int) -> Inode:
        """Take a name away; the row stays, also at nlink 0. Raises NotFound, IsADirectory."""
        with self._db.transaction():
            inode = self._required(parent, name)
            if inode.is_dir:
                raise IsADirectory(f"{name} is a directory")
            self._remove_entry(parent, name)
            self._touch_directory(parent, now_ns)
            return self.update(inode.ino, nlink=inode.nlink - 1, ctime_ns=now_ns)

    def rmdir(self, parent: int, name: str, *, now_ns: int) -> Inode:
        """Take an empty directory away; its row stays. Raises NotFound, NotADirectory, DirectoryNotEmpty."""
        with self._db.transaction():
            inode = self._required(parent, name)
            self._check_removable_directory(inode, name)
            self._remove_entry(parent, name)
            self._touch_directory(parent, now_ns, nlink=-1)
            return self.update(inode.ino, nlink=0, ctime_ns=now_ns)

    def rename(self, parent: int, name: str, new_parent: int, new_name: str, *, now_ns: int) -> Inode | None:
        """Move an entry, over a file or an empty directory if there is one; the inode replaced, or None.

        The caller has checked flags, and that a directory does not move beneath itself. Raises NotFound, IsADirectory,
        NotADirectory, DirectoryNotEmpty.
        """
        with self._db.transaction():
            inode = self._required(parent, name)
            replaced = self.lookup(new_parent, new_name)
            if replaced is not None and replaced.ino == inode.ino:
                return None
            if replaced is not None:
                replaced = self._make_way(inode, replaced, new_parent, new_name, now_ns)
            self._move_entry(parent, name, new_parent, new_name)
            self._moved(inode, parent, new_parent, now_ns)
            return replaced

    def exchange(self, parent: int, name: str, new_parent: int, new_name: str, *, now_ns: int) -> None:
        """Swap what two entries name. Raises NotFound."""
        with self._db.transaction():
            one, other = self._required(parent, name), self._required(new_parent, new_name)
            for where, what, ino in ((parent, name, other.ino), (new_parent, new_name, one.ino)):
                self._db.execute("UPDATE dentry SET ino = ? WHERE parent = ? AND name = ?", (ino, where, what))
            self._moved(one, parent, new_parent, now_ns)
            self._moved(other, new_parent, parent, now_ns)

    def rename_entry(self, parent: int, name: str, new_name: str) -> None:
        """Show an entry under another name in the same directory, which is free; no times change."""
        with self._db.transaction():
            self._move_entry(parent, name, parent, new_name)

    def forget(self, ino: int) -> None:
        """Remove the row of an inode that has no name any more."""
        with self._db.transaction():
            self._db.execute("DELETE FROM inode WHERE ino = ?", (ino,))
            self._db.execute("DELETE FROM xattr WHERE ino = ?", (ino,))
            self._drop_note(ino)

    def _required(self, parent: int, name: str) -> Inode:
        inode = self.lookup(parent, name)
        if inode is None:
            raise NotFound(f"{name}: no such file or directory")
        return inode

    def _check_free(self, parent: int, name: str) -> None:
        directory = self.get(parent)
        if not directory.is_dir:
            raise NotADirectory(f"{name}: its parent is not a directory")
        if directory.nlink == 0:
            raise NotFound(f"{name}: its directory was removed")
        if self._db.one("SELECT 1 FROM dentry WHERE parent = ? AND name = ?", (parent, name)):
            raise AlreadyExists(f"{name} exists already")

    def _check_removable_directory(self, inode: Inode, name: str) -> None:
        if not inode.is_dir:
            raise NotADirectory(f"{name} is not a directory")
        if not self.is_empty(inode.ino):
            raise DirectoryNotEmpty(f"{name} is not empty")

    def _make_way(self, inode: Inode, replaced: Inode, parent: int, name: str, now_ns: int) -> Inode:
        if inode.is_dir:
            self._check_removable_directory(replaced, name)
            return self.rmdir(parent, name, now_ns=now_ns)
        return self.unlink(parent, name, now_ns=now_ns)

    def _moved(self, inode: Inode, parent: int, new_parent: int, now_ns: int) -> None:
        crosses = inode.is_dir and parent != new_parent
        self._touch_directory(parent, now_ns, nlink=-1 if crosses else 0)
        self._touch_directory(new_parent, now_ns, nlink=1 if crosses else 0)
        # A name given here is the user's own: it is no twin's spelling any more.
        self.update(inode.ino, ctime_ns=now_ns, conflict_id=None, **({"parent": new_parent} if inode.is_dir else {}))

    def _add_entry(self, parent: int, name: str, ino: int) -> None:
        self._db.execute("INSERT INTO dentry (parent, name, ino) VALUES (?, ?, ?)", (parent, name, ino))

    def _remove_entry(self, parent: int, name: str) -> None:
        self._db.execute("DELETE FROM dentry WHERE parent = ? AND name = ?", (parent, name))

    def _move_entry(self, parent: int, name: str, new_parent: int, new_name: str) -> None:
        self._db.execute(
            "UPDATE dentry SET parent = ?, name = ? WHERE parent = ? AND name = ?",
            (new_parent, new_name, parent, name),
        )

    def _touch_directory(self, ino: int, now_ns: int, *, nlink: int = 0) -> None:
        self._db.execute(
            "UPDATE inode SET mtime_ns = ?, ctime_ns = ?, nlink = nlink + ? WHERE ino = ?",
            (now_ns, now_ns, nlink, ino),
        )

    # -- attributes

    def update(self, ino: int, **columns: Any) -> Inode:  # values of several column types, checked by SQLite
        """Set columns of an inode, with what was noted for it; returns the new row."""
        with self._db.transaction():
            values = self._notes.get(ino, {}) | columns
            self._drop_note(ino)
            if values:
                # The names are those of columns, by keyword; only values come from outside.
                assignments = ", ".join(f"{column} = ?" for column in values)
                self._db.execute(f"UPDATE inode SET {assignments} WHERE ino = ?", (*values.values(), ino))  # noqa: S608
            return self.get(ino)

    def note(self, ino: int, **columns: int) -> None:
        """Remember sizes (bytes) and times (ns) that change often; they show at once and are saved later."""
        self._notes.setdefault(ino, {}).update(columns)

    def save_notes(self) -> None:
        """Write all that was noted."""
        if self._notes:
            with self._db.transaction():
                for ino in list(self._notes):
                    self.update(ino)

    def _drop_note(self, ino: int) -> None:
        note = self._notes.pop(ino, None)
        if note is not None:
            self._db.on_rollback(lambda: self._notes.update({ino: note}))

    def _where(self, condition: str, *parameters: object) -> list[Inode]:
        rows = self._db.all(f"SELECT {_COLUMNS} FROM inode i WHERE {condition}", parameters)  # noqa: S608 - constant words
        return [self._inode(row) for row in rows]

    def _inode(self, row: tuple[Any, ...]) -> Inode:
        inode = Inode._make(row)
        note = self._notes.get(inode.ino)
        return Inode(**(inode._asdict() | note)) if note else inode

    def _noted(self, entry: Entry) -> Entry:
        note = self._notes.get(entry.ino)
        return Entry(**(entry._asdict() | note)) if note else entry

    def _row_size(self, ino: int) -> int:
        row = self._db.one("SELECT size FROM inode WHERE ino = ?", (ino,))
        return int(row[0]) if row else 0

    # -- extended attributes

    def xattrs(self, ino: int) -> dict[bytes, bytes]:
        """All extended attributes that were set on an inode."""
        return dict(self._db.all("SELECT name, value FROM xattr WHERE ino = ? ORDER BY name", (ino,)))

    def xattr(self, ino: int, name: bytes) -> bytes | None:
        """One extended attribute, or None."""
        row = self._db.one("SELECT value FROM xattr WHERE ino = ? AND name = ?", (ino, name))
        return row[0] if row else None

    def set_xattr(self, ino: int, name: bytes, value: bytes, *, now_ns: int) -> None:
        """Set one."""
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO xattr (ino, name, value) VALUES (?, ?, ?)", (ino, name, value))
            # A directory that carries something of this machine no longer goes with its last remote file.
            self.update(ino, ctime_ns=now_ns, implied=0)

    def remove_xattr(self, ino: int, name: bytes, *, now_ns: int) -> bool:
        """Remove one; whether it was there."""
        with self._db.transaction():
            removed = self._db.execute("DELETE FROM xattr WHERE ino = ? AND name = ?", (ino, name)).rowcount > 0
            if removed:
                self.update(ino, ctime_ns=now_ns)
            return removed
