"""The bytes that a reader waits for. A request collects its chunks itself as they arrive, whichever stream brings them.

So no cache can lose them again before the reader has them: neither eviction nor a full disk stops a read.
"""

from __future__ import annotations

from remotefs.api.budget import Priority
from remotefs.data.content.chunks import Layout
from remotefs.data.download.stream import ChunkRun
from remotefs.errors import OutOfSpace
from remotefs.wakeup import Wakeup


class ReadRequest:
    """The bytes from `offset` to `offset + size`, both within the file, and `ahead_bytes` after them to read ahead.

    Invariant: `missing_chunks` holds the chunks whose bytes have not come yet.
    """

    priority = Priority.INTERACTIVE_READ
    # Whether it waits for any stream that will pass its chunks, however far away that is.
    is_patient = False

    def __init__(self, layout: Layout, offset: int, size: int, ahead_bytes: int, *, is_look: bool = False) -> None:
        # Whether its reader may need no more than `ahead_bytes`, so that no more is requested (R8).
        self.is_look = is_look
        chunks = layout.touching(offset, size)
        self.missing_chunks = set(chunks)
        # The chunks after the last one that the reader waits for, and after the last one to read ahead.
        self.asked = chunks.stop
        self.readahead_until = max(layout.touching(offset, size + ahead_bytes).stop, chunks.stop)
        self._layout = layout
        self._offset, self._size = offset, size
        self._chunks = chunks
        # The bytes of the chunks that have come. They are copied once, when all are here.
        self._pieces: dict[int, bytes | memoryview] = {}
        self._news = Wakeup()
        self._error: Exception | None = None

    def fill(self, run: ChunkRun, *, on_disk: bool) -> None:
        """Take the missing chunks of a run; `on_disk` tells whether the run was stored on the disk."""
        del on_disk
        if not self.missing_chunks.isdisjoint(run.chunks):
            for index, piece in zip(run.chunks, self._layout.pieces(run.data), strict=True):
                if index in self.missing_chunks:
                    self._pieces[index] = piece
            self._got(run.chunks)

    def completed_by(self, chunks: range) -> bool:
        """Return whether these chunks complete it."""
        return all(index in chunks for index in self.missing_chunks)

    def end_within(self, index: int, stop: int) -> int | None:
        """Return the end (chunk) of its missing chunks if all lie between `index` and `stop`; else None."""
        if not self.missing_chunks or min(self.missing_chunks) < index or max(self.missing_chunks) >= stop:
            return None
        return max(self.missing_chunks) + 1

    @property
    def is_urgent(self) -> bool:
        """Return whether a system call waits for it; a command can wait as long as the request takes."""
        return self.priority is Priority.INTERACTIVE_READ

    def fail(self, error: Exception) -> None:
        """End the request with `error`: its missing chunks will not come."""
        self._error = error
        self._news.set()

    @property
    def has_news(self) -> bool:
        """Return whether it was filled, woken or failed since its reader last looked."""
        return self._news.is_set

    def wake(self) -> None:
        """Let its reader plan again: a stream has ended, or the head of a reply has come."""
        self._news.set()

    async def changed(self) -> None:
        """Return when it is filled or woken; raise the error that it failed with."""
        await self._news.wait()
        self._raise_failure()

    def take_news(self) -> None:
        """Do the same as `changed` for news that has come already, without waiting."""
        self._news.clear()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._error is not None and self.missing_chunks:
            # Several readers may get the same failure: each must see its own traceback only.
            raise self._error.with_traceback(None)

    def result(self) -> bytes:
        """Return the bytes; nothing may be missing any more."""
        assert not self.missing_chunks
        first = self._offset - self._layout.start(self._chunks.start)
        data = b"".join([self._pieces[index] for index in self._chunks])
        return data if len(data) == self._size else data[first : first + self._size]

    def _got(self, chunks: range) -> None:
        self.missing_chunks.difference_update(chunks)
        if not self.missing_chunks:
            self._news.set()


class WholeFileRequest(ReadRequest):
    """The whole file, on the disk; nobody waits for any particular chunk of it."""

    is_patient = True

    def __init__(self, layout: Layout, priority: Priority) -> None:
        super().__init__(layout, 0, 0, 0)
        self.priority = priority
        self.missing_chunks = set(range(layout.count))
        self.asked, self.readahead_until = 0, layout.count

    def fill(self, run: ChunkRun, *, on_disk: bool) -> None:
        """Note chunks that are on the disk now."""
        if on_disk:
            self._got(run.chunks)
        elif not self.missing_chunks.isdisjoint(run.chunks):
            self.fail(OutOfSpace("the disk under the state folder has no room for the whole file; make room on it"))
