"""The event log: which files others added, replaced and removed, for scripts that ask later (M5).

Lines of JSON in files of 10,000 events in the folder `events`, each named by the number of its first event. Only the
newest are kept: 100,000 events, of 30 days. A reader learns up to when events are lost to it: because they were
dropped, because the log began later, or because a mount ended before it had written its last ones.

It is written without a sync: after `kill -9` it is whole up to the last write, and whatever way a mount ended without
`close`, the next one notes that events may be lost. A last line that was cut is taken away.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

EventKind = Literal["added", "replaced", "moved", "removed", "lost", "closed"]
FOLDER_NAME = "events"
_NS = 1_000_000_000
# The bounds of the log: in events, and in time.
_FILE_EVENTS = 10_000
_FILES = 11
_KEPT_NS = 30 * 86_400 * _NS
# The newest events are in memory, so that followers read no file.
_IN_MEMORY = 1_000


class LoggedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event: the number that orders it, its time in ns since the epoch, its size in bytes.

    `path` is relative to the root of the tree, `source` the path before a move. `lost`: events before it may be
    missing, and `path` is the reason; `closed`: the mount ended and nothing is missing.
    """

    number: int
    at_ns: int
    kind: EventKind
    path: str = ""
    source: str = ""
    file_id: str | None = None
    size: int = 0
    generated: bool = False


class EventPage(NamedTuple):
    """Some events in order; the next page begins after the number `last`.

    `lost_before_ns` is the time up to which events that were asked for are missing; None: none are.
    """

    events: Sequence[LoggedEvent]
    last: int
    lost_before_ns: int | None = None


class EventLog:
    """Owns the folder `events` of a state folder. Its methods block for the disk; all raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recent: deque[LoggedEvent] = deque(maxlen=_IN_MEMORY)
        # The newest file. The number of the last event, and how many events that file has.
        self._newest = folder
        self.last = 0
        self._in_file = 0

    def open(self, now_ns: int) -> None:
        """Go on where the last mount ended. Call it before anything else."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        files = self._files()
        newest = self._read(files[-1]) if files else []
        if files:
            self._newest = files[-1]
            _cut_torn_line(self._newest)
            self.last = newest[-1].number if newest else _first_of(files[-1]) - 1
            self._in_file = len(newest)
        if not files:
            self.append([LoggedEvent(number=0, at_ns=now_ns, kind="lost", path="the log begins here")])
        elif not newest or newest[-1].kind != "closed":
            self.append([
                LoggedEvent(number=0, at_ns=now_ns, kind="lost", path="a mount ended without its last events")
            ])

    def close(self, now_ns: int) -> None:
        """Note that all events were written."""
        self.append([LoggedEvent(number=0, at_ns=now_ns, kind="closed")])

    def append(self, events: Iterable[LoggedEvent]) -> None:
        """Write events, each with the next number."""
        numbered = [
            msgspec.structs.replace(event, number=number) for number, event in enumerate(events, start=self.last + 1)
        ]
        if not numbered:
            return
        if not 0 < self._in_file < _FILE_EVENTS or not self._newest.exists():
            self._begin_file(numbered[0])
        _write_all(self._newest, b"".join(msgspec.json.encode(event) + b"\n" for event in numbered))
        self.last = numbered[-1].number
        self._in_file += len(numbered)
        self._recent.extend(numbered)

    def number_at(self, since_ns: int) -> EventPage:
        """Return the number after which the events since a time begin, as an empty page, and what is lost of these."""
        last, lost_before_ns = self.last, None
        files = self._files()
        for index, file in enumerate(files):
            events = self._read(file)
            # The events before the first file were dropped.
            if index == 0 and events and events[0].at_ns > since_ns and events[0].kind != "lost":
                lost_before_ns = events[0].at_ns
            later = next((event for event in events if event.at_ns >= since_ns), None)
            if later is not None:
                return EventPage((), later.number - 1, lost_before_ns)
        return EventPage((), last, lost_before_ns)

    def after(self, number: int, limit: int) -> EventPage:
        """Return at most `limit` events after a number."""
        if self._recent and self._recent[0].number <= number + 1:
            events = [event for event in self._recent if event.number > number][:limit]
            return EventPage(events, events[-1].number if events else max(number, self.last))
        found: list[LoggedEvent] = []
        files = self._files()
        lost = bool(files) and _first_of(files[0]) > number + 1
        for index, file in enumerate(files):
            is_past = index + 1 < len(files) and _first_of(files[index + 1]) <= number + 1
            if is_past:
                continue
            found += [event for event in self._read(file) if event.number > number]
            if len(found) >= limit:
                break
        found = found[:limit]
        lost_before_ns = found[0].at_ns if lost and found else None
        return EventPage(found, found[-1].number if found else self.last, lost_before_ns)

    def _begin_file(self, first: LoggedEvent) -> None:
        self._newest = self._folder / f"{first.number:012}.jsonl"
        os.close(os.open(self._newest, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._in_file = 0
        files = self._files()
        for old, following in pairwise(files):
            # A file is as old as its last event, which is older than the first of the next one.
            is_old = (events := self._read(following)) and events[0].at_ns < first.at_ns - _KEPT_NS
            if is_old or len(files) - files.index(old) > _FILES:
                old.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _read(self, path: Path) -> list[LoggedEvent]:
        return list(_events_of(path))


def _events_of(path: Path) -> Iterator[LoggedEvent]:
    """Yield the events of a file. A damaged line is an event that is lost; a last line that was cut is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return  # dropped meanwhile
    *lines, _torn = data.split(b"\n")
    number, at_ns = _first_of(path) - 1, 0
    for line in lines:
        try:
            event = msgspec.json.decode(line, type=LoggedEvent)
        except msgspec.DecodeError:
            event = LoggedEvent(number=number + 1, at_ns=at_ns, kind="lost", path="the log is damaged")
        number, at_ns = event.number, event.at_ns
        yield event


def _first_of(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else 0


def _cut_torn_line(path: Path) -> None:
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _write_all(path: Path, data: bytes) -> None:
    """Append bytes, all or none of them. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        written = 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
