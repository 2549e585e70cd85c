"""The kernel's side of a mount, as far as data needs it: which files are open, and how to report a change."""

from __future__ import annotations

from typing import Protocol

from remotefs.store.tree import Tree


class Usage(Protocol):
    """The files that programs have open, and the inodes that the kernel remembers."""

    def is_open(self, ino: int) -> bool:
        """Return whether any handle of the inode is open."""
        ...

    def is_open_for_write(self, ino: int) -> bool:
        """Return whether a write handle of the inode is open."""
        ...

    def is_known(self, ino: int) -> bool:
        """Return whether the kernel may still ask for the inode by its number."""
        ...


class Invalidator(Protocol):
    """Reports to the kernel what changed without its doing.

    One thread of its own delivers the reports. A handler must not: the kernel may hold the lock that a report needs
    while it waits for that handler.
    """

    def entry(self, parent: int, name: str) -> None:
        """Report that a name in a directory stands for another file now, or for none."""
        ...

    def inode(self, ino: int) -> None:
        """Report that the attributes of an inode have changed."""
        ...


def is_referred(file_id: str, tree: Tree, usage: Usage) -> bool:
    """Return whether a path or an open handle here refers to a remote file (S5)."""
    return any(inode.nlink > 0 or usage.is_open(inode.ino) for inode in tree.holders(file_id))
