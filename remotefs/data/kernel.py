"""The kernel's side of a mount, as far as data needs to know it: who has what open, and how to tell of a change."""

from __future__ import annotations

from typing import Protocol

from remotefs.store.tree import Tree


class Usage(Protocol):
    """Who has what open."""

    def is_open(self, ino: int) -> bool:
        """Whether any handle is."""
        ...

    def is_open_for_write(self, ino: int) -> bool:
        """Whether a write handle is."""
        ...

    def is_known(self, ino: int) -> bool:
        """Whether the kernel may still ask for it by number."""
        ...


class Invalidator(Protocol):
    """How the kernel is told what changed behind its back; carried out by one thread, never by a handler."""

    def entry(self, parent: int, name: str) -> None:
        """What a name in a directory names has changed."""
        ...

    def inode(self, ino: int) -> None:
        """An inode's attributes have changed."""
        ...


def is_referred(file_id: str, tree: Tree, usage: Usage) -> bool:
    """Whether a path or an open handle here refers to a remote file (S5)."""
    return any(inode.nlink > 0 or usage.is_open(inode.ino) for inode in tree.holders(file_id))
