"""Copies files and folders into the tree, several at a time, and waits until the service has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from remotefs.control.messages.base import Report
from remotefs.control.messages.put import SentFile
from remotefs.errors import NotADirectory, RemotefsError
from remotefs.mount.copying import Looks
from remotefs.mount.progress import Count
from remotefs.mount.transfers.placing import parents
from remotefs.mount.transfers.records import Attributes, Kind, Outcome, Transferred, Upload, reason_of
from remotefs.mount.turns import several_at_once

# Files that are copied at one time; as many as a mount uploads at one time.
_TOGETHER = 8
_FOLDER_MODE = 0o755


class Written(NamedTuple):
    """A file of the tree after it was written: its inode, and whether its content is another than before."""

    ino: int
    is_new: bool


class Target(Protocol):
    """The tree as `put` sees it; paths are those of the tree."""

    async def kind(self, path: str) -> Kind | None:
        """Return what has a path; None where nothing has it."""

    async def make_folder(self, path: str, mode: int) -> None:
        """Make a folder."""

    async def make_link(self, path: str, target: bytes) -> None:
        """Make a symbolic link, or replace the one that is there."""

    async def write(self, upload: Upload, attributes: Attributes) -> Written:
        """Give a path the bytes of a file, its looks and these attributes; whole, or not at all."""

    async def set_times(self, path: str, looks: Looks) -> None:
        """Set the times of a folder."""

    async def sent(self, inos: Sequence[int], stall_s: float, report: Report) -> Sequence[SentFile]:
        """Wait until the service has these files, or nothing has moved for `stall_s` seconds."""


class Uploads:
    """One run. `done` has what became of each file; folders and links only where they failed."""

    def __init__(self, target: Target, attributes: Attributes) -> None:
        self._target = target
        self._attributes = attributes
        self._written: list[tuple[Upload, Written]] = []
        self._made: list[Upload] = []
        # Folders that are known to be there.
        self._folders = {""}
        # Paths that could not be made: what is below them is not tried.
        self._closed: set[str] = set()
        self.done: list[Transferred] = []

    def refuse(self, source: Path, path: str, reason: str) -> None:
        """Note what is not sent, and why."""
        self.done.append(Transferred(Outcome.FAILED, path, source, reason=reason))

    async def copy(self, uploads: Iterable[Upload], report: Report) -> None:
        """Copy all into the tree. What cannot be copied is in `done`, with the reason."""
        files: list[Upload] = []
        for upload in uploads:
            if upload.kind is Kind.FILE:
                files.append(upload)
            else:
                await self._attempt(upload)
        progress = Count(sum(file.looks.size for file in files), len(files), report)

        async def copy(file: Upload) -> None:
            await self._attempt(file)
            progress.done(file.looks.size)

        await several_at_once(files, copy, _TOGETHER)
        for folder in reversed(self._made):
            await self._keep_times(folder)

    async def wait(self, stall_s: float, report: Report) -> None:
        """Wait until the service has what was copied; `done` says of each file whether it has."""
        sent = await self._target.sent([written.ino for _, written in self._written], stall_s, report)
        for (upload, written), file in zip(self._written, sent, strict=True):
            outcome = Outcome(file.outcome)
            if outcome is Outcome.SENT and not written.is_new:
                outcome = Outcome.UNCHANGED
            self.done.append(
                Transferred(outcome, upload.path, upload.source, upload.looks.size, file.file_id, file.reason)
            )
        self._written.clear()

    # -- one entry

    async def _attempt(self, upload: Upload) -> None:
        if not self._closed.isdisjoint(parents(upload.path)):
            self.refuse(upload.source, upload.path, "the folder above it could not be made")
            return
        try:
            await self._copy_one(upload)
        except (RemotefsError, OSError) as error:
            self._closed.add(upload.path)
            self.refuse(upload.source, upload.path, reason_of(error))

    async def _copy_one(self, upload: Upload) -> None:
        await self._make_parents(upload.path)
        if upload.kind is Kind.FOLDER:
            if await self._make_folder(upload.path, upload.looks.mode & 0o7777):
                self._made.append(upload)
        elif upload.kind is Kind.LINK:
            await self._target.make_link(upload.path, upload.target)
        else:
            self._written.append((upload, await self._target.write(upload, self._attributes)))

    async def _make_parents(self, path: str) -> None:
        for folder in parents(path):
            await self._make_folder(folder, _FOLDER_MODE)

    async def _make_folder(self, path: str, mode: int) -> bool:
        """Make a folder unless it is there; return whether it was made. Raises NotADirectory."""
        if path in self._folders:
            return False
        kind = await self._target.kind(path)
        if kind not in {None, Kind.FOLDER}:
            raise NotADirectory(f"{path} is there and is not a folder")
        if kind is None:
            await self._target.make_folder(path, mode)
        self._folders.add(path)
        return kind is None

    async def _keep_times(self, folder: Upload) -> None:
        try:
            await self._target.set_times(folder.path, folder.looks)
        except (RemotefsError, OSError) as error:
            self.refuse(folder.source, folder.path, f"its times could not be set: {reason_of(error)}")
