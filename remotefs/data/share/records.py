"""The records of attributes that machines share: their form, their keys, and what is refused (X3). Pure.

    f/<file_id>     a file of the service: attributes, and its paths where its remote name does not tell them
    e/<path>        a folder, a symbolic link or a special node, or that the entry of that path is gone

A record of a file has no tombstone: it dies with its id. Fields are written by position; a later release may add some
at the end, which this one passes over.

A record comes from whoever may write to the store, so everything in it is hostile until `check` has passed it.
"""

from __future__ import annotations

import re
import stat
from typing import Literal

import msgspec

from remotefs import names
from remotefs.api.bounds import LATEST_NS, MOST_FILE_BYTES
from remotefs.api.entries import ID
from remotefs.data.intents.upload_options import PREFIX
from remotefs.errors import InvalidArgument
from remotefs.store.tree import MAX_LINKS

# All names and values of one record together.
# As many as the vfs lets a file have.
MOST_XATTR_BYTES = 1 << 18
MOST_XATTR_NAME_BYTES = 255
# Linux's PATH_MAX; the same bounds the target of a symbolic link.
MOST_PATH_BYTES = 4096
# The last id of a user or a group; the one above it means "unchanged" to chown(2).
_MOST_ID = 2**32 - 2
# As large as the kernel and SQLite keep a time; a program may set any.
_MOST_TIME_NS = 2**63 - 1
_MOST_DEVICE = 2**32 - 1
_PERMISSIONS = 0o7777
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_NODES = (*_DEVICES, stat.S_IFIFO, stat.S_IFSOCK)
_DIGEST = re.compile(r"[0-9a-f]{32}")


class FileRecord(msgspec.Struct, frozen=True, array_like=True):
    """The attributes of a file. `digest` is the xxh3-128 of its `size` bytes in hex, None where it is not known.

    `mode` has the permissions alone. `paths` is empty for a file that has the path that its remote name decodes to,
    else it has all paths of the file: of an over-long name, an alias, or a file with several names.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[bytes, bytes]
    size: int
    digest: str | None
    paths: tuple[str, ...] = ()


class EntryRecord(msgspec.Struct, frozen=True, array_like=True):
    """What has a path that is not a file; `gone`, a tombstone, says that nothing has it.

    `mode` has the permissions, and for a node its type too. `target` is of a symlink, `rdev` of a device.
    """

    kind: Literal["dir", "symlink", "node", "gone"]
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: dict[bytes, bytes] = {}
    target: bytes | None = None
    rdev: int = 0


Record = FileRecord | EntryRecord
# The key of a record, its time (`stamps`), and the record.
KeyedRecord = tuple[str, int, Record]


def file_key(file_id: str) -> str:
    """Return the key of a file's record."""
    return f"f/{file_id}"


def entry_key(path: str) -> str:
    """Return the key of the record of a path, which is relative to the root."""
    return f"e/{path}"


def parse_key(key: str) -> tuple[Literal["f", "e"], str]:
    """Return ("f", file id) or ("e", path). Raises ValueError for what is not a key."""
    space, _, rest = key.partition("/")
    if space == "f":
        if re.match(ID, rest) is None:
            raise ValueError("its key has no file id")
        return "f", rest
    if space == "e":
        _check_path(rest)
        return "e", rest
    raise ValueError("its key is of no known kind")


def check(key: str, hlc: int, record: Record) -> None:
    """Raise ValueError, with the reason, for a record that cannot be. A machine checks its own ones too."""
    space, _ = parse_key(key)
    if not 0 < hlc <= LATEST_NS:
        raise ValueError("its stamp is not a time")
    _check_attributes(record)
    if isinstance(record, FileRecord):
        expected = "f"
        _check_file(record)
    else:
        expected = "e"
        _check_entry(record)
    if space != expected:
        raise ValueError("its key is of another kind of record")


def canonical(record: Record) -> bytes:
    """Return bytes that are equal for equal records only, in whatever order their attributes are."""
    return msgspec.msgpack.encode(msgspec.structs.replace(record, xattrs=dict(sorted(record.xattrs.items()))))


def _check_attributes(record: Record) -> None:
    if not (0 <= record.uid <= _MOST_ID and 0 <= record.gid <= _MOST_ID):
        raise ValueError("its owner cannot be")
    if not -_MOST_TIME_NS <= record.mtime_ns <= _MOST_TIME_NS:
        raise ValueError("its time of change cannot be")
    if any(not _is_xattr_name(name) for name in record.xattrs):
        raise ValueError("it has an extended attribute with a name that cannot be")
    if sum(len(name) + len(value) for name, value in record.xattrs.items()) > MOST_XATTR_BYTES:
        raise ValueError(f"its extended attributes have more than {MOST_XATTR_BYTES} bytes")


def _is_xattr_name(name: bytes) -> bool:
    # Under PREFIX are the options of this machine's uploads, and whether a file has to go up again for them.
    is_users = name.startswith(b"user.") and name != b"user." and not name.startswith(PREFIX)
    return is_users and len(name) <= MOST_XATTR_NAME_BYTES and b"\0" not in name


def _check_file(record: FileRecord) -> None:
    if record.mode & ~_PERMISSIONS:
        raise ValueError("its mode has more than permissions")
    if not 0 <= record.size <= MOST_FILE_BYTES:
        raise ValueError("its size cannot be")
    if record.digest is not None and _DIGEST.fullmatch(record.digest) is None:
        raise ValueError("its digest cannot be")
    if len(record.paths) > MAX_LINKS or len(set(record.paths)) != len(record.paths):
        raise ValueError("it has too many paths, or one twice")
    for path in record.paths:
        _check_path(path)


def _check_entry(record: EntryRecord) -> None:
    kind = record.mode & ~_PERMISSIONS
    if kind not in (_NODES if record.kind == "node" else (0,)):
        raise ValueError("its mode does not fit its kind")
    if (record.kind == "symlink") != (record.target is not None):
        raise ValueError("it has a target and is not a symbolic link, or the reverse")
    if record.target is not None and not _is_target(record.target):
        raise ValueError("its target cannot be")
    if not 0 <= record.rdev <= (_MOST_DEVICE if kind in _DEVICES else 0):
        raise ValueError("its device number cannot be")


def _is_target(target: bytes) -> bool:
    return 0 < len(target) < MOST_PATH_BYTES and b"\0" not in target


def _check_path(path: str) -> None:
    try:
        names.encode(path)
    except InvalidArgument:
        raise ValueError("it has a path that cannot be") from None
    if len(path.encode()) > MOST_PATH_BYTES:
        raise ValueError(f"it has a path of more than {MOST_PATH_BYTES} bytes")
    if path.partition("/")[0] == names.RESERVED:
        raise ValueError("it has a path among the mount's own files")
