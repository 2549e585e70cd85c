"""Extended attributes: those that users set (`user.*`), and what the mount answers of a file (`user.remotefs.*`, A5).

`user.remotefs.*` is answered when a program asks for a name, and never listed, so that no tool copies it. Two of them
can be set (`upload_attributes`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from remotefs.api.usable import NOT_THERE, Use, use_of
from remotefs.data.files.reader import FileReader
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.upload_options import PREFIX
from remotefs.data.writeback.failures import Failures
from remotefs.errors import AttributeTooBig, InvalidArgument, NoAttribute, NotPermitted, Unsupported
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store
from remotefs.units import rfc3339
from remotefs.vfs.upload_attributes import UploadAttributes
from remotefs.vfs.view import View

# As the kernel's own limits (xattr(7)); in all as ext4 with large inodes would hold.
MAX_XATTR_NAME_BYTES = 255
MAX_XATTR_VALUE_BYTES = 65_536
MAX_XATTR_TOTAL_BYTES = 4 * 65_536
# The kernel asks for it before each write(2), and takes "no such attribute" for what it is: nothing to clear. For every
# other namespace "not supported" is the answer that makes coreutils stop asking file after file.
_CAPABILITY = b"security.capability"


class ExtendedAttributes:
    """Keeps the extended attributes of users and answers the mount's own.

    The root answers `user.remotefs.control` with the path `control_socket`, and `user.remotefs.subdir` with its path in
    the tree where it is a folder of it. `now_ns` is the service's clock.
    """

    def __init__(
        self,
        store: Store,
        intents: Intents,
        reader: FileReader,
        in_flight: UploadsInFlight,
        failures: Failures,
        view: View,
        control_socket: Path,
        now_ns: Callable[[], int],
    ) -> None:
        self._tree = store.tree
        self._xattrs = store.xattrs
        self._journal = store.journal
        self._remotes = store.remotes
        self._paths = intents.paths
        self._options = intents.upload_options
        self._upload = UploadAttributes(store, intents, reader)
        self._reader = reader
        self._in_flight = in_flight
        self._failures = failures
        self._view = view
        self._control_socket = control_socket
        self._now_ns = now_ns

    def getxattr(self, ino: int, name: bytes) -> bytes:
        """Return one value. Raises NoAttribute, Unsupported for a namespace that is not kept."""
        if name == _CAPABILITY:
            raise NoAttribute("a file here has no capabilities")
        if not name.startswith(b"user."):
            raise Unsupported("only attributes of the `user.` namespace are kept")
        value = (
            self._virtual(ino, name.removeprefix(PREFIX)) if name.startswith(PREFIX) else self._xattrs.find(ino, name)
        )
        if value is None:
            raise NoAttribute(f"inode {ino} has no attribute {name!r}")
        return value

    def listxattr(self, ino: int) -> list[bytes]:
        """Return the names that users set."""
        return list(self._users(ino))

    def setxattr(self, ino: int, name: bytes, value: bytes) -> None:
        """Set one attribute.

        Raises NotPermitted, Unsupported, InvalidArgument, AttributeTooBig; AccessDenied for one of ours that takes
        another upload of bytes that are not here.
        """
        self._check_settable(name)
        if name.startswith(PREFIX):
            self._upload.set(self._tree.get(ino), name, value)
            return
        others = self._users(ino)
        others.pop(name, None)
        total = sum(len(n) + len(v) for n, v in others.items()) + len(name) + len(value)
        if len(name) > MAX_XATTR_NAME_BYTES or len(value) > MAX_XATTR_VALUE_BYTES or total > MAX_XATTR_TOTAL_BYTES:
            raise AttributeTooBig(
                f"inode {ino}: an extended attribute has at most {MAX_XATTR_NAME_BYTES} bytes of name and "
                f"{MAX_XATTR_VALUE_BYTES} of value, all of a file together {MAX_XATTR_TOTAL_BYTES}"
            )
        self._xattrs.put(ino, name, value, now_ns=time.time_ns())

    def removexattr(self, ino: int, name: bytes) -> None:
        """Remove one attribute. Raises NoAttribute, and as setxattr() does."""
        self._check_settable(name)
        if name.startswith(PREFIX):
            self._upload.remove(self._tree.get(ino), name)
        elif not self._xattrs.remove(ino, name, now_ns=time.time_ns()):
            raise NoAttribute(f"inode {ino} has no attribute {name!r}")

    def _check_settable(self, name: bytes) -> None:
        if not name.startswith(b"user."):
            raise Unsupported("only attributes of the `user.` namespace are kept")
        if name.startswith(PREFIX) and name not in self._upload.names:
            raise NotPermitted(f"{name.decode(errors='replace')} is read-only")
        if not name.removeprefix(b"user."):
            raise InvalidArgument("an attribute needs a name")

    def _users(self, ino: int) -> dict[bytes, bytes]:
        return {name: value for name, value in self._xattrs.of(ino).items() if not name.startswith(PREFIX)}

    # -- the mount's own (A5)

    def _virtual(self, ino: int, name: bytes) -> bytes | None:
        if ino == self._view.root_ino and name in {b"control", b"subdir"}:
            return str(self._control_socket).encode() if name == b"control" else self._view.path.encode() or None
        inode = self._tree.get(ino)
        if (upload := self._upload.read(inode, PREFIX + name)) is not None:
            return upload.encode()
        if not inode.is_file:
            return None
        if name == b"state":
            return self.state(inode).encode()
        if name == b"readable":
            return self._readable(inode).encode()
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if remote is None or inode.state != ContentState.CLEAN:
            return str(NOT_THERE).encode() if name == b"usable_as" else None
        return str(self._use(remote)).encode() if name == b"usable_as" else _remote_fact(remote, name)

    def _use(self, remote: Remote) -> Use:
        is_expired = remote.expires_ns is not None and remote.expires_ns <= self._now_ns()
        return use_of(remote.mime_type, remote.size, is_expired=is_expired)

    def state(self, inode: Inode) -> str:
        """Return `clean`, `dirty`, `pending`, `uploading`, `alias`, `local`, or `failed: REASON`."""
        intent = self._journal.of_inode(inode.ino)
        if inode.ino in self._in_flight:
            return "uploading"
        if refusal := self._failures.refusal(inode.ino):
            return f"failed: {refusal}"
        if inode.state == ContentState.DIRTY:
            return "dirty"
        if self._reader.is_damaged(inode):
            return "failed: its bytes on this disk are damaged"
        if inode.state == ContentState.CLOSED:
            return "local" if intent is None else "pending"
        if self._options.is_pending(inode.ino) and intent is not None:
            return "pending"
        return "alias" if self._paths.is_alias(inode) else "clean"

    def _readable(self, inode: Inode) -> str:
        if self._reader.is_readable(inode):
            return "yes"
        if self._reader.has_shared_store:
            return "no: uploaded elsewhere, and its bytes are not in the shared store"
        return "no: uploaded elsewhere, and the service gives uploads back to nobody"


def _remote_fact(remote: Remote, name: bytes) -> bytes | None:
    expires = rfc3339(remote.expires_ns) if remote.expires_ns is not None else "never"
    facts = {
        b"id": remote.file_id,
        b"created_at": rfc3339(remote.created_ns),
        b"expires_at": expires,
        b"downloadable": "true" if remote.downloadable else "false",
    }
    value = facts.get(name)
    return value.encode() if value is not None else None
