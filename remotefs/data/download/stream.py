"""One reply that is read in order: its position, how far it should go, and when it pauses (back-pressure).

All positions are indexes of chunks. A stream that has come to `readahead_until` reads no further. The buffers of the
connection fill, and the service stops sending. A later read that needs the next chunks moves `readahead_until` on, and
no new request is made. A waiting reader sees whether the service keeps it waiting (`is_held`, `fresh_at`), and may give
the stream up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import trio

from remotefs.api.budget import Priority, Ticket
from remotefs.data.content.chunks import Layout

# A read at most this many chunks past the chunks that are being waited for joins the stream; one further off gets its
# own request (R1). It is the kernel's largest READ, because the kernel sends several at once and not always in order.
_NEAR_CHUNKS = 8
# A stream that pauses for this long is closed; the next read of its reader costs a request.
PAUSE_S = 30.0
# The same when no handle is open on the file. A program that reads a file in several steps opens it again within this.
CLOSED_PAUSE_S = 1.0


@dataclass(eq=False)
class Stream:
    """Brings the chunks from `next` to `readahead_until`, at most to `stop`; readers wait for those before `asked`."""

    next: int
    stop: int
    asked: int
    readahead_until: int
    # Its place in the queue of the request budget; it moves forward once a reader waits for the stream.
    ticket: Ticket
    # This many chunks before `stop` the next part may be requested.
    ending: int = 0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    # Whether it ends in a moment: it brings chunks that a reader asked for, and no readahead.
    is_brief: bool = False
    # Whether it waits for a slot; its request is not under way yet.
    is_queued: bool = True
    # The chunk with which it began when it got its slot.
    first: int = 0
    # Whether its reply is coming in.
    is_flowing: bool = False
    is_paused: bool = False
    # When a reader gave it up after waiting in vain; None again when a byte comes (R7).
    given_up_at: float | None = None
    # How many times that was since it last brought a chunk: bytes that only drip in must not hold its readers for ever.
    times_given_up: int = 0
    # Given up, and the service was heard again since: new streams request its chunks once more.
    is_replaced: bool = False
    _fresh_at: float = -math.inf
    _may_pause: bool = True
    # How long it pauses at most; shorter once no handle is open.
    _pause_s: float = PAUSE_S
    _pause: trio.CancelScope | None = None
    _more: trio.Event = field(default_factory=trio.Event)

    @property
    def is_held(self) -> bool:
        """Return whether this side holds the request back: it waits for a slot or for the request budget."""
        return self.is_queued or self.ticket.is_waiting

    @property
    def fresh_at(self) -> float:
        """Return when it last made progress (trio's time): a byte came, or its request could go out."""
        return max(self._fresh_at, self.ticket.fresh_at)

    @property
    def is_active(self) -> bool:
        """Return whether it takes part of the link: it does not pause, and no reader has given it up."""
        return not self.is_paused and self.given_up_at is None and not self.is_replaced

    @property
    def fills_stream(self) -> bool:
        """Return whether it counts as one of the parallel streams of a file: its reply is coming in and goes on."""
        # Evaluated for each piece of each reply, hence one expression instead of the other properties.
        is_over = self.next >= self.stop - self.ending
        is_coming = not is_over and not self.is_brief and self.is_flowing and not self.is_paused
        return is_coming and self.given_up_at is None and not self.is_replaced

    @property
    def has_stopped_readahead(self) -> bool:
        """Return whether its readahead was stopped because no handle is open on its file."""
        return self._pause_s < PAUSE_S

    @property
    def is_ending(self) -> bool:
        """Return whether so few chunks are left that the round trip of the next request can pass meanwhile."""
        return self.next >= self.stop - self.ending

    def brings(self, index: int, *, soon: bool) -> bool:
        """Return whether it will bring a chunk; with `soon`, whether without much readahead before it."""
        if self.is_replaced or not self.next <= index < self.stop:
            return False
        return not soon or index <= max(self.next, self.asked) + _NEAR_CHUNKS

    def join(self, asked: int, readahead_until: int, priority: Priority = Priority.PREFETCH) -> None:
        """Note that a reader waits for the chunks before `asked`, and reads ahead up to `readahead_until`."""
        self.ticket.promote(priority)
        self._set_pause(PAUSE_S)
        self.asked = max(self.asked, min(asked, self.stop))
        if min(readahead_until, self.stop) > self.readahead_until:
            self.readahead_until = min(readahead_until, self.stop)
            self._more.set()

    def shorten(self, chunks: int) -> None:
        """Stop `chunks` after the chunks that readers wait for: other streams bring the rest."""
        self.stop = min(self.stop, max(self.next, self.asked) + chunks)
        self.join(0, self.stop)

    def stop_readahead(self) -> None:
        """Bring only chunks that readers wait for, and end a moment later unless another reader comes."""
        self.readahead_until = max(self.next, self.asked)
        self.shorten_pauses()

    def shorten_pauses(self) -> None:
        """Pause for `CLOSED_PAUSE_S` at most: no handle is open."""
        self._set_pause(CLOSED_PAUSE_S)

    def _set_pause(self, seconds: float) -> None:
        if self._pause is not None and seconds != self._pause_s:
            self._pause.deadline = trio.current_time() + seconds
        self._pause_s = seconds

    def heard(self, now: float) -> None:
        """Note that a byte came at `now`. Readers wait for it once more, but not a third time."""
        self._fresh_at, self.given_up_at = now, None
        self.is_replaced = self.times_given_up > 1

    def give_up(self, now: float) -> None:
        """Note that a reader has waited for it in vain until `now`."""
        self.given_up_at = now
        self.times_given_up += 1

    def came_to(self, index: int) -> None:
        """Note that it has brought the chunks before `index`: it makes progress."""
        self.next, self.times_given_up, self.is_replaced = index, 0, False

    def got_slot(self, now: float) -> None:
        """Note that the stream got its slot at `now`: its request may go out."""
        self.is_queued, self.first, self._fresh_at = False, self.next, now

    def release(self) -> None:
        """End a pause, and do not pause again: a reader waits for the end of the stream."""
        self._may_pause = False
        self._more.set()

    async def pause(self) -> bool:
        """Wait until `readahead_until` moves on; return whether it did.

        Give up after `PAUSE_S`, or after `CLOSED_PAUSE_S` while no handle is open.
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
    """Consecutive whole chunks, and their bytes."""

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
        """Return whether the body went on after the last byte of the file."""
        return self.position > self._layout.size

    @property
    def ready(self) -> range:
        """Return the chunks that are whole and were not taken yet."""
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
        """Remove and return the whole chunks before `stop`: at least one, and no more than are ready."""
        chunks = range(self.index, stop)
        assert self.index < stop <= self.ready.stop
        data = b"".join(self._pieces)
        length = self._layout.start(stop) - self._layout.start(self.index)
        rest = len(data) - length
        self._pieces = [memoryview(data)[length:]] if rest and stop < self._layout.count else []
        self.index = stop
        return ChunkRun(chunks, data[:length] if rest else data)
