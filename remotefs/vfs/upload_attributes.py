"""The attributes of a file that its upload carries: `user.remotefs.mime_type`, `.expires_in` and `.name_type` (M1, M3).

The first two can be set. On a folder they are for the files that are made in it later, at any depth. A file that is up
already gets another upload where the new value is another one than the service has: an edit, with a new id.
"""

from __future__ import annotations

from remotefs.api.mime import HEAD_BYTES, is_same_type, parse_mime_type
from remotefs.config import EXPIRY as EXPIRY_RANGE
from remotefs.data.files.reader import FileReader
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.upload_options import EXPIRY, PREFIX, TYPE
from remotefs.errors import AccessDenied, InvalidArgument, NoAttribute, NotPermitted
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store
from remotefs.units import short_time_text

_NAME_TYPE = PREFIX + b"name_type"
_NS = 1_000_000_000
# The service counts an expiry from a moment of its own near to the time that it shows as that of the upload.
_EVEN_S = 60


class UploadAttributes:
    """Reads, sets and removes them. Nothing here waits: the upload that a change takes follows in the background."""

    names = frozenset({TYPE, EXPIRY})

    def __init__(self, store: Store, intents: Intents, reader: FileReader) -> None:
        self._db = store.database
        self._tree = store.tree
        self._xattrs = store.xattrs
        self._remotes = store.remotes
        self._paths = intents.paths
        self._planner = intents.planner
        self._options = intents.upload_options
        self._reader = reader

    # -- reading

    def read(self, inode: Inode, name: bytes) -> str | None:
        """Return the value of one of them; None if it has none, or is none of them.

        The type of a file that is not up yet, or is to go up again, is the one that it will get. Raises
        CorruptionError, StateUnusable where its bytes cannot be read.
        """
        if inode.is_dir and name in self.names:
            value = self._options.inherited(inode.ino).get(name)
            return _shown(name, value) if value is not None else None
        if not inode.is_file:
            return None
        if name == TYPE:
            return self.mime_type(inode)
        if name == EXPIRY:
            expires_in_s = self._options.expires_in_s(inode)
            return short_time_text(expires_in_s) if expires_in_s is not None else None
        return self._options.name_type(inode) if name == _NAME_TYPE else None

    def mime_type(self, inode: Inode) -> str | None:
        """Return the type that the service has of a file, or will have; None where its bytes would have to tell it."""
        remote = self._confirmed(inode)
        if remote is not None and not self._options.is_pending(inode.ino):
            return remote.mime_type
        return self._next_type(inode)

    def _confirmed(self, inode: Inode) -> Remote | None:
        """Return the remote file that has the bytes of a file as they are; None if none has."""
        return self._bound(inode) if inode.state == ContentState.CLEAN else None

    def _bound(self, inode: Inode) -> Remote | None:
        return self._remotes.find(inode.file_id) if inode.file_id else None

    def _next_type(self, inode: Inode) -> str | None:
        head = self._reader.head(inode, HEAD_BYTES)
        chosen = self._options.chosen_type(inode.ino)
        return chosen if head is None else self._options.type_of(inode, head)

    # -- changing

    def set(self, inode: Inode, name: bytes, value: bytes) -> None:
        """Set one of `names`.

        Raises InvalidArgument for a value that cannot be, NotPermitted for anything but a file or a folder,
        AccessDenied where the file would have to go up again and its bytes are not here.
        """
        self._change(inode, name, _stored(name, value))

    def remove(self, inode: Inode, name: bytes) -> None:
        """Remove one of `names`; the file goes up as any other from then on. Raises NoAttribute, AccessDenied."""
        if self._xattrs.find(inode.ino, name) is None:
            raise NoAttribute(f"inode {inode.ino} has no attribute {name!r} of its own")
        self._change(inode, name, None)

    def _change(self, inode: Inode, name: bytes, value: bytes | None) -> None:
        if not (inode.is_file or inode.is_dir):
            raise NotPermitted(f"{self._paths.shown(inode)}: only files and folders have {name.decode()}")
        if self._xattrs.find(inode.ino, name) == value:
            return
        with self._db.transaction():
            self._options.choose(inode, name, value)
            if inode.is_file:
                self._let_follow(inode, name)
                self._planner.schedule(self._tree.get(inode.ino))

    def _let_follow(self, inode: Inode, name: bytes) -> None:
        """Have a file go up again if the service's copy differs in `name`, or will when an upload under way is over."""
        ino, remote = inode.ino, self._bound(inode)
        differs = remote is not None and self._differs(inode, remote, name)
        if self._planner.may_be_rebound(ino):
            self._options.ask(ino)
        elif differs and inode.state == ContentState.CLEAN and not self._reader.is_here(inode):
            raise AccessDenied(
                f"{self._paths.shown(inode)}: its bytes are not on this disk, so it cannot be uploaded again with "
                f"another {name.removeprefix(PREFIX).decode()} (`remotefs warm` fetches them where the service lets it)"
            )
        elif differs:
            self._options.ask(ino)
        elif remote is not None and not any(self._is_chosen_otherwise(inode, remote, each) for each in self.names):
            self._options.withdraw(ino)

    def _differs(self, inode: Inode, remote: Remote, name: bytes) -> bool:
        """Return whether the next upload would give the file another type or expiry than the service has of it."""
        if name == TYPE:
            next_type = self._next_type(inode)
            return next_type is None or not is_same_type(next_type, remote.mime_type)
        wanted_s, has_s = self._options.expires_in_s(inode), _lifetime_s(remote)
        if wanted_s is None or has_s is None:
            return wanted_s != has_s
        return abs(wanted_s - has_s) > _EVEN_S

    def _is_chosen_otherwise(self, inode: Inode, remote: Remote, name: bytes) -> bool:
        return self._xattrs.find(inode.ino, name) is not None and self._differs(inode, remote, name)


def _stored(name: bytes, value: bytes) -> bytes:
    """Return a value in the form in which it is kept. Raises InvalidArgument."""
    try:
        text = value.decode()
        return parse_mime_type(text).encode() if name == TYPE else b"%d" % round(EXPIRY_RANGE.read(text.strip()))
    except ValueError:
        allowed = "a MIME type such as text/csv" if name == TYPE else EXPIRY_RANGE.allowed
        raise InvalidArgument(f"{value!r} is not valid for {name.decode()}: give {allowed}") from None


def _shown(name: bytes, stored: bytes) -> str:
    return short_time_text(int(stored)) if name == EXPIRY else stored.decode()


def _lifetime_s(remote: Remote) -> float | None:
    """Return the seconds from the upload of a remote file to its expiry; None for one that never expires."""
    return None if remote.expires_ns is None else (remote.expires_ns - remote.created_ns) / _NS
