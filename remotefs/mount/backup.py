"""`remotefs backup`: a copy of the state folder that can be mounted, made while the mount goes on.

The copy is the folder as of one commit, so its rows come first and say which bytes belong to them:

1. From here on no bytes are removed that a row may name: nothing is swept (`Garbage.hold`), and no
staged
   file becomes content (`Promoter.resting`).
2. The database is copied, as of one commit.
3. Each staged file that a row of the copy names is copied under its inode's lock, so between two writes; then pinned
   content with its sums, which does not change, and the trash.

A file that was written to since has newer bytes in the copy than its row says. That is how a kill leaves it too, and
recovery takes it as it takes that. Content that can be fetched again is not copied.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import trio

from remotefs.control.messages.base import Notice, Report
from remotefs.data.content.copying import duplicate
from remotefs.errors import AlreadyExists, InvalidArgument, LocalError, OutOfSpace, RemotefsError
from remotefs.mount.assembly import Components
from remotefs.store.copies import copy_live, staged_in
from remotefs.store.disk import sync_folder
from remotefs.store.tree import NOTES_A_TURN

_REPORT_EVERY = 100


class Backup:
    """One run on the folder `state_dir`. `failed`: what was not copied, and why."""

    def __init__(self, parts: Components, state_dir: Path, report: Report) -> None:
        self._parts = parts
        self._state_dir = state_dir
        self._report = report
        self.files = 0
        self.bytes = 0
        self.failed: dict[str, str] = {}

    async def make(self, target: Path) -> None:
        """Make the copy; `target` is a new or an empty folder on any disk, and gets all of it or nothing.

        Raises InvalidArgument, AlreadyExists, OutOfSpace, LocalError, StateUnusable.
        """
        await trio.to_thread.run_sync(self._check, target)
        new = target.with_name(f".{target.name[:40]}.{os.getpid()}.part")
        try:
            with self._parts.intents.garbage.hold():
                async with self._parts.promoter.resting():
                    await trio.to_thread.run_sync(_begin, new)
                    await self._copy_all(new)
            await trio.to_thread.run_sync(_finish, new, target)
        except OSError as error:
            raise LocalError(f"{target}: the copy cannot be made: {error.strerror or error}") from error
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_remove, new)

    def _check(self, target: Path) -> None:
        if target.is_relative_to(self._state_dir):
            raise InvalidArgument(f"{target} lies in the state folder itself; back it up to a place outside of it")
        if not target.parent.is_dir():
            raise InvalidArgument(f"{target.parent} is not a folder: make it first")
        if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
            raise AlreadyExists(f"{target} is there and not empty; give a new or an empty folder")

    async def _copy_all(self, new: Path) -> None:
        parts = self._parts
        # Twice, for what comes into the trash or goes out of it meanwhile.
        await self._copy(new, parts.trash.files(), may_go=True)
        while parts.tree.save_notes(NOTES_A_TURN):
            await trio.lowlevel.checkpoint()
        await parts.database.durable()
        database = new / parts.database.path.name
        await trio.to_thread.run_sync(copy_live, parts.database.path, database)
        staged = await trio.to_thread.run_sync(staged_in, database)
        await parts.content.scan()
        kept = parts.content.kept().items()
        pinned = [file for file_id, entry in kept if entry.pinned for file in parts.content.files_of(file_id)]
        await trio.to_thread.run_sync(self._require_room, new, [*pinned, *(parts.staging.place(*s) for s in staged)])
        for ino, generation in staged:
            async with parts.locks.hold(ino):
                await self._copy(new, [parts.staging.place(ino, generation)])
        await self._copy(new, pinned)
        await self._copy(new, parts.trash.files(), may_go=True)

    def _require_room(self, new: Path, files: list[Path]) -> None:
        needed = sum(file.stat().st_blocks * 512 for file in files if file.exists())
        free = shutil.disk_usage(new).free
        if needed > free:
            raise OutOfSpace(f"{new.parent}: the copy takes {needed >> 20} MiB, and {free >> 20} MiB are free")

    async def _copy(self, new: Path, files: list[Path], *, may_go: bool = False) -> None:
        """Copy files to the same places below `new`, unless they are there; with `may_go` one that is gone is none."""
        for file in files:
            target = new / file.relative_to(self._state_dir)
            if target.exists():
                continue
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self.bytes += await trio.to_thread.run_sync(duplicate, file, target)
            except (RemotefsError, OSError) as error:
                target.unlink(missing_ok=True)
                if not (may_go and isinstance(error, FileNotFoundError)):
                    self.failed[str(file)] = (error.strerror if isinstance(error, OSError) else None) or str(error)
            else:
                self._copied()

    def _copied(self) -> None:
        self.files += 1
        if self.files % _REPORT_EVERY == 0:
            self._report(Notice(text=f"{self.files:,} files copied"))


def _begin(new: Path) -> None:
    _remove(new)  # what another run left
    new.mkdir(mode=0o700)


def _finish(new: Path, target: Path) -> None:
    for folder, _, _ in os.walk(new):
        sync_folder(Path(folder))
    new.replace(target)
    sync_folder(target.parent)


def _remove(new: Path) -> None:
    shutil.rmtree(new, ignore_errors=True)
