"""One reply being read in order: how far it is, how far it is wanted, and when it waits (back-pressure).

All positions are indexes of chunks. A stream that has reached its readahead_until reads no further, so the service's
own sending stops; a later read that needs what comes next moves the readahead_until on, and no new request is made.
Who waits for it sees whether the service is what keeps it waiting (`is_held`, `fresh_at`), and may give it up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import trio

from remotefs.api.budget import Priority, Ticket
from remotefs.data.content.chunks import Layout

# A read this many chunks past what is being waited for still joins, one further off gets its own request (R1): the
# kernel's largest READ, for it sends several at once and not always in order.
_NEAR_CHUNKS = 8
# A reader that does nothing for this long has its connection closed; its next read costs a request.
PAUSE_S = 30.0
# The same once no handle is open: a program that reads a file in several steps opens it again within this.
LINGER_S = 1.0


@dataclass(eq=False)
class Stream:
    """Brings the chunks from `next` up to `stop`, as far as `readahead_until`; `asked` is how far somebody waits
    for them.
    """

    next: int
    stop: int
    asked: int
    readahead_until: int
    # Its place in the queue for requests, which moves forward once somebody waits for it.
    ticket: Ticket
    # So many chunks before `stop` it is as good as over, and the next part may be asked for.
    ending: int = 0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    # Whether it is over in a moment: it brings what somebody has asked for, and nothing ahead of a reader.
    is_brief: bool = False
    # Whether it waits for others to end; its request is not under way yet.
    is_queued: bool = True
    # The chunk with which it began when it did not wait any more.
    first: int = 0
    # Whether its reply is coming in.
    is_flowing: bool = False
    is_paused: bool = False
    # When a reader waited in vain, until a byte comes (R7).
    given_up_at: float | None = None
    # Given up before the service was heard again: what it was to bring is asked for once more.
    is_forsaken: bool = False
    _fresh_at: float = -math.inf
    _may_pause: bool = True
    # How long it pauses; shorter once no handle is open.
    _pause_s: float = PAUSE_S
    _pause: trio.CancelScope | None = None
    _more: trio.Event = field(default_factory=trio.Event)

    @property
    def is_held(self) -> bool:
        """Whether it is this side that keeps the request from going out."""
        return self.is_queued or self.ticket.is_waiting

    @property
    def fresh_at(self) -> float:
        """When something last came of it: a byte, or its turn to go out."""
        return max(self._fresh_at, self.ticket.fresh_at)

    @property
    def is_active(self) -> bool:
        """Whether it takes part of the link: not while it pauses, nor when somebody waited for it in vain."""
        return not self.is_paused and self.given_up_at is None

    @property
    def fills_stream(self) -> bool:
        """Whether it counts as one of those that bring a file side by side, and for more than a moment."""
        # Asked for each piece of each reply: hence all in one.
        is_over = self.next >= self.stop - self.ending
        return not is_over and not self.is_brief and self.is_flowing and not self.is_paused and self.given_up_at is None

    @property
    def has_stopped_readahead(self) -> bool:
        """Whether no handle is open on its file."""
        return self._pause_s < PAUSE_S

    @property
    def is_ending(self) -> bool:
        """Whether so little is to come that the next request's round trip can pass meanwhile."""
        return self.next >= self.stop - self.ending

    def brings(self, index: int, *, soon: bool) -> bool:
        """Whether it will come to that chunk; `soon`: before anything else that nobody waits for."""
        if self.is_forsaken or not self.next <= index < self.stop:
            return False
        return not soon or index <= max(self.next, self.asked) + _NEAR_CHUNKS

    def join(self, asked: int, readahead_until: int, priority: Priority = Priority.PREFETCH) -> None:
        """Somebody waits for the chunks before `asked`, and those before `readahead_until` are worth having."""
        self.ticket.promote(priority)
        self._linger(PAUSE_S)
        self.asked = max(self.asked, min(asked, self.stop))
        if min(readahead_until, self.stop) > self.readahead_until:
            self.readahead_until = min(readahead_until, self.stop)
            self._more.set()

    def shorten(self, chunks: int) -> None:
        """Bring no more than so many beyond what is waited for: others bring the rest."""
        self.stop = min(self.stop, max(self.next, self.asked) + chunks)
        self.join(0, self.stop)

    def stop_readahead(self) -> None:
        """Bring only what somebody waits for, and end a moment later unless somebody comes."""
        self.readahead_until = max(self.next, self.asked)
        self.linger()

    def linger(self) -> None:
        """No handle is open: pause no longer than a moment."""
        self._linger(LINGER_S)

    def _linger(self, seconds: float) -> None:
        if self._pause is not None and seconds != self._pause_s:
            self._pause.deadline = trio.current_time() + seconds
        self._pause_s = seconds

    def heard(self, now: float) -> None:
        """A byte came."""
        self._fresh_at, self.given_up_at, self.is_forsaken = now, None, False

    def got_slot(self, now: float) -> None:
        """Its request may go out."""
        self.is_queued, self.first, self._fresh_at = False, self.next, now

    def release(self) -> None:
        """End a pause and make no more: somebody waits for its end."""
        self._may_pause = False
        self._more.set()

    async def pause(self) -> bool:
        """Wait until the readahead_until moves; False when it did not for `PAUSE_S`, or `LINGER_S` while no handle
        is open.
        """
        self.is_paused, self._more = True, trio.Event()
        if self._may_pause:
            with trio.move_on_after(self._pause_s) as self._pause:
                await self._more.wait()
            self._pause = None
        self.is_paused = False
        return self.next < self.readahead_until


@dataclass(frozen=True, slots=True)
class ChunkRun:
    """Whole chunks that lie one behind the other, and their bytes."""

    chunks: range
    data: bytes


class Assembler:
    """Cuts a body that begins anywhere into the whole chunks of a file. Pure."""

    def __init__(self, layout: Layout, offset: int) -> None:
        self._layout = layout
        # The offset in the file of the byte that comes next.
        self.position = offset
        # The first chunk that this body can still bring whole.
        self.index = -(-offset // layout.chunk_bytes)
        self._pieces: list[bytes | memoryview] = []

    @property
    def is_past_end(self) -> bool:
        """Whether the body went on after the file's last byte."""
        return self.position > self._layout.size

    @property
    def ready(self) -> range:
        """The chunks that are whole and were not taken yet."""
        layout = self._layout
        stop = layout.count if self.position >= layout.size else self.position // layout.chunk_bytes
        return range(self.index, max(stop, self.index))

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body."""
        skipped = max(self._layout.start(self.index) - self.position, 0) if not self._pieces else 0
        self.position += len(piece)
        if skipped < len(piece):
            self._pieces.append(memoryview(piece)[skipped:] if skipped else piece)

    def take(self, stop: int) -> ChunkRun:
        """The whole chunks before `stop`: at least one, and no more than are ready."""
        chunks = range(self.index, stop)
        assert self.index < stop <= self.ready.stop
        data = b"".join(self._pieces)
        length = self._layout.start(stop) - self._layout.start(self.index)
        rest = len(data) - length
        self._pieces = [memoryview(data)[length:]] if rest and stop < self._layout.count else []
        self.index = stop
        return ChunkRun(chunks, data[:length] if rest else data)
