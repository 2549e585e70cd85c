"""The tree: inodes and directory entries, as rows.

This is POSIX bookkeeping alone: nothing here knows of the service, of handles or of the kernel. Every method that
changes rows runs in a transaction of its own or in the caller's.

A directory is read in the order of its *cookies*. The cookie of an entry is the row number of its `dentry`, which is
never used again and survives a rename. So a program that reads a directory in parts sees every entry that stays there
exactly once, while others come and go.

Sizes and times that change with every write are *notes*: kept in memory over the row, shown at once, and saved with the
next update of that inode or by `save_notes()`. A crash loses only notes, and the staged file shows what they were.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from remotefs.errors import AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound, TooManyLinks
from remotefs.store.database import Database
from remotefs.store.records import ROOT_INO, ContentState, Entry, Inode

# The most names of one file, as on ext4. The number of folders in a folder is not limited, because the service has no
# such limit.
MAX_LINKS = 65_000
# Notes to save at once, which takes some milliseconds. A walk that reads many files leaves one note for each.
NOTES_A_TURN = 200
# Nearly all files have one name; of a file with thousands one is looked at.
_FEW_NAMES = 16
# The entries that a walk reads at once; they take a millisecond.
_PAGE = 256
# The reader of a directory gives cookies 1 and 2 to `.` and `..`, and 0 is its start. Cookies of entries begin above.
COOKIES_BELOW = 2

_COLUMNS = ", ".join(f"i.{field}" for field in Inode._fields)
_GET = f"SELECT {_COLUMNS} FROM inode i WHERE i.ino = ?"  # noqa: S608 - only our own column names
_LOOKUP = f"SELECT {_COLUMNS} FROM dentry d JOIN inode i ON i.ino = d.ino WHERE d.parent = ? AND d.name = ?"  # noqa: S608 - as above
_STAT_COLUMNS = ", ".join(f"i.{field}" for field in Entry._fields[2:])
_ENTRIES = (
    f"SELECT d.cookie + {COOKIES_BELOW}, d.name, {_STAT_COLUMNS} FROM dentry d JOIN inode i ON i.ino = d.ino "  # noqa: S608 - as above
    "WHERE d.parent = ? AND d.cookie > ? ORDER BY d.cookie LIMIT ?"
)
_BY_NAME = (
    f"SELECT d.name, {_COLUMNS} FROM dentry d JOIN inode i ON i.ino = d.ino "  # noqa: S608 - as above
    "WHERE d.parent = ? AND d.name > ? ORDER BY d.name LIMIT ?"
)
_FOLLOWING_BY_NAME = "SELECT ino FROM dentry WHERE parent = ? AND name > ? ORDER BY name LIMIT ?"
_FOLLOWING_AS_LISTED = (
    "SELECT ino FROM dentry WHERE parent = ? AND cookie > (SELECT cookie FROM dentry WHERE parent = ? AND name = ?) "
    "ORDER BY cookie LIMIT ?"
)
_NAMES_AFTER = "SELECT cookie, parent, name FROM dentry WHERE ino = ? AND cookie > ? ORDER BY cookie LIMIT ?"


class Tree:
    """Owns the tables `inode` and `dentry` of `database`. Makes the root directory if there is none."""

    def __init__(self, database: Database, *, root_uid: int, root_gid: int, root_mode: int = 0o755) -> None:
        self._db = database
        # Columns by inode that are newer than its row. Every inode and entry that leaves this class has them applied.
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
        """Return the inode with this number, or None."""
        row = self._db.kept(_GET, ino)
        return self._inode(row) if row else None

    def get(self, ino: int) -> Inode:
        """Return the inode with this number. Raises NotFound."""
        inode = self.find(ino)
        if inode is None:
            raise NotFound(f"inode {ino} is gone")
        return inode

    def lookup(self, parent: int, name: str) -> Inode | None:
        """Return the inode that `name` in directory `parent` names, or None."""
        row = self._db.one(_LOOKUP, (parent, name))
        return self._inode(row) if row else None

    def resolve(self, path: str) -> Inode | None:
        """Return the inode at a path relative to the root, or None. `""` is the root. Symlinks are not followed."""
        inode = self.find(ROOT_INO)
        for name in path.split("/") if path else ():
            if inode is None or not inode.is_dir:
                return None
            inode = self.lookup(inode.ino, name)
        return inode

    def entries(self, directory: int, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Return at most `limit` entries whose cookies are above `after`, in the order of their cookies."""
        rows = self._db.all(_ENTRIES, (directory, after - COOKIES_BELOW, limit))
        entries = [Entry._make(row) for row in rows]
        return [self._noted(entry) for entry in entries] if self._notes else entries

    def by_name(self, directory: int, *, after: str, limit: int) -> list[tuple[str, Inode]]:
        """Return at most `limit` names of a directory above `after` with their inodes, in the order of the names."""
        return [(row[0], self._inode(row[1:])) for row in self._db.all(_BY_NAME, (directory, after, limit))]

    def following_by_name(self, directory: int, name: str, *, limit: int) -> tuple[int, ...]:
        """Return at most `limit` inodes whose names sort after `name`: the order in which a shell expands `*`."""
        return tuple(ino for (ino,) in self._db.all(_FOLLOWING_BY_NAME, (directory, name, limit)))

    def following_as_listed(self, directory: int, name: str, *, limit: int) -> tuple[int, ...]:
        """Return at most `limit` inodes that a listing shows after `name`: the order of a walk through the tree."""
        return tuple(ino for (ino,) in self._db.all(_FOLLOWING_AS_LISTED, (directory, directory, name, limit)))

    def names_of(self, ino: int) -> list[tuple[int, str]]:
        """Return (parent, name) of each hard link, the oldest first; of a directory its only name."""
        return self._db.all("SELECT parent, name FROM dentry WHERE ino = ? ORDER BY cookie", (ino,))

    def paths_of(self, ino: int) -> list[str]:
        """Return the path of each hard link relative to the root, the oldest first; none once it is unlinked."""
        return [""] if ino == ROOT_INO else [self.path_of(parent, name) for parent, name in self.names_of(ino)]

    def each_path_of(self, ino: int) -> Iterator[str]:
        """Yield what `paths_of` returns, one after the other, for a caller that seldom needs all of thousands."""
        if ino == ROOT_INO:
            yield ""
        after = 0
        while rows := self._db.all(_NAMES_AFTER, (ino, after, _FEW_NAMES)):
            for cookie, parent, name in rows:
                after = cookie
                yield self.path_of(parent, name)

    def path_of(self, parent: int, name: str) -> str:
        """Return the path, relative to the root, of a name in a directory. The name need not exist."""
        # A loop and no recursion, because a tree can be deeper than Python's stack.
        components = [name]
        while parent != ROOT_INO:
            [(parent, name)] = self.names_of(parent)
            components.append(name)
        return "/".join(reversed(components))

    def is_empty(self, directory: int) -> bool:
        """Return whether the directory has no entries."""
        return self._db.one("SELECT 1 FROM dentry WHERE parent = ? LIMIT 1", (directory,)) is None

    def is_beneath(self, directory: int, ancestor: int) -> bool:
        """Return whether `directory` is `ancestor` or lies somewhere in it."""
        while directory != ancestor:
            if directory == ROOT_INO:
                return False
            parent = self.get(directory).parent
            assert parent is not None
            directory = parent
        return True

    def files_beneath(self, directory: int) -> Iterator[Inode]:
        """Yield every regular file under a directory."""
        # The caller may remove files between two steps of this generator.
        return (
            inode for entry in self.beneath(directory) if entry.is_file and (inode := self.find(entry.ino)) is not None
        )

    def beneath(self, directory: int) -> Iterator[Entry]:
        """Yield every entry under a directory, with at most one page of entries of each level in memory.

        What comes, goes or moves between two steps of this generator may be missed or not, and the rest is not.
        """
        # A stack of (directory, cookie to go on from). The top is read, and what is found below it comes first.
        places = [(directory, 0)]
        while places:
            where, after = places.pop()
            page = self.entries(where, after=after, limit=_PAGE)
            if page:
                places.append((where, page[-1].cookie))
            places += [(entry.ino, 0) for entry in page if entry.is_dir]
            yield from page

    def holders(self, file_id: str) -> list[Inode]:
        """Return the inodes that are bound to a remote file."""
        return self._where("i.file_id = ?", file_id)

    def unlinked(self) -> list[Inode]:
        """Return the inodes without a name. Right after a start no program can have them open."""
        return self._where("i.nlink = 0")

    def staged(self) -> list[Inode]:
        """Return the inodes whose bytes are staged."""
        return self._where("i.staged_gen IS NOT NULL")

    def staged_after(self, ino: int, limit: int) -> list[Inode]:
        """Return at most `limit` inodes with a higher number than `ino` whose bytes are staged, by number."""
        return self._where("i.staged_gen IS NOT NULL AND i.ino > ? ORDER BY i.ino LIMIT ?", ino, limit)

    def unclosed(self) -> list[Inode]:
        """Return the inodes with a name that were written and not closed."""
        # A number in the query and no parameter: else SQLite does not see that the index of dirty files has all.
        return self._where(f"i.state = {ContentState.DIRTY:d} AND i.staged_gen IS NOT NULL AND i.nlink > 0")

    def conflict_copies(self, *, after: int, limit: int) -> list[Inode]:
        """Return at most `limit` inodes above `after` that are shown as conflict copies (N3), in ascending order."""
        return self._where("i.conflict_id IS NOT NULL AND i.ino > ? ORDER BY i.ino LIMIT ?", after, limit)

    def usage(self) -> tuple[int, int]:
        """Return (number of inodes, sum of their sizes in bytes)."""
        row = self._db.one("SELECT count(*), coalesce(sum(size), 0) FROM inode")
        assert row is not None
        # A read notes only a time: then the size in the row counts.
        noted = [(ino, note["size"]) for ino, note in self._notes.items() if "size" in note]
        return row[0], row[1] + sum(size - self._row_size(ino) for ino, size in noted)

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
        """Create an inode with a name in `parent` and return it. Raises NotFound, NotADirectory, AlreadyExists."""
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
                f"INSERT INTO inode ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608 - our own column names
                tuple(values.values()),
            )
            ino = cursor.lastrowid
            assert ino is not None
            self._add_entry(parent, name, ino)
            self._touch_directory(parent, now_ns, nlink=1 if is_dir else 0)
        return self.get(ino)

    def skip_numbers(self, up_to: int) -> None:
        """Give new inodes only numbers above `up_to`, because files without a row carry numbers up to that one."""
        with self._db.transaction():
            # SQLite's own table for AUTOINCREMENT, which may be written to. It has had our row since the root was made.
            self._db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'inode'", (up_to,))

    def link(self, ino: int, parent: int, name: str, *, now_ns: int) -> Inode:
        """Give a file another name and return its inode. Raises as create() does, and TooManyLinks."""
        with self._db.transaction():
            inode = self.get(ino)
            if inode.nlink >= MAX_LINKS:
                raise TooManyLinks(f"{name}: a file has at most {MAX_LINKS} names")
            self._check_free(parent, name)
            self._add_entry(parent, name, ino)
            self._touch_directory(parent, now_ns)
            return self.update(ino, nlink=inode.nlink + 1, ctime_ns=now_ns)

    def unlink(self, parent: int, name: str, *, now_ns: int) -> Inode:
        """Remove a name of a file and return its inode, which stays even at nlink 0. Raises NotFound, IsADirectory."""
        with self._db.transaction():
            inode = self._required(parent, name)
            if inode.is_dir:
                raise IsADirectory(f"{name} is a directory")
            self._remove_entry(parent, name)
            self._touch_directory(parent, now_ns)
            return self.update(inode.ino, nlink=inode.nlink - 1, ctime_ns=now_ns)

    def rmdir(self, parent: int, name: str, *, now_ns: int) -> Inode:
        """Remove the name of an empty directory and return its inode, which stays.

        Raises NotFound, NotADirectory, DirectoryNotEmpty.
        """
        with self._db.transaction():
            inode = self._required(parent, name)
            self._check_removable_directory(inode, name)
            self._remove_entry(parent, name)
            self._touch_directory(parent, now_ns, nlink=-1)
            return self.update(inode.ino, nlink=0, ctime_ns=now_ns)

    def rename(self, parent: int, name: str, new_parent: int, new_name: str, *, now_ns: int) -> Inode | None:
        """Move an entry; return the inode of the file or empty directory that it replaces, or None.

        The caller has checked the flags of rename(2), and that no directory moves beneath itself. Raises NotFound,
        IsADirectory, NotADirectory, DirectoryNotEmpty.
        """
        with self._db.transaction():
            inode = self._required(parent, name)
            replaced = self.lookup(new_parent, new_name)
            # Both are names of one file: rename(2) then does nothing.
            if replaced is not None and replaced.ino == inode.ino:
                return None
            if replaced is not None:
                replaced = self._make_way(inode, replaced, new_parent, new_name, now_ns)
            self._move_entry(parent, name, new_parent, new_name)
            self._moved(inode, parent, new_parent, now_ns)
            return replaced

    def exchange(self, parent: int, name: str, new_parent: int, new_name: str, *, now_ns: int) -> None:
        """Swap the inodes that two entries name. Raises NotFound."""
        with self._db.transaction():
            one, other = self._required(parent, name), self._required(new_parent, new_name)
            for where, what, ino in ((parent, name, other.ino), (new_parent, new_name, one.ino)):
                self._db.execute("UPDATE dentry SET ino = ? WHERE parent = ? AND name = ?", (ino, where, what))
            self._moved(one, parent, new_parent, now_ns)
            self._moved(other, new_parent, parent, now_ns)

    def rename_entry(self, parent: int, name: str, new_name: str) -> None:
        """Give an entry another name, which is free, in the same directory, without a change of times."""
        with self._db.transaction():
            self._move_entry(parent, name, parent, new_name)

    def forget(self, ino: int) -> None:
        """Remove the row of an inode that has no name any more, and with it its extended attributes."""
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
        # The `..` of a directory counts as a link of its parent.
        crosses = inode.is_dir and parent != new_parent
        self._touch_directory(parent, now_ns, nlink=-1 if crosses else 0)
        self._touch_directory(new_parent, now_ns, nlink=1 if crosses else 0)
        # The user chose this name, so it no longer counts as that of a conflict copy.
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
        """Set columns of an inode, save its notes with them, and return the inode. The columns win over the notes."""
        with self._db.transaction():
            values = self._notes.get(ino, {}) | columns
            self._drop_note(ino)
            if values:
                # The names are those of columns, by keyword; only values come from outside.
                assignments = ", ".join(f"{column} = ?" for column in values)
                self._db.execute(f"UPDATE inode SET {assignments} WHERE ino = ?", (*values.values(), ino))  # noqa: S608 - our own column names
            return self.get(ino)

    def note(self, ino: int, **columns: int) -> None:
        """Keep sizes (bytes) and times (ns) that change often in memory. They show at once and are saved later."""
        self._notes.setdefault(ino, {}).update(columns)

    def save_notes(self, at_most: int | None = None) -> bool:
        """Save the oldest `at_most` notes, or all, in one transaction; return whether there are more."""
        if self._notes:
            with self._db.transaction():
                for ino in list(islice(self._notes, at_most)):
                    self.update(ino)
        return bool(self._notes)

    def _drop_note(self, ino: int) -> None:
        note = self._notes.pop(ino, None)
        # If the transaction that saves the note does not commit, the note is still needed.
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
