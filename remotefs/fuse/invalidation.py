"""Calls that make the kernel drop what it has cached, with plain numbers and names.

Call them only from the notifier's thread: `invalidate_entry` blocks while a handler of that directory runs.
"""

from __future__ import annotations

import pyfuse3


def invalidate_entry(parent: int, name: str) -> None:
    """Make the kernel look up a name in a directory again. Raises OSError (ENOENT) when it has not cached the name."""
    pyfuse3.invalidate_entry(pyfuse3.InodeT(parent), pyfuse3.FileNameT(name.encode()))


def invalidate_attributes(ino: int) -> None:
    """Make the kernel ask for the attributes of an inode again, and keep its pages.

    Raises OSError (ENOENT) when it does not know the inode.
    """
    pyfuse3.invalidate_inode(pyfuse3.InodeT(ino), attr_only=True)
