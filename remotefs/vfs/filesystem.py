"""The file system: POSIX verbs on inodes, handles and bytes, grouped by what they work on."""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.vfs.attributes import Attributes
from remotefs.vfs.files import Files
from remotefs.vfs.handles import Handles
from remotefs.vfs.namespace import Namespace
from remotefs.vfs.view import View
from remotefs.vfs.xattrs import ExtendedAttributes


@dataclass(frozen=True)
class FileSystem:
    """The interface to the kernel's adapter, and to tests without a mount."""

    namespace: Namespace
    files: Files
    attributes: Attributes
    xattrs: ExtendedAttributes
    handles: Handles
    view: View
