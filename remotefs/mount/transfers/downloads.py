"""Copies files and folders of the tree to this machine, several at a time."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from remotefs.control.messages.base import Report
from remotefs.errors import NotADirectory, NotReadable, RemotefsError
from remotefs.mount.progress import Count
from remotefs.mount.transfers.arrival import Arrival, is_present, make_folder, make_link
from remotefs.mount.transfers.records import Download, Kind, Outcome, Transferred, reason_of
from remotefs.mount.turns import several_at_once

# Files that are fetched at one time: enough for small files behind a slow line. The request budget paces them.
_TOGETHER = 16


class Origin(Protocol):
    """The tree as `get` sees it; paths are those of the tree."""

    async def find(self, path: str) -> list[Download]:
        """Return the entry at a path and all below it, each folder first; none where nothing has it.

        The places are relative to the entry.
        """

    async def paths_of(self, file_ids: Sequence[str]) -> list[str | None]:
        """Return the path of each file id, None where the tree has no such file."""

    async def generated(self, since_s: float | None) -> list[str]:
        """Return the paths of generated files that are at most `since_s` seconds old (None: of any age)."""

    def pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file in order. Raises NotReadable with the reason where they cannot be had."""


class Downloads:
    """One run, into `folder`. `done` has what became of each file; folders and links only where they failed."""

    def __init__(self, origin: Origin, folder: Path, *, force: bool) -> None:
        self._origin = origin
        self._folder = folder
        self._force = force
        # Folders that are known to be there.
        self._folders: set[tuple[str, ...]] = {()}
        self.done: list[Transferred] = []

    def refuse(self, path: str, local: Path, reason: str) -> None:
        """Note what is not fetched, and why."""
        self.done.append(Transferred(Outcome.FAILED, path, local, reason=reason))

    async def copy(self, downloads: Sequence[Download], report: Report) -> None:
        """Fetch all. What cannot be fetched is in `done`, with the reason."""
        files = [download for download in downloads if download.kind is Kind.FILE]
        progress = Count(sum(file.looks.size for file in files), len(files), report)
        for folder in (download for download in downloads if download.kind is Kind.FOLDER):
            await self._attempt(folder, progress)
        for odd in (download for download in downloads if download.kind is None):
            self.refuse(odd.path, self._folder.joinpath(*odd.place), odd.reason)

        async def copy(download: Download) -> None:
            await self._attempt(download, progress)
            if download.kind is Kind.FILE:
                progress.done()

        others = [download for download in downloads if download.kind in {Kind.FILE, Kind.LINK}]
        await several_at_once(others, copy, _TOGETHER)

    # -- one entry

    async def _attempt(self, download: Download, progress: Count) -> None:
        local = self._folder.joinpath(*download.place)
        try:
            await self._copy_one(download, local, progress)
        except (RemotefsError, OSError) as error:
            self.refuse(download.path, local, _reason(error))

    async def _copy_one(self, download: Download, local: Path, progress: Count) -> None:
        if download.kind is Kind.FOLDER:
            self._make_folder(download.place, download.looks.mode)
            return
        self._make_folder(download.place[:-1])
        if download.kind is Kind.LINK:
            make_link(local, download.target, force=self._force)
        else:
            outcome = await self._fetch(download, local, progress)
            self.done.append(Transferred(outcome, download.path, local, download.looks.size))

    def _make_folder(self, place: tuple[str, ...], mode: int | None = None) -> None:
        """Make a folder and those above it, each looked at once: none may be a link that leads elsewhere."""
        for depth in range(1, len(place) + 1):
            if place[:depth] not in self._folders:
                make_folder(self._folder.joinpath(*place[:depth]), mode if depth == len(place) else None)
                self._folders.add(place[:depth])

    async def _fetch(self, download: Download, local: Path, progress: Count) -> Outcome:
        if is_present(local, download.looks):
            progress.add(download.looks.size)
            return Outcome.PRESENT
        arrival = Arrival(local, download.looks, force=self._force)
        try:
            await trio.to_thread.run_sync(arrival.begin)
            async with aclosing(self._origin.pieces(download.path)) as pieces:
                async for data in pieces:
                    await trio.to_thread.run_sync(partial(arrival.write, data))
                    progress.add(len(data))
            await trio.to_thread.run_sync(arrival.finish)
        finally:
            arrival.abandon()
        return Outcome.FETCHED


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk of the destination is full"
    return str(error) if isinstance(error, NotReadable | NotADirectory) else reason_of(error)
