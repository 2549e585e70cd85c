"""Names that others add to the tree and take out of it: who hears of them, and which are left to be told.

The reconciliation reports each name inside of its transaction. Listeners only note it: whoever acts on a note looks at
the tree again, because a transaction may have been rolled back, and a user may have changed the name since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from remotefs.store.records import Inode

Key = tuple[int, str]


class NameListener(Protocol):
    """Hears of names that others changed. Called inside a transaction: it must not wait, change rows or raise."""

    def came(self, parent: int, name: str, inode: Inode) -> None:
        """Note that a name stands for an inode now."""
        ...

    def went(self, parent: int, name: str, inode: Inode) -> None:
        """Note that a name does not stand for an inode any more; `inode` is as it was, with that name."""
        ...


class ForeignNames:
    """Passes each report on to all listeners, from the end of the first complete listing on (`is_listed`).

    Before that listing the tree is empty, so that each file of the service would be one that came.
    """

    def __init__(self, is_listed: Callable[[], bool]) -> None:
        self._is_listed = is_listed
        self._listeners: list[NameListener] = []

    def listen(self, listener: NameListener) -> None:
        """Have a listener told of all names from now on."""
        self._listeners.append(listener)

    def came(self, parent: int, name: str, inode: Inode) -> None:
        """Report that others gave an inode a name."""
        if self._is_listed():
            for listener in self._listeners:
                listener.came(parent, name, inode)

    def went(self, parent: int, name: str, inode: Inode) -> None:
        """Report that others took a name away; `inode` is as it was, with that name."""
        if self._is_listed():
            for listener in self._listeners:
                listener.went(parent, name, inode)


class NameChange(NamedTuple):
    """A name whose meaning changed from `was` to `now`; None: there is no such name.

    `replaced` is the inode whose name it was, where that is known to have moved to another name.
    """

    parent: int
    name: str
    was: Inode | None
    now: Inode | None
    replaced: Inode | None = None


class NameMove(NamedTuple):
    """An inode that others gave another name, such as a conflict copy (N3)."""

    parent: int
    name: str
    new_parent: int
    new_name: str
    inode: Inode


class PendingNames:
    """The names that nobody was told of yet, at most `limit`: the oldest first, each once.

    A name that comes and goes before its turn was never there for anybody, and one that goes and comes back with the
    same inode never went.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changes: dict[Key, NameChange] = {}
        # By inode the name that it has newly got, where that name did not stand for another one.
        self._arrivals: dict[int, Key] = {}
        # How many names found no room.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._changes)

    def __contains__(self, key: Key) -> bool:
        return key in self._changes

    def came(self, parent: int, name: str, inode: Inode) -> None:
        """Note that a name stands for an inode now."""
        before = self._changes.get((parent, name))
        was = before.was if before is not None else None
        if was is not None and was.ino == inode.ino:
            self.forget(parent, name)
        elif self._put(NameChange(parent, name, was, inode)) and was is None:
            self._arrivals[inode.ino] = (parent, name)

    def went(self, parent: int, name: str, inode: Inode) -> None:
        """Note that a name does not stand for an inode any more."""
        before = self._changes.get((parent, name))
        if before is None:
            self._put(NameChange(parent, name, inode, None))
        elif before.was is None:
            self.forget(parent, name)
        else:
            self._put(before._replace(now=None))

    def forget(self, parent: int, name: str) -> None:
        """Drop what was noted of a name."""
        change = self._changes.pop((parent, name), None)
        if change is not None and change.now is not None and self._arrivals.get(change.now.ino) == (parent, name):
            del self._arrivals[change.now.ino]

    def take(self) -> NameChange | NameMove | None:
        """Return the oldest change and drop it; a move where its inode has newly got another name."""
        change = next(iter(self._changes.values()), None)
        if change is None:
            return None
        target = self._arrivals.get(change.was.ino) if change.was is not None else None
        if change.was is None or target is None:
            self.forget(change.parent, change.name)
            return change
        self.forget(*target)
        if change.now is None:
            self.forget(change.parent, change.name)
        else:
            # The name itself stands for another inode now, of which the next call tells.
            self._put(change._replace(was=None, replaced=change.was))
        return NameMove(change.parent, change.name, *target, change.was)

    def _put(self, change: NameChange) -> bool:
        key = (change.parent, change.name)
        if key not in self._changes and len(self._changes) >= self._limit:
            self.dropped += 1
            return False
        before = self._changes.get(key)
        if before is not None and before.now is not None and self._arrivals.get(before.now.ino) == key:
            del self._arrivals[before.now.ino]
        self._changes[key] = change
        return True
