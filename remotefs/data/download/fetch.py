"""All that goes on for one file that is not here: who waits for what, and which streams bring it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from remotefs.api.budget import Priority, Ticket
from remotefs.data.content.chunks import Layout
from remotefs.data.download.read_request import ReadRequest
from remotefs.data.download.stream import Stream

# So many bytes that are here already are read again rather than a request more be made.
REDUNDANT_BYTES = 1024 * 1024
# A stream of no more is over in a moment: the largest READ of the kernel, in chunks.
_BRIEF_BYTES = 5 << 18


class PartSizes(NamedTuple):
    """How much of a file one stream beside others is to bring, in chunks; one that has more than `longest` is cut.

    Before its last `ending` the next is asked for.
    """

    least: int
    usual: int
    longest: int
    ending: int


class Fetch:
    """The requests and streams of one file."""

    def __init__(self, file_id: str, layout: Layout) -> None:
        self.file_id = file_id
        self.layout = layout
        self.requests: set[ReadRequest] = set()
        self.streams: list[Stream] = []
        # The chunk where the last sequential reader stands, and the one that it is worth going up to.
        self.position = self.reach = 0
        # PartSizes that were begun beside others.
        self._begun = 0
        # How far ahead of it, in bytes, wherever the file ends.
        self.window_bytes = 0
        # Whether a chunk could not go to the disk: then nothing is fetched that nobody waits for.
        self.not_on_disk = False
        # When a byte last came by any of its streams.
        self._heard_at = -math.inf

    @property
    def is_read(self) -> bool:
        """Whether somebody waits for one of its streams, or reads on behind it: then it takes part of the link."""
        return any(stream.is_active and not stream.is_brief for stream in self.streams)

    @property
    def is_idle(self) -> bool:
        """Whether nothing goes on."""
        return not self.requests and not self.streams

    def plan(self, request: ReadRequest, *, ranges: bool | None, part: int | None = None) -> list[Stream]:
        """Let the request join the streams that are about to bring it; the new ones to be started for the rest.

        With `ranges` False there is one stream, from byte 0; what it has passed is asked for when it is over. With
        None it is not known yet, and one range is tried. `part`: a stream that goes on brings so many chunks at most.
        """
        started = []
        for index in sorted(request.missing_chunks):
            stream = _bringer(self.streams, request, index, ranges=ranges)
            if stream is None and self._must_wait(request, ranges=ranges):
                continue
            if stream is None:
                stream = self._start(request, index, ranges=ranges, part=part)
                started.append(stream)
            stream.join(min(request.asked, stream.stop), request.readahead_until, request.priority)
        return started

    def _must_wait(self, request: ReadRequest, *, ranges: bool | None) -> bool:
        """Whether nothing can be asked for before another stream has ended, or its reply has told of ranges."""
        others = [stream for stream in self.streams if not stream.is_forsaken]
        if ranges is False:
            for stream in others:
                stream.release()  # readers wait for the end of the one stream: it must not pause
            return bool(others)
        asking = [stream for stream in others if not stream.is_flowing] if ranges is None else []
        if asking:
            asking[0].ticket.promote(request.priority)
        return bool(asking)

    def extend(self, concurrency: int, parts: PartSizes, next_missing: Callable[[int], int]) -> list[Stream]:
        """New streams for what is worth having before `reach`: with those that are there `concurrency` of them."""
        started: list[Stream] = []
        count = self.layout.count
        while self._has_room(concurrency):
            index = self._frontier(concurrency, parts, next_missing)
            if index >= min(self.reach, count):
                break
            # Towards the end of the file they become shorter, so that all concurrency are done at about the same time.
            part = min(self._staggered(parts, concurrency), max((count - index) // concurrency, parts.least))
            stop = count if concurrency == 1 else min(index + part, count)
            readahead_until = self.reach if concurrency == 1 else stop
            ending = 0 if concurrency == 1 else parts.ending
            started.append(
                self.begin(index, stop, readahead_until=readahead_until, priority=Priority.PREFETCH, ending=ending)
            )
        return started

    def begin(self, first: int, stop: int, *, readahead_until: int, priority: Priority, ending: int = 0) -> Stream:
        """A new stream, for chunks that nobody waits for yet; it is the caller's to be started."""
        stream = Stream(
            first, stop, first, readahead_until, Ticket(priority), ending, is_brief=self._is_brief(first, stop)
        )
        self.streams.append(stream)
        return stream

    def brought_by(self, stream: Stream) -> int:
        """The bytes that a stream has brought so far."""
        return self.layout.start(stream.next) - self.layout.start(stream.first)

    def widen(self, stream: Stream) -> None:
        """A stream turned out to bring the file from byte 0 to its end, whatever was asked for."""
        stream.first, stream.next, stream.stop = 0, 0, self.layout.count
        stream.is_brief = self._is_brief(0, stream.stop)

    def _is_brief(self, first: int, stop: int) -> bool:
        return self.layout.start(stop) - self.layout.start(first) <= _BRIEF_BYTES

    def _has_room(self, concurrency: int) -> bool:
        """Whether a stream is free or about to be; the ends of parts and the beginnings of others overlap only so
        far.
        """
        active = [stream for stream in self.streams if stream.is_active]
        return sum(not stream.is_ending for stream in active) < concurrency and len(active) < concurrency + -(
            -concurrency // 2
        )

    def _staggered(self, parts: PartSizes, concurrency: int) -> int:
        """From half of the usual up: parts that began together must not end together, or all concurrency would be idle
        for the same round trip."""
        self._begun += 1
        return max(parts.usual * (concurrency + self._begun % concurrency + 1) // (2 * concurrency), parts.least)

    def look_ahead(self, position: int, reach: int, window_bytes: int) -> None:
        """A sequential reader stands there."""
        self.position, self.reach, self.window_bytes = position, reach, window_bytes

    def stop_readahead(self) -> None:
        """No reader is left: bring what is waited for, and no more."""
        self.reach = 0
        for stream in self.streams:
            stream.stop_readahead()

    def linger(self) -> None:
        """No reader is left: what is on its way comes, and nobody is waited for long."""
        for stream in self.streams:
            stream.linger()

    # -- a service that sends nothing (R7)

    def heard(self, stream: Stream, now: float) -> None:
        """A byte came by a stream."""
        self._heard_at = now
        stream.heard(now)

    def fresh_at(self, request: ReadRequest) -> float:
        """When something last came of the streams that the request waits for; -inf for never."""
        return max((stream.fresh_at for stream in self._waited_for(request)), default=-math.inf)

    def is_held(self, request: ReadRequest) -> bool:
        """Whether it is this side that keeps every request from going out that the request waits for."""
        streams = self._waited_for(request)
        return bool(streams) and all(stream.is_held for stream in streams)

    def give_up(self, request: ReadRequest, now: float) -> None:
        """The request has waited in vain for what its streams were to bring."""
        for stream in self._waited_for(request):
            if not stream.is_held:
                stream.given_up_at = now

    def is_given_up(self, request: ReadRequest) -> bool:
        """Whether others have waited in vain: for these very bytes, or for others of the file and none came since."""
        for stream in self.streams:
            at = stream.given_up_at
            if at is None or stream.is_forsaken:
                continue
            if at > self._heard_at or any(stream.brings(index, soon=False) for index in request.missing_chunks):
                return True
        return False

    def forsake(self) -> None:
        """The service was heard again: ask once more for what was given up."""
        for stream in self.streams:
            stream.is_forsaken = stream.given_up_at is not None

    def _bringers(self, request: ReadRequest) -> list[Stream]:
        return [one for one in self.streams if any(one.brings(index, soon=False) for index in request.missing_chunks)]

    def _waited_for(self, request: ReadRequest) -> list[Stream]:
        """Those that come by; where none does yet, those whose replies or ends it waits for to be planned."""
        return self._bringers(request) or [one for one in self.streams if one.is_active]

    def fail(self, stream: Stream, error: Exception, *, ranges: bool | None) -> None:
        """A stream failed: so do the requests that no other brings."""
        others = [other for other in self.streams if other is not stream]
        for request in list(self.requests):
            if any(_bringer(others, request, index, ranges=ranges) is None for index in request.missing_chunks):
                request.fail(error)

    def end(self, stream: Stream) -> None:
        """A stream is over; whoever still misses something plans anew."""
        self.streams.remove(stream)
        self.wake()

    def is_awaiting(self, chunks: range) -> bool:
        """Whether these are all that somebody waits for."""
        return any(request.completed_by(chunks) for request in self.requests)

    def first_due(self, index: int, stop: int) -> int:
        """Where between two chunks the first reader has what it waits for; `stop` when none does."""
        ends = (request.end_within(index, stop) for request in self.requests)
        return min((end for end in ends if end is not None), default=stop)

    def wake(self) -> None:
        """Let all readers plan anew."""
        for request in self.requests:
            request.wake()

    def has_other_whole(self, stream: Stream) -> bool:
        """Whether another stream is already bringing the file from byte 0."""
        count = self.layout.count
        return any(other is not stream and other.is_flowing and other.stop == count for other in self.streams)

    def abandon(self, error: Exception) -> None:
        """Stop all of it."""
        for request in self.requests:
            request.fail(error)
        for stream in self.streams:
            stream.scope.cancel()

    def _frontier(self, concurrency: int, parts: PartSizes, next_missing: Callable[[int], int]) -> int:
        """The first chunk from the reader on that is neither here nor on its way; streams before it go on."""
        index = self.position
        while index < self.reach:
            index = next_missing(index)
            stream = next((stream for stream in self.streams if stream.next <= index < stream.stop), None)
            if stream is None:
                break
            if concurrency > 1 and stream.stop - stream.next > parts.longest:
                stream.shorten(parts.usual)
            stream.join(0, min(stream.stop, self.reach))
            index = stream.stop
        return index

    def _start(self, request: ReadRequest, index: int, *, ranges: bool | None, part: int | None) -> Stream:
        """A stream for the missing chunks from `index` on: just for those where nothing is worth having after them."""
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
        """Past the last missing chunk of one request: short stretches that are here are read again."""
        end = index + 1
        for later in sorted(other for other in request.missing_chunks if other >= end):
            if (later - end) * self.layout.chunk_bytes >= REDUNDANT_BYTES:
                break
            end = later + 1
        return end


def _bringer(streams: list[Stream], request: ReadRequest, index: int, *, ranges: bool | None) -> Stream | None:
    """The stream that the request should wait for: any that comes by, where it has no choice; else one that is near."""
    soon = ranges is not False and not request.is_patient
    for stream in streams:
        if stream.brings(index, soon=soon):
            return stream
    return None
