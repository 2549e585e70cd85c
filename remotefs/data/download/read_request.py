"""What a reader waits for: it fills up as chunks arrive, whoever fetches them, so that no cache can lose its bytes."""

from __future__ import annotations

from remotefs.api.budget import Priority
from remotefs.data.content.chunks import Layout
from remotefs.data.download.stream import ChunkRun
from remotefs.errors import OutOfSpace
from remotefs.wakeup import Wakeup


class ReadRequest:
    """Bytes `offset` to `offset + size`, both within the file, and `ahead_bytes` that are worth having after them.

    Invariant: `missing` holds the chunks whose bytes did not come yet.
    """

    priority = Priority.INTERACTIVE_READ
    # Whether it waits for any stream that passes by, however far that has still to go.
    is_patient = False

    def __init__(self, layout: Layout, offset: int, size: int, ahead_bytes: int, *, is_look: bool = False) -> None:
        # Whether its reader may request no more than `ahead_bytes`, so that no more is asked for (R8).
        self.is_look = is_look
        chunks = layout.touching(offset, size)
        self.missing_chunks = set(chunks)
        # Indexes past the last chunk that is waited for, and past the last that is worth having.
        self.asked = chunks.stop
        self.readahead_until = max(layout.touching(offset, size + ahead_bytes).stop, chunks.stop)
        self._layout = layout
        self._offset, self._size = offset, size
        self._chunks = chunks
        # The bytes of each chunk that came. They are copied once, when all are there.
        self._pieces: dict[int, bytes | memoryview] = {}
        self._news = Wakeup()
        self._error: Exception | None = None

    def fill(self, run: ChunkRun, *, on_disk: bool) -> None:
        """Take what is wanted of some chunks."""
        del on_disk
        if not self.missing_chunks.isdisjoint(run.chunks):
            for index, piece in zip(run.chunks, self._layout.pieces(run.data), strict=True):
                if index in self.missing_chunks:
                    self._pieces[index] = piece
            self._got(run.chunks)

    def completed_by(self, chunks: range) -> bool:
        """Whether these are all that it waits for."""
        return all(index in chunks for index in self.missing_chunks)

    def end_within(self, index: int, stop: int) -> int | None:
        """Past the last chunk that it waits for, if all of them lie there."""
        if not self.missing_chunks or min(self.missing_chunks) < index or max(self.missing_chunks) >= stop:
            return None
        return max(self.missing_chunks) + 1

    def fail(self, error: Exception) -> None:
        """What is missing will not come."""
        self._error = error
        self._news.set()

    @property
    def has_news(self) -> bool:
        """Whether it was filled, nudged or failed since it was last looked at."""
        return self._news.is_set

    def wake(self) -> None:
        """Whoever was bringing it has stopped: see again what is missing and who can bring it."""
        self._news.set()

    async def changed(self) -> None:
        """Return when it is filled or nudged; raise what it failed with."""
        await self._news.wait()
        self._raise_failure()

    def take_news(self) -> None:
        """The same, of what has come already."""
        self._news.clear()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._error is not None and self.missing_chunks:
            # Several readers may be told of one failure: each sees its own traceback only.
            raise self._error.with_traceback(None)

    def result(self) -> bytes:
        """The bytes, once nothing is missing."""
        assert not self.missing_chunks
        first = self._offset - self._layout.start(self._chunks.start)
        data = b"".join([self._pieces[index] for index in self._chunks])
        return data if len(data) == self._size else data[first : first + self._size]

    def _got(self, chunks: range) -> None:
        self.missing_chunks.difference_update(chunks)
        if not self.missing_chunks:
            self._news.set()


class WholeFileRequest(ReadRequest):
    """All of a file, on the disk; nobody waits for any particular chunk of it."""

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
