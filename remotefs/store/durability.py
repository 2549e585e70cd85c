"""Rounds of syncs that make changes survive a power cut, shared by all who wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from remotefs import crashpoints
from remotefs.errors import RemotefsError, StateUnusable
from remotefs.store.disk import local_error, sync_names
from remotefs.store.groupsync import GroupSync


class Durability:
    """Syncs the commits in the log at `log`, and the names of the files that rows refer to.

    A round syncs first the folders in which names have changed, then the log. In this order a round that is cut short
    leaves files without rows, never rows whose files are missing. A disk may write the log before it is asked to; so a
    row that must not be found without its file is committed after `wait_for_names`. After a sync that failed every
    further wait fails (see GroupSync); what could not be opened is synced by the next round.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._log_fd: int | None = None
        self._names = GroupSync(self._sync_names, _refusal)
        self._rounds = GroupSync(self._sync, _refusal)
        # An earlier process may have committed without waiting for the disk, so the first round syncs the log.
        self._has_commits = True
        self._rounds.changed()
        # Folders with names, new or gone, that no round has begun to sync.
        self._folders: set[Path] = set()

    def committed(self) -> int:
        """Record that a commit was appended to the log, and return its number among all changes."""
        self._has_commits = True
        return self._rounds.changed()

    def named(self, folder: Path) -> None:
        """Record that a name in `folder` was added or removed. The folder has to exist as long as this object."""
        self._folders.add(folder)
        self._names.changed()
        self._rounds.changed()

    async def wait_for_names(self) -> None:
        """Return once every name recorded so far survives a power cut. Raises StateUnusable."""
        await self._names.wait()

    async def wait(self) -> None:
        """Return once every commit and name recorded so far survives a power cut. Raises StateUnusable."""
        await self._rounds.wait()

    def close(self) -> None:
        """Close the descriptor of the log, without a sync."""
        if self._log_fd is not None:
            os.close(self._log_fd)
            self._log_fd = None

    async def _sync(self) -> None:
        # Changes from here on, while the threads work, belong to the next round.
        has_commits, self._has_commits = self._has_commits, False
        try:
            await self._names.wait()
            if has_commits:
                await trio.to_thread.run_sync(self._sync_log, self._opened_log())
        except BaseException:  # failed, or cancelled before the thread began: the next round has to sync the same
            self._has_commits |= has_commits
            raise

    async def _sync_names(self) -> None:
        folders, self._folders = self._folders, set()
        try:
            await trio.to_thread.run_sync(_sync_folders, folders)
        except BaseException:
            self._folders |= folders
            raise

    def _sync_log(self, log_fd: int) -> None:
        try:
            os.fdatasync(log_fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._log)) from error
        crashpoints.reached("database is on the disk")

    def _opened_log(self) -> int:
        # The descriptor stays valid: SQLite keeps the same log file as long as a connection is open.
        if self._log_fd is None:
            self._log_fd = _open(self._log)
        return self._log_fd


def _sync_folders(folders: set[Path]) -> None:
    """Sync folders, for a thread.

    Raises OSError that names the one whose sync failed, LocalError for one that could not be opened.
    """
    for folder in sorted(folders):
        with _opened(folder, os.O_DIRECTORY) as fd:
            sync_names(fd, folder)
        crashpoints.reached("names are on the disk", folder.name)


def _open(path: Path, flags: int = 0) -> int:
    """Return a descriptor. Raises LocalError, because nothing was tried yet that could have lost anything."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    except OSError as error:
        raise local_error(error, path) from error


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = _open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def _refusal(error: OSError) -> RemotefsError:
    return StateUnusable(f"{error.filename}: cannot be synced to the disk: {error.strerror}; unmount and mount again")
