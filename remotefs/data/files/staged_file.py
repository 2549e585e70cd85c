"""One file being written: its bytes, its size, and whether they survive a power cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import trio

from remotefs import crashpoints
from remotefs.data.content.open_files import OpenFiles
from remotefs.errors import RemotefsError
from remotefs.store.disk import Disk, local_error
from remotefs.store.groupsync import GroupSync


class StagedFile:
    """One file being written, `size` bytes long. It can be used again after close()."""

    def __init__(
        self,
        path: Path,
        disk: Disk,
        descriptors: OpenFiles[Path, int],
        on_lost: Callable[[StagedFile], None],
        *,
        create: bool,
    ) -> None:
        self.path = path
        self._disk = disk
        self._descriptors = descriptors
        self._on_lost = on_lost
        if create:
            self._open(os.O_CREAT | os.O_EXCL)
        # No call that may fail once the file is made, which would be in the way then.
        self.size = 0 if create else os.fstat(self._fd()).st_size
        self._bytes = GroupSync(self._sync_bytes, self._refusal)
        self._bytes.changed()
        if create:
            crashpoints.reached("staged file is made", path.name)

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end of the file. Raises StateUnusable."""
        try:
            return os.pread(self._fd(), size, offset)
        except OSError as error:
            raise local_error(error, self.path) from error

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Write all of `data`; return its length in bytes.

        Raises OutOfSpace before it would take from the reserve of the disk, StateUnusable.
        """
        self._disk.require(len(data))
        view, position = memoryview(data), offset
        try:
            fd = self._fd()
            while view:
                written = os.pwrite(fd, view, position)
                view, position = view[written:], position + written
        except OSError as error:
            raise local_error(error, self.path) from error
        finally:
            self._bytes.changed()
            self.size = max(self.size, position) if position > offset else self.size
        crashpoints.reached("staged file has bytes", self.path.name)
        return len(data)

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes, or extend it by a hole. Raises StateUnusable."""
        try:
            os.ftruncate(self._fd(), size)
        except OSError as error:
            raise local_error(error, self.path) from error
        self._bytes.changed()
        self.size = size
        crashpoints.reached("staged file is cut", self.path.name)

    async def sync(self) -> None:
        """Return once all bytes written before the call survive a power cut.

        The name of the file survives with the next round of `Durability`. Callers at one time share one fdatasync.

        Raises OutOfSpace, StateUnusable; after an fdatasync that failed for ever (see GroupSync).
        """
        await self._bytes.wait()

    @property
    def is_lost(self) -> bool:
        """Return whether a sync failed, so that no later one can vouch for the bytes."""
        return self._bytes.is_lost

    def close(self) -> None:
        """Close the descriptor; sync nothing."""
        self._descriptors.release(self.path)

    def _fd(self) -> int:
        fd = self._descriptors.get(self.path)
        return self._open() if fd is None else fd

    def _open(self, flags: int = 0) -> int:
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        self._descriptors[self.path] = fd
        return fd

    async def _sync_bytes(self) -> None:
        try:
            fd = os.dup(self._fd())  # the cache of descriptors may close its own meanwhile
        except OSError as error:  # as when there are no descriptors: nothing was tried, and so nothing is lost
            raise local_error(error, self.path) from error
        try:
            await trio.to_thread.run_sync(os.fdatasync, fd)
        finally:
            os.close(fd)
        crashpoints.reached("staged bytes are on the disk", self.path.name)

    def _refusal(self, error: OSError) -> RemotefsError:
        self._on_lost(self)
        lost = local_error(error, self.path)
        return type(lost)(
            f"{lost}: what was written may not be on the disk; write the whole file again, or unmount and mount again"
        )
