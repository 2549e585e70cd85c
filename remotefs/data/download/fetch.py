"""One file that is being fetched: which requests wait for which chunks, and which streams bring them.

The plan is made here and is pure: `plan` finds or starts a stream for each missing chunk of a request, `extend` starts
parallel streams ahead of a sequential reader. The downloader runs the streams that these return.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from remotefs.api.budget import Priority, Ticket
from remotefs.data.content.chunks import Layout
from remotefs.data.download.read_request import ReadRequest
from remotefs.data.download.stream import Stream

# A gap of fewer bytes that are here already is read again, because that is cheaper than another request.
REDUNDANT_BYTES = 1024 * 1024
# A stream of at most this many bytes ends in a moment: the largest READ of the kernel (1 MiB) and the chunks that it
# only touches.
_BRIEF_BYTES = 5 << 18


class PartSizes(NamedTuple):
    """How much of a file each of several parallel streams brings, in chunks.

    A stream that has more than `longest` left is cut. The next part is requested when `ending` chunks are left, so that
    its round trip passes meanwhile.
    """

    least: int
    usual: int
    longest: int
    ending: int


class Fetch:
    """Holds the read requests and the streams of one file, and decides which stream brings what."""

    def __init__(self, file_id: str, layout: Layout) -> None:
        self.file_id = file_id
        self.layout = layout
        self.requests: set[ReadRequest] = set()
        self.streams: list[Stream] = []
        # The chunk that the last sequential reader has come to, and the end of its window.
        self.position = self.reach = 0
        # How many parts were begun so far; see _staggered.
        self._begun = 0
        # The length of that window in bytes, also where the file ends before it.
        self.window_bytes = 0
        # Whether a chunk found no room on the disk: from then on nothing is fetched that nobody waits for.
        self.not_on_disk = False
        # When a byte last came from any of its streams.
        self._heard_at = -math.inf

    @property
    def is_being_read(self) -> bool:
        """Return whether a reader waits for one of its streams or follows it: the file takes part of the link."""
        return any(stream.is_active and not stream.is_brief for stream in self.streams)

    @property
    def is_idle(self) -> bool:
        """Return whether it has neither requests nor streams."""
        return not self.requests and not self.streams

    def plan(self, request: ReadRequest, *, ranges: bool | None, part: int | None = None) -> list[Stream]:
        """Let a request join the streams that are about to bring its chunks; return new streams for the others.

        `ranges` False: the service ignores Range, so there is one stream from byte 0; chunks that it has passed are
        requested when it has ended. None: not known yet, and one range is tried. `part` is the most chunks that a new
        stream brings if it goes on past the request.
        """
        started = []
        for index in sorted(request.missing_chunks):
            stream = _stream_to_join(self.streams, request, index, ranges=ranges)
            if stream is None and self._must_wait(request, ranges=ranges):
                continue
            if stream is None:
                stream = self._start(request, index, ranges=ranges, part=part)
                started.append(stream)
            stream.join(min(request.asked, stream.stop), request.readahead_until, request.priority)
        return started

    def _must_wait(self, request: ReadRequest, *, ranges: bool | None) -> bool:
        """Return whether nothing can be requested until another stream ends, or its reply shows if ranges work."""
        others = [stream for stream in self.streams if not stream.is_replaced]
        if ranges is False:
            for stream in others:
                stream.release()  # readers wait for the end of this one stream, so it must not pause
            return bool(others)
        asking = [stream for stream in others if not stream.is_flowing] if ranges is None else []
        if asking:
            asking[0].ticket.promote(request.priority)
        return bool(asking)

    def extend(self, streams_wanted: int, parts: PartSizes, next_missing: Callable[[int], int]) -> list[Stream]:
        """Return new streams for the chunks before `reach`, so that up to `streams_wanted` run in all."""
        started: list[Stream] = []
        count = self.layout.count
        while self._has_room(streams_wanted):
            index = self._frontier(streams_wanted, parts, next_missing)
            if index >= min(self.reach, count):
                break
            # Parts become shorter towards the end of the file, so that all streams finish at about the same time.
            part = min(self._staggered(parts, streams_wanted), max((count - index) // streams_wanted, parts.least))
            stop = count if streams_wanted == 1 else min(index + part, count)
            readahead_until = self.reach if streams_wanted == 1 else stop
            ending = 0 if streams_wanted == 1 else parts.ending
            started.append(
                self.begin(index, stop, readahead_until=readahead_until, priority=Priority.PREFETCH, ending=ending)
            )
        return started

    def begin(self, first: int, stop: int, *, readahead_until: int, priority: Priority, ending: int = 0) -> Stream:
        """Return a new stream for chunks that nobody waits for yet. The caller starts it."""
        stream = Stream(
            first, stop, first, readahead_until, Ticket(priority), ending, is_brief=self._is_brief(first, stop)
        )
        self.streams.append(stream)
        return stream

    def brought_by(self, stream: Stream) -> int:
        """Return how many bytes a stream has brought so far."""
        return self.layout.start(stream.next) - self.layout.start(stream.first)

    def widen(self, stream: Stream) -> None:
        """Let a stream bring the whole file: its reply starts at byte 0, whatever range was requested."""
        stream.first, stream.next, stream.stop = 0, 0, self.layout.count
        stream.is_brief = self._is_brief(0, stream.stop)

    def _is_brief(self, first: int, stop: int) -> bool:
        return self.layout.start(stop) - self.layout.start(first) <= _BRIEF_BYTES

    def _has_room(self, streams_wanted: int) -> bool:
        """Return whether another stream may start: one is missing, or is about to end.

        At most half as many more may overlap, one part ending while the next begins.
        """
        active = [stream for stream in self.streams if stream.is_active]
        return sum(not stream.is_ending for stream in active) < streams_wanted and len(active) < streams_wanted + -(
            -streams_wanted // 2
        )

    def _staggered(self, parts: PartSizes, streams_wanted: int) -> int:
        """Return a part size (chunks) between half and the full usual size.

        Parallel parts of equal size would all end at once, and then all streams would wait for the same round trip.
        """
        self._begun += 1
        return max(
            parts.usual * (streams_wanted + self._begun % streams_wanted + 1) // (2 * streams_wanted), parts.least
        )

    def look_ahead(self, position: int, reach: int, window_bytes: int) -> None:
        """Note the position (chunk) of a sequential reader, and the end (chunk) and length (bytes) of its window."""
        self.position, self.reach, self.window_bytes = position, reach, window_bytes

    def stop_readahead(self) -> None:
        """Bring only chunks that requests wait for: no reader is left."""
        self.reach = 0
        for stream in self.streams:
            stream.stop_readahead()

    def shorten_pauses(self) -> None:
        """Bring the chunks that are on their way, and pause only briefly for more: no reader is left."""
        for stream in self.streams:
            stream.shorten_pauses()

    # -- a service that sends nothing (R7)

    def heard(self, stream: Stream, now: float) -> None:
        """Note that a byte came from a stream."""
        self._heard_at = now
        stream.heard(now)

    def was_heard_since(self, at: float) -> bool:
        """Return whether a byte came from any stream at that time or later (trio's time)."""
        return self._heard_at >= at

    def fresh_at(self, request: ReadRequest) -> float:
        """Return when the streams that a request waits for last made progress (trio's time); -inf for never."""
        return max((stream.fresh_at for stream in self._waited_for(request)), default=-math.inf)

    def is_held(self, request: ReadRequest) -> bool:
        """Return whether this side holds back every stream that the request waits for."""
        streams = self._waited_for(request)
        return bool(streams) and all(stream.is_held for stream in streams)

    def tickets(self, request: ReadRequest) -> list[Ticket]:
        """Return the tickets of the streams that a request waits for."""
        return [stream.ticket for stream in self._waited_for(request)]

    def give_up(self, request: ReadRequest, now: float) -> None:
        """Mark the streams that a request has waited for in vain, except those that this side holds back."""
        for stream in self._waited_for(request):
            if not stream.is_held:
                stream.give_up(now)

    def is_given_up(self, request: ReadRequest) -> bool:
        """Return whether other readers waited in vain for these bytes, or for others of the file with no byte since."""
        for stream in self.streams:
            at = stream.given_up_at
            if at is None or stream.is_replaced:
                continue
            if at > self._heard_at or any(stream.brings(index, soon=False) for index in request.missing_chunks):
                return True
        return False

    def retry_given_up(self) -> None:
        """Let new streams replace those that were given up: the service was heard again."""
        for stream in self.streams:
            stream.is_replaced |= stream.given_up_at is not None

    def came_to(self, stream: Stream, index: int) -> None:
        """Note that a stream has brought the chunks before `index`; end a replaced one whose place it has taken."""
        brought = range(stream.next, index)
        stream.came_to(index)
        for other in self.streams:
            if other is not stream and other.is_replaced and other.next in brought:
                other.scope.cancel()

    def _streams_bringing(self, request: ReadRequest) -> list[Stream]:
        return [one for one in self.streams if any(one.brings(index, soon=False) for index in request.missing_chunks)]

    def _waited_for(self, request: ReadRequest) -> list[Stream]:
        """Return the streams that will bring its chunks; if there are none yet, those that it must wait for first."""
        return self._streams_bringing(request) or [one for one in self.streams if one.is_active]

    def fail(self, stream: Stream, error: Exception, *, ranges: bool | None) -> None:
        """Fail the requests whose chunks no stream but the failed one brings."""
        others = [other for other in self.streams if other is not stream]
        for request in list(self.requests):
            if any(_stream_to_join(others, request, index, ranges=ranges) is None for index in request.missing_chunks):
                request.fail(error)

    def end(self, stream: Stream) -> None:
        """Remove a stream that has ended; requests that still miss chunks plan again."""
        self.streams.remove(stream)
        self.wake()

    def is_awaiting(self, chunks: range) -> bool:
        """Return whether these chunks complete a request."""
        return any(request.completed_by(chunks) for request in self.requests)

    def first_due(self, index: int, stop: int) -> int:
        """Return the earliest chunk before `stop` at which a request is complete; `stop` if there is none."""
        ends = (request.end_within(index, stop) for request in self.requests)
        return min((end for end in ends if end is not None), default=stop)

    def wake(self) -> None:
        """Let all requests plan again."""
        for request in self.requests:
            request.wake()

    def has_other_whole(self, stream: Stream) -> bool:
        """Return whether another stream already brings the file up to its end."""
        count = self.layout.count
        others = (other for other in self.streams if other is not stream and not other.is_replaced)
        return any(other.is_flowing and other.stop == count for other in others)

    def abandon(self, error: Exception) -> None:
        """End all streams, and fail all requests with `error`."""
        for request in self.requests:
            request.fail(error)
        for stream in self.streams:
            stream.scope.cancel()

    def _frontier(self, streams_wanted: int, parts: PartSizes, next_missing: Callable[[int], int]) -> int:
        """Return the first chunk after the reader that is neither here nor on its way; let streams before it go on."""
        index = self.position
        while index < self.reach:
            index = next_missing(index)
            stream = next((stream for stream in self.streams if stream.brings(index, soon=False)), None)
            if stream is None:
                break
            if streams_wanted > 1 and stream.stop - stream.next > parts.longest:
                stream.shorten(parts.usual)
            stream.join(0, min(stream.stop, self.reach))
            index = stream.stop
        return index

    def _start(self, request: ReadRequest, index: int, *, ranges: bool | None, part: int | None) -> Stream:
        """Return a new stream for the missing chunks from `index` on.

        It goes on past them only if the request reads ahead.
        """
        first = 0 if ranges is False else index
        end = self._end_of_run(request, index)
        goes_on = request.readahead_until > end >= request.asked
        looks = request.is_look and ranges is not False
        stop = self.layout.count if ranges is False or goes_on else end
        if goes_on and looks:
            stop = request.readahead_until
        elif goes_on and part is not None and ranges:
            stop = max(end, min(index + part, stop))
        return self.begin(first, stop, readahead_until=end, priority=request.priority)

    def _end_of_run(self, request: ReadRequest, index: int) -> int:
        """Return the end (chunk) of the missing run: short stretches that are here already are read again."""
        end = index + 1
        for later in sorted(other for other in request.missing_chunks if other >= end):
            if (later - end) * self.layout.chunk_bytes >= REDUNDANT_BYTES:
                break
            end = later + 1
        return end


def _stream_to_join(streams: list[Stream], request: ReadRequest, index: int, *, ranges: bool | None) -> Stream | None:
    """Return the stream that will bring a chunk to a request; None if it needs a new one.

    Any stream that passes the chunk counts if ranges do not work or the request is patient; else only one that is near.
    """
    soon = ranges is not False and not request.is_patient
    for stream in streams:
        if stream.brings(index, soon=soon):
            return stream
    return None
