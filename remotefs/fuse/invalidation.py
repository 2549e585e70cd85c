"""What the kernel can be told to drop, by plain numbers and names. Raises OSError where it holds nothing of it."""

from __future__ import annotations

import pyfuse3


def invalidate_entry(parent: int, name: str) -> None:
    """Drop what a name in a directory names."""
    pyfuse3.invalidate_entry(pyfuse3.InodeT(parent), pyfuse3.FileNameT(name.encode()))


def invalidate_attributes(ino: int) -> None:
    """Drop the attributes of an inode, and keep its pages."""
    pyfuse3.invalidate_inode(pyfuse3.InodeT(ino), attr_only=True)
