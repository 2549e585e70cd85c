"""The verbs on attributes: setattr, statfs, extended attributes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from remotefs.data.files.file_bytes import FileBytes
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.writeback.failures import Failures
from remotefs.errors import AttributeTooBig, InvalidArgument, NoAttribute, NotPermitted, Unsupported
from remotefs.store.disk import Disk
from remotefs.store.records import ROOT_INO, ContentState, Inode, Remote
from remotefs.store.store import Store
from remotefs.vfs.files import Files
from remotefs.vfs.namespace import Namespace

# As the kernel's own limits (xattr(7)); in all as ext4 with large inodes would hold.
MAX_XATTR_NAME_BYTES = 255
MAX_XATTR_VALUE_BYTES = 65_536
MAX_XATTR_TOTAL_BYTES = 4 * 65_536
BLOCK_BYTES = 4096
_OURS = b"user.remotefs."
# The kernel asks for it before each write(2), and takes "no such attribute" for what it is: nothing to clear. Of all
# other namespaces coreutils ask every file again until they hear that the file system does not support them.
_CAPABILITY = b"security.capability"
_NS = 1_000_000_000


@dataclass(frozen=True)
class AttributeChange:
    """What setattr is to change; None: leave it."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True)
class FileSystemSize:
    """What statfs tells; blocks of BLOCK_BYTES."""

    blocks: int
    free_blocks: int
    files: int


class Attributes:
    """Attributes and extended attributes.

    `storage_bytes` is what the service stores at most (0: no bound); `control_socket` is told to those who ask the root
    for it.
    """

    def __init__(
        self,
        store: Store,
        intents: Intents,
        file_bytes: FileBytes,
        in_flight: UploadsInFlight,
        failures: Failures,
        namespace: Namespace,
        files: Files,
        disk: Disk,
        storage_bytes: int,
        control_socket: Path,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._paths = intents.paths
        self._file_bytes = file_bytes
        self._in_flight = in_flight
        self._failures = failures
        self._namespace = namespace
        self._files = files
        self._disk = disk
        self._storage_bytes = storage_bytes
        self._control_socket = control_socket

    def getattr(self, ino: int) -> Inode:
        """The inode. Raises NotFound."""
        return self._namespace.inode(ino)

    async def setattr(self, ino: int, change: AttributeChange, fh: int | None) -> Inode:
        """Change what is told; only a new size touches the content, and may wait (A1)."""
        if change.size is not None:
            await self._files.truncate(ino, change.size, fh)
        inode = self._tree.get(ino)
        columns: dict[str, int] = {"ctime_ns": time.time_ns()}
        if change.mode is not None:
            columns["mode"] = inode.mode & ~0o7777 | change.mode & 0o7777
        for name in ("uid", "gid", "atime_ns", "mtime_ns"):
            value = getattr(change, name)
            if value is not None:
                columns[name] = value
        if inode.implied:
            columns["implied"] = 0
        return self._tree.update(ino, **columns)

    def statfs(self) -> FileSystemSize:
        """Used is the sum of sizes, free what both the local disk and the service still take (N5)."""
        files, used = self._tree.usage()
        free = max(self._disk.available(), 0)
        if self._storage_bytes:
            # Others of the organization store there too: that much at most is left, which only a refusal would tell.
            free = min(free, max(self._storage_bytes - used, 0))
        return FileSystemSize((used + free) // BLOCK_BYTES, free // BLOCK_BYTES, files)

    # -- extended attributes

    def getxattr(self, ino: int, name: bytes) -> bytes:
        """Return one value. Raises NoAttribute, Unsupported for a namespace that is not kept."""
        if name == _CAPABILITY:
            raise NoAttribute("a file here has no capabilities")
        if not name.startswith(b"user."):
            raise Unsupported("only attributes of the `user.` namespace are kept")
        value = self._virtual(ino, name.removeprefix(_OURS)) if name.startswith(_OURS) else self._tree.xattr(ino, name)
        if value is None:
            raise NoAttribute(f"inode {ino} has no attribute {name!r}")
        return value

    def listxattr(self, ino: int) -> list[bytes]:
        """The names that were set; ours are answered when asked for, but not listed, so that no tool copies them."""
        return list(self._tree.xattrs(ino))

    def setxattr(self, ino: int, name: bytes, value: bytes) -> None:
        """Set one. Raises NotPermitted, Unsupported, AttributeTooBig."""
        self._check_settable(name)
        others = self._tree.xattrs(ino)
        others.pop(name, None)
        total = sum(len(n) + len(v) for n, v in others.items()) + len(name) + len(value)
        if len(name) > MAX_XATTR_NAME_BYTES or len(value) > MAX_XATTR_VALUE_BYTES or total > MAX_XATTR_TOTAL_BYTES:
            raise AttributeTooBig(f"inode {ino} cannot carry that much in extended attributes")
        self._tree.set_xattr(ino, name, value, now_ns=time.time_ns())

    def removexattr(self, ino: int, name: bytes) -> None:
        """Remove one. Raises NoAttribute."""
        self._check_settable(name)
        if not self._tree.remove_xattr(ino, name, now_ns=time.time_ns()):
            raise NoAttribute(f"inode {ino} has no attribute {name!r}")

    def _check_settable(self, name: bytes) -> None:
        if not name.startswith(b"user."):
            raise Unsupported("only attributes of the `user.` namespace are kept")
        if name.startswith(_OURS):
            raise NotPermitted("`user.remotefs.*` is told by the mount")
        if not name.removeprefix(b"user."):
            raise InvalidArgument("an attribute needs a name")

    # -- what the mount tells of a file (A5)

    def _virtual(self, ino: int, name: bytes) -> bytes | None:
        if name == b"control":
            return str(self._control_socket).encode() if ino == ROOT_INO else None
        inode = self._tree.get(ino)
        if not inode.is_file:
            return None
        if name == b"state":
            return self.state(inode).encode()
        if name == b"readable":
            return self._readable(inode).encode()
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        return _remote_fact(remote, name) if remote is not None and inode.state == ContentState.CLEAN else None

    def state(self, inode: Inode) -> str:
        """clean, dirty, pending, uploading, alias, local, or `failed: reason`."""
        intent = self._journal.of_inode(inode.ino)
        if inode.ino in self._in_flight:
            return "uploading"
        if refusal := self._failures.refusal(inode.ino):
            return f"failed: {refusal}"
        if inode.state == ContentState.DIRTY:
            return "dirty"
        if inode.state == ContentState.CLOSED:
            return "local" if intent is None else "pending"
        return "alias" if self._paths.is_alias(inode) else "clean"

    def _readable(self, inode: Inode) -> str:
        if self._file_bytes.is_readable(inode):
            return "yes"
        return "no: uploaded elsewhere, and the service gives uploads back to nobody"


def _remote_fact(remote: Remote, name: bytes) -> bytes | None:
    expires = _rfc3339(remote.expires_ns) if remote.expires_ns is not None else "never"
    facts = {
        b"id": remote.file_id,
        b"mime_type": remote.mime_type,
        b"created_at": _rfc3339(remote.created_ns),
        b"expires_at": expires,
        b"downloadable": "true" if remote.downloadable else "false",
    }
    value = facts.get(name)
    return value.encode() if value is not None else None


def _rfc3339(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / _NS, UTC).isoformat().replace("+00:00", "Z")
