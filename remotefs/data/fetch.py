"""All that goes on for one file that is not here: who waits for what, and which streams bring it."""

from __future__ import annotations

from remotefs.data.chunks import Layout
from remotefs.data.stream import Stream
from remotefs.data.want import Want

# So many bytes that are here already are read again rather than a request more be made.
REDUNDANT_BYTES = 1024 * 1024


class Fetch:
    """The wants and streams of one file."""

    def __init__(self, file_id: str, layout: Layout) -> None:
        self.file_id = file_id
        self.layout = layout
        self.wants: set[Want] = set()
        self.streams: list[Stream] = []
        # Whether a chunk could not go to the disk: then nothing is fetched that nobody waits for.
        self.spilled = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing goes on."""
        return not self.wants and not self.streams

    def plan(self, want: Want, *, ranges: bool | None) -> list[Stream]:
        """Let the want join the streams that are about to bring it; the new ones to be started for the rest.

        With `ranges` False there is one stream, from byte 0; what it has passed is asked for when it is over. With
        None it is not known yet, and a range is tried.
        """
        started = []
        for index in sorted(want.missing):
            stream = _bringer(self.streams, want, index, ranges=ranges)
            if stream is None and ranges is False and self.streams:
                self._hurry()
                continue
            if stream is None:
                stream = self._start(want, index, ranges=ranges)
                started.append(stream)
            stream.join(min(want.asked, stream.stop), want.goal)
        return started

    def fail(self, stream: Stream, error: Exception, *, ranges: bool | None) -> None:
        """A stream failed: so do the wants that no other brings."""
        others = [other for other in self.streams if other is not stream]
        for want in list(self.wants):
            if any(_bringer(others, want, index, ranges=ranges) is None for index in want.missing):
                want.fail(error)

    def end(self, stream: Stream) -> None:
        """A stream is over; whoever still misses something plans anew."""
        self.streams.remove(stream)
        self.nudge()

    def nudge(self) -> None:
        """Let all readers plan anew."""
        for want in self.wants:
            want.nudge()

    def has_other_whole(self, stream: Stream) -> bool:
        """Whether another stream is already bringing the file from byte 0."""
        count = self.layout.count
        return any(other is not stream and other.is_flowing and other.stop == count for other in self.streams)

    def abandon(self, error: Exception) -> None:
        """Stop all of it."""
        for want in self.wants:
            want.fail(error)
        for stream in self.streams:
            stream.scope.cancel()

    def _start(self, want: Want, index: int, *, ranges: bool | None) -> Stream:
        """A stream for the missing chunks from `index` on: just for those where nothing is worth having after them."""
        first = 0 if ranges is False else index
        end = self._end_of_run(want, index)
        is_open_ended = ranges is False or want.goal > end >= want.asked
        stop = self.layout.count if is_open_ended else end
        stream = Stream(next=first, stop=stop, asked=first, goal=end, priority=want.priority)
        self.streams.append(stream)
        return stream

    def _end_of_run(self, want: Want, index: int) -> int:
        """Past the last missing chunk of one request: short stretches that are here are read again."""
        end = index + 1
        for later in sorted(other for other in want.missing if other >= end):
            if (later - end) * self.layout.chunk_bytes >= REDUNDANT_BYTES:
                break
            end = later + 1
        return end

    def _hurry(self) -> None:
        """Readers wait for the end of the one stream: it must not pause."""
        for stream in self.streams:
            stream.release()


def _bringer(streams: list[Stream], want: Want, index: int, *, ranges: bool | None) -> Stream | None:
    """The stream that the want should wait for: any that comes by, where it has no choice; else one that is near, and
    whose request does not wait in the budget's queue behind more urgent ones."""
    soon = ranges is not False and not want.is_patient
    for stream in streams:
        is_urgent = stream.is_flowing or stream.priority <= want.priority
        if stream.brings(index, soon=soon) and (is_urgent or not soon):
            return stream
    return None
