"""Names that others changed, as the kernel is to announce them to programs that watch folders (M5).

The kernel fires the events of inotify only for system calls in the mount. So a helper process makes one for each name:
it "makes" the file that is there already, or "removes" the one that is gone, and the mount answers those requests
without doing anything (docs/adr/0016-events.md). This module decides which call comes next, and whether a request of
the helper belongs to it. All else that the helper might ask for is refused: its calls never change the tree.

    reconciliation ──came, went──► PendingNames ──next()──► due ──► the helper's call ──► its requests, checked
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from remotefs.data.foreign_names import NameChange, NameMove, PendingNames
from remotefs.data.kernel import Usage
from remotefs.errors import NotPermitted
from remotefs.store.records import Inode
from remotefs.store.tree import Tree
from remotefs.vfs.view import View
from remotefs.wakeup import Wakeup

# The names that wait at most; more are not announced. At the pace of the announcer they take a minute.
_LIMIT = 10_000
# The handle that the helper's opens get; those of files begin with 1.
HELPER_FH = 0
# The types of inodes that the helper "makes". A device would need a privilege.
_MADE = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK})


class Kind(Enum):
    """The event that the kernel is to fire."""

    CREATE = "create"
    DELETE = "delete"
    MOVE = "move"


class Announcement(NamedTuple):
    """One call of the helper: the name in a folder, its inode, and the new name of a move."""

    kind: Kind
    parent: int
    name: str
    inode: Inode
    new_parent: int = 0
    new_name: str = ""


class Announcements:
    """Owns the names to announce and the one that is being announced; a listener of the reconciliation.

    Nothing is noted before `begin` and after `end`: only folders that the kernel knows can be watched, and it knows
    none before. `wakeup` is set when there is something to announce.
    """

    def __init__(self, tree: Tree, usage: Usage, view: View) -> None:
        self._tree = tree
        self._usage = usage
        self._view = view
        self._pending = PendingNames(_LIMIT)
        self._next: deque[Announcement] = deque()
        self._is_on = False
        # Folders that wait for their own announcement: nothing is known of them yet, but will be in a moment.
        self._coming: set[int] = set()
        self.wakeup = Wakeup()
        # The announcement whose requests are answered now.
        self.due: Announcement | None = None
        # The processes of helpers that may still be there; a number stays until the process was waited for.
        self.pids: set[int] = set()
        # A name that nobody else asks for, by which a helper finds out that a folder is the root of this mount, and
        # whether it was asked for.
        self.probe: bytes | None = None
        self.was_probed = False

    def begin(self) -> None:
        """Note names from now on."""
        self._is_on = True

    def end(self) -> None:
        """Note nothing more, and forget what was noted."""
        self._is_on = False
        self._pending = PendingNames(_LIMIT)
        self._next.clear()
        self._coming.clear()
        self.due = None

    @property
    def dropped(self) -> int:
        """Return the number of names that are not announced because too many waited."""
        return self._pending.dropped

    # -- what others do

    def came(self, parent: int, name: str, inode: Inode) -> None:
        """Note that others gave an inode a name."""
        if self._may_be_watched(parent, name):
            if inode.is_dir:
                self._coming.add(inode.ino)
            self._pending.came(parent, name, inode)
            self.wakeup.set()

    def went(self, parent: int, name: str, inode: Inode) -> None:
        """Note that others took a name away."""
        if self._may_be_watched(parent, name):
            self._pending.went(parent, name, inode)
            self.wakeup.set()

    def _may_be_watched(self, parent: int, name: str) -> bool:
        return self._is_on and (self._is_known(parent) or parent in self._coming) and not self._view.hides(name)

    def _is_known(self, parent: int) -> bool:
        return parent == self._view.root_ino or self._usage.is_known(parent)

    # -- what programs do here

    def changed_here(self, parent: int, name: bytes) -> None:
        """Note that a program here changed a name: the kernel announced that itself."""
        if self._pending or self._next or self.due is not None:
            text = name.decode(errors="surrogateescape")
            self._pending.forget(parent, text)
            if self.due is not None and _is_about(self.due, parent, text):
                self.due = None
            self._next = deque(it for it in self._next if not _is_about(it, parent, text))

    def is_leaving(self, parent: int, name: bytes) -> bool:
        """Return whether a name that is missing is still to be announced: then the kernel must not cache that."""
        if not (self._pending or self._next or self.due is not None):
            return False
        text = name.decode(errors="surrogateescape")
        waiting = (it for it in (self.due, *self._next) if it is not None)
        return (parent, text) in self._pending or any(_is_about(it, parent, text) for it in waiting)

    # -- what comes next

    def next(self) -> Announcement | None:
        """Make the next announcement that somebody may hear the one that is due, and return it."""
        self.due = None
        while self.due is None:
            if not self._next:
                change = self._pending.take()
                if change is None:
                    self._coming.clear()
                    return None
                self._next.extend(_announcements(change))
            if self._next and self._is_true(candidate := self._next.popleft()):
                self.due = candidate
        return self.due

    def done(self, *, failed: bool = False) -> None:
        """Let no further request belong to the announcement that was due; a move that failed is announced as arrival.

        It fails where somebody has asked for the old name since.
        """
        due, self.due = self.due, None
        if failed and due is not None and due.kind == Kind.MOVE:
            self._next.appendleft(Announcement(Kind.CREATE, due.new_parent, due.new_name, due.inode))

    def _is_true(self, it: Announcement) -> bool:
        """Return whether an announcement says what the tree says now, in a folder that the kernel knows."""
        if not self._is_known(it.parent) or stat.S_IFMT(it.inode.mode) not in _MADE:
            return False
        there = self._tree.lookup(it.parent, it.name)
        if it.kind == Kind.CREATE:
            return there is not None and there.ino == it.inode.ino
        if it.kind == Kind.MOVE:
            return self._has_moved(it, there)
        # The kernel takes a link from the inode whose name it removes, so that must be neither in use under another
        # name, nor the one that has the name now.
        removed = self._tree.find(it.inode.ino)
        is_gone = removed is None or removed.nlink == 0
        return is_gone and (there is None or not self._usage.is_known(there.ino))

    def _has_moved(self, it: Announcement, there: Inode | None) -> bool:
        arrived = self._tree.lookup(it.new_parent, it.new_name)
        is_left = there is None or not self._usage.is_known(there.ino)
        return is_left and arrived is not None and arrived.ino == it.inode.ino and self._is_known(it.new_parent)

    # -- what the helper asks for

    def hides(self, parent: int, name: str) -> bool:
        """Return whether a name is shown to the helper as missing, so that it can be made.

        Not that of a file which somebody has opened already: the kernel would take it for deleted in /proc/PID/fd.
        """
        due = self.due
        if due is None or not self._is_true(due) or self._usage.is_open(due.inode.ino):
            return False
        made = (due.parent, due.name) if due.kind == Kind.CREATE else (due.new_parent, due.new_name)
        return due.kind != Kind.DELETE and made == (parent, name)

    def recalled(self, parent: int, name: str) -> Inode | None:
        """Return the inode that a name stood for and that is shown to the helper, so that it can be removed."""
        due = self.due
        is_it = due is not None and due.kind != Kind.CREATE and (due.parent, due.name) == (parent, name)
        return due.inode if due is not None and is_it and self._is_true(due) else None

    def made(self, parent: int, name: str, file_type: int) -> Inode:
        """Return the inode that the helper "made". Raises NotPermitted where no such announcement is due."""
        inode = self._answered(Announcement(Kind.CREATE, parent, name, self._due_inode()))
        if stat.S_IFMT(inode.mode) != file_type:
            raise NotPermitted("the helper made another kind of file than the one that came")
        return inode

    def removed(self, parent: int, name: str) -> None:
        """Answer that the helper "removed" a name. Raises NotPermitted where no such announcement is due."""
        self._answered(Announcement(Kind.DELETE, parent, name, self._due_inode()))

    def moved(self, parent: int, name: str, new_parent: int, new_name: str) -> None:
        """Answer that the helper "moved" a name. Raises NotPermitted where no such announcement is due."""
        self._answered(Announcement(Kind.MOVE, parent, name, self._due_inode(), new_parent, new_name))

    def touched(self, ino: int) -> Inode:
        """Return the inode that came, which the helper "changes". Raises NotPermitted where it is not due."""
        due = self.due
        if due is None or due.kind != Kind.CREATE or due.inode.ino != ino or not self._is_true(due):
            raise NotPermitted("a request of the helper that belongs to no announcement")
        return self._tree.get(ino)

    def _due_inode(self) -> Inode:
        if self.due is None:
            raise NotPermitted("a request of the helper that belongs to no announcement")
        return self.due.inode

    def _answered(self, asked: Announcement) -> Inode:
        if asked != self.due or not self._is_true(asked):
            raise NotPermitted("a request of the helper that belongs to no announcement")
        return self._tree.get(asked.inode.ino) if asked.kind == Kind.CREATE else asked.inode


def _announcements(change: NameChange | NameMove) -> Iterator[Announcement]:
    """Yield the announcements of a change, in order."""
    if isinstance(change, NameMove):
        yield Announcement(
            Kind.MOVE, change.parent, change.name, change.inode, change.new_parent, change.new_name
        )  # fmt: skip
        return
    if change.was is not None:
        yield Announcement(Kind.DELETE, change.parent, change.name, change.was)
    if change.now is not None:
        yield Announcement(Kind.CREATE, change.parent, change.name, change.now)


def _is_about(it: Announcement, parent: int, name: str) -> bool:
    return (parent, name) in {(it.parent, it.name), (it.new_parent, it.new_name)}
