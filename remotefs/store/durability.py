"""When a change survives a power cut: one round of syncs for all who wait."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from remotefs import crashpoints
from remotefs.errors import RemotefsError, StateUnusable
from remotefs.store.groupsync import GroupSync


class Durability:
    """Of the commits in the log at `log`, and of names of files that rows refer to.

    One round, in one thread, syncs the folders that have new names and then the log. In this order, so that a round
    that is cut short leaves files that no row asks for rather than rows whose files are missing. After a failure it
    fails for ever (see GroupSync).
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._log_fd: int | None = None
        self._rounds = GroupSync(self._sync, _refusal)
        # What an earlier process committed, and did not wait for.
        self._has_commits = True
        self._rounds.changed()
        # Folders with names, new or gone, that no round has begun to sync.
        self._folders: set[Path] = set()

    def committed(self) -> int:
        """Something was appended to the log; the number of the change."""
        self._has_commits = True
        return self._rounds.changed()

    def named(self, folder: Path) -> None:
        """A name in `folder`, which stays as long as this object, has come or gone."""
        self._folders.add(folder)
        self._rounds.changed()

    async def wait(self) -> None:
        """Return once all that was committed or named so far survives a power cut. Raises StateUnusable."""
        await self._rounds.wait()

    def close(self) -> None:
        """Give the descriptor of the log back; nothing is synced."""
        if self._log_fd is not None:
            os.close(self._log_fd)
            self._log_fd = None

    async def _sync(self) -> None:
        folders, has_commits = self._folders, self._has_commits
        self._folders, self._has_commits = set(), False
        try:
            await trio.to_thread.run_sync(self._sync_all, folders, self._opened_log() if has_commits else None)
        except BaseException:  # cancelled before it began: who waits next makes up for it
            self._folders |= folders
            self._has_commits |= has_commits
            raise

    def _sync_all(self, folders: set[Path], log_fd: int | None) -> None:
        """Raises OSError that names what could not be synced."""
        for folder in sorted(folders):
            sync_folder(folder)
            crashpoints.reached("names are on the disk", folder.name)
        if log_fd is None:
            return
        try:
            os.fdatasync(log_fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._log)) from error
        crashpoints.reached("database is on the disk")

    def _opened_log(self) -> int:
        # SQLite keeps one log file for as long as a connection is open.
        if self._log_fd is None:
            self._log_fd = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        return self._log_fd


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, for a thread. Raises OSError that names it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        os.close(fd)


def _refusal(error: OSError) -> RemotefsError:
    return StateUnusable(f"{error.filename}: it cannot be written to the disk: {error.strerror}; mount anew")
