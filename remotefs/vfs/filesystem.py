"""The file system: POSIX verbs on inodes, handles and bytes, grouped by what they work on."""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.vfs.attributes import Attributes
from remotefs.vfs.files import Files
from remotefs.vfs.handles import Handles
from remotefs.vfs.namespace import Namespace


@dataclass(frozen=True)
class FileSystem:
    """What the kernel's adapter works on, and tests without a mount."""

    namespace: Namespace
    files: Files
    attributes: Attributes
    handles: Handles
