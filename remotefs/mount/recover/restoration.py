"""Copies a tree to a folder of this machine with everything that its records tell, as far as this user may set it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from remotefs.control.messages.base import Report
from remotefs.data.intents.upload_options import PREFIX
from remotefs.errors import AlreadyExists, NotADirectory
from remotefs.mount.assembly import Components
from remotefs.mount.recover.checked_origin import CheckedOrigin
from remotefs.mount.transfers.downloads import Downloads
from remotefs.mount.transfers.placing import parents
from remotefs.mount.transfers.records import Download, Kind, Outcome, Transferred, reason_of

_PERMISSIONS = 0o777
_NODES = (stat.S_IFIFO, stat.S_IFSOCK)
_ROOT_UID = 0


class Entry(NamedTuple):
    """An entry of the tree: how it is copied, and what `get` does not copy."""

    download: Download
    ino: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: Mapping[bytes, bytes]

    @property
    def path(self) -> str:
        """Return its path in the tree."""
        return self.download.path

    @property
    def is_node(self) -> bool:
        """Return whether it is a FIFO or a socket. A device is none: whoever writes to the store could plant it."""
        return stat.S_IFMT(self.mode) in _NODES


class Restoration:
    """One run into `folder`. What is there is left as it is, but for the looks of what an earlier run has brought."""

    def __init__(self, parts: Components, folder: Path) -> None:
        self._origin = CheckedOrigin(parts)
        self._parts = parts
        self._folder = folder
        self._is_root = os.geteuid() == _ROOT_UID
        self._entries: list[Entry] = []
        # The path of each entry that is not there, and why.
        self._failed: dict[str, str] = {}

    async def run(self, report: Report) -> list[Transferred]:
        """Copy all of the tree. Return what became of each file, and of all else that failed. Raises OSError."""
        self._entries = self._all()
        first, further = _by_inode(self._entries)
        await trio.to_thread.run_sync(self._make_writable)
        downloads = Downloads(self._origin, self._folder, force=False)
        # A node has no kind, and is made below.
        await downloads.copy([entry.download for entry in first if not entry.is_node], report)
        self._failed = {file.path: file.reason or "" for file in downloads.done if file.outcome is Outcome.FAILED}
        firsts = {entry.ino: entry for entry in first}
        await trio.to_thread.run_sync(self._finish, [e for e in first if e.is_node], further, firsts)
        done = [file for file in downloads.done if file.outcome is not Outcome.FAILED]
        failed = [
            Transferred(Outcome.FAILED, path, self._folder / path, reason=why) for path, why in self._failed.items()
        ]
        return sorted([*done, *failed], key=lambda file: file.path)

    def _all(self) -> list[Entry]:
        own = self._parts.store.xattrs.of
        return [
            Entry(download, inode.ino, inode.mode, inode.uid, inode.gid, inode.mtime_ns, own(inode.ino))
            for inode, download in self._origin.walk("")
            if download.place
        ]

    # -- in a thread

    def _make_writable(self) -> None:
        """Let this user write into folders that an earlier run has finished."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for entry in self._entries:
            if entry.download.kind is Kind.FOLDER:
                with suppress(OSError):
                    mode = (target := self._target(entry)).lstat().st_mode
                    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
                        target.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)

    def _finish(self, nodes: Iterable[Entry], further: Iterable[Entry], firsts: Mapping[int, Entry]) -> None:
        for entry in nodes:
            self._attempt(entry, partial(self._make_node, entry))
        for entry in further:
            if (reason := self._failed.get(firsts[entry.ino].path)) is not None:
                self._failed[entry.path] = reason
            else:
                self._attempt(entry, partial(self._link, firsts[entry.ino], entry))
        # Folders last, from the inside out: what is made in one changes its time.
        for entry in reversed(self._entries):
            self._attempt(entry, partial(self._dress, entry))

    def _attempt(self, entry: Entry, act: Callable[[], None]) -> None:
        """Act on an entry unless it, or a folder above it, is not there as it should be."""
        if any(path in self._failed for path in (*parents(entry.path), entry.path)):
            return
        try:
            act()
        except (OSError, AlreadyExists, NotADirectory) as error:
            self._failed[entry.path] = reason_of(error)

    def _make_node(self, entry: Entry) -> None:
        target = self._target(entry)
        try:
            there = target.lstat().st_mode
        except FileNotFoundError:
            os.mknod(target, stat.S_IFMT(entry.mode) | stat.S_IMODE(entry.mode) & _PERMISSIONS)
            return
        if stat.S_IFMT(there) != stat.S_IFMT(entry.mode):
            raise AlreadyExists("it exists and is another")

    def _link(self, first: Entry, entry: Entry) -> None:
        """Give a file a further name."""
        target = self._target(entry)
        try:
            os.link(self._target(first), target, follow_symlinks=False)
        except FileExistsError:
            if not os.path.samestat(self._target(first).lstat(), target.lstat()):
                raise AlreadyExists("it exists and is another") from None

    def _dress(self, entry: Entry) -> None:
        """Set what `get` does not. Set-id bits are not among it: whoever writes to the store could plant them."""
        target = self._target(entry)
        if self._is_root:
            os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
        for name, value in entry.xattrs.items():
            if not name.startswith(PREFIX):
                os.setxattr(target, name, value, follow_symlinks=False)
        if entry.download.kind is not Kind.LINK:
            target.chmod(stat.S_IMODE(entry.mode) & _PERMISSIONS)
        os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _target(self, entry: Entry) -> Path:
        return self._folder.joinpath(*entry.download.place)


def _by_inode(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the first entry of each inode, and the further names."""
    first: dict[int, Entry] = {}
    further = [entry for entry in entries if first.setdefault(entry.ino, entry) is not entry]
    return list(first.values()), further
