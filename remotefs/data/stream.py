"""One reply being read in order: how far it is, how far it is wanted, and when it waits (back-pressure).

All positions are indexes of chunks. A stream that has reached its goal reads no further, so the service's own sending
stops; a later read that needs what comes next moves the goal on, and no new request is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from remotefs.api.budget import Priority
from remotefs.data.chunks import Layout

# A read this many chunks past what is being waited for still joins; one further off gets its own request (R1).
_NEAR_CHUNKS = 1


@dataclass(eq=False)
class Stream:
    """Brings the chunks from `next` up to `stop`, as far as `goal`; `asked` is how far somebody waits for them."""

    next: int
    stop: int
    asked: int
    goal: int
    priority: Priority
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    # Whether its reply is coming in.
    is_flowing: bool = False
    is_paused: bool = False
    _may_pause: bool = True
    _more: trio.Event = field(default_factory=trio.Event)

    def brings(self, index: int, *, soon: bool) -> bool:
        """Whether it will come to that chunk; `soon`: before anything else that nobody waits for."""
        if not self.next <= index < self.stop:
            return False
        return not soon or index <= max(self.next, self.asked) + _NEAR_CHUNKS

    def join(self, asked: int, goal: int) -> None:
        """Somebody waits for the chunks before `asked`, and those before `goal` are worth having."""
        self.asked = max(self.asked, min(asked, self.stop))
        if min(goal, self.stop) > self.goal:
            self.goal = min(goal, self.stop)
            self._more.set()

    def release(self) -> None:
        """End a pause and make no more: somebody waits for its end."""
        self._may_pause = False
        self._more.set()

    async def pause(self, timeout_s: float) -> bool:
        """Wait until the goal moves; False when it did not in that time."""
        self.is_paused, self._more = True, trio.Event()
        if self._may_pause:
            with trio.move_on_after(timeout_s):
                await self._more.wait()
        self.is_paused = False
        return self.next < self.goal


class Assembler:
    """Cuts a body that begins anywhere into the whole chunks of a file. Pure."""

    def __init__(self, layout: Layout, offset: int) -> None:
        self._layout = layout
        # The offset in the file of the byte that comes next.
        self.position = offset
        # The first chunk that this body can still bring whole.
        self.index = -(-offset // layout.chunk_bytes)
        self._skip = self.index * layout.chunk_bytes - offset
        self._pending = bytearray()

    @property
    def is_past_end(self) -> bool:
        """Whether the body went on after the file's last byte."""
        return self.position > self._layout.size

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """Take a piece; the chunks that it completes, with their indexes."""
        self.position += len(piece)
        skipped = min(self._skip, len(piece))
        self._skip -= skipped
        self._pending += memoryview(piece)[skipped:]
        while self.index < self._layout.count:
            length = self._layout.length(self.index)
            if len(self._pending) < length:
                return
            chunk = bytes(memoryview(self._pending)[:length])
            del self._pending[:length]
            self.index += 1
            yield self.index - 1, chunk
        self._pending.clear()
