"""A reader of the kernel's events (inotify(7)), by the C library alone."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_EVENT = struct.Struct("iIII")
_NAMES = {
    0x2: "MODIFY", 0x4: "ATTRIB", 0x8: "CLOSE_WRITE", 0x40: "MOVED_FROM", 0x80: "MOVED_TO", 0x100: "CREATE",
    0x200: "DELETE", 0x400: "DELETE_SELF",
}  # fmt: skip
_ALL = sum(_NAMES)
_IS_DIRECTORY = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    """What happened to a name below the watched folder."""

    what: str
    path: str


class Inotify:
    """Watches folders, without opening or listing them."""

    def __init__(self, root: Path, *folders: str) -> None:
        self._root = root
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0
        self._folders: dict[int, str] = {}
        for folder in ("", *folders):
            self.watch(folder)

    def __enter__(self) -> Inotify:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def watch(self, folder: str) -> None:
        """Watch one more folder."""
        number = _libc.inotify_add_watch(self._fd, os.fsencode(self._root / folder), _ALL)
        assert number >= 0, os.strerror(ctypes.get_errno())
        self._folders[number] = folder

    def read(self) -> list[Event]:
        """Return the events of now, without waiting."""
        events: list[Event] = []
        while select.select([self._fd], [], [], 0)[0]:
            data = os.read(self._fd, 1 << 20)
            while data:
                number, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
                data = data[_EVENT.size + length :]
                folder = self._folders[number]
                suffix = "/" if mask & _IS_DIRECTORY else ""
                what = "+".join(text for bit, text in _NAMES.items() if mask & bit)
                events.append(Event(what, f"{folder}/{name}".strip("/") + suffix))
        return events

    def until(self, *wanted: Event, timeout_s: float = 15.0) -> list[Event]:
        """Return the events up to the moment that all of `wanted` have come, and what comes right after."""
        events: list[Event] = []
        end = time.monotonic() + timeout_s
        while not set(wanted) <= set(events):
            assert time.monotonic() < end, (wanted, events)
            time.sleep(0.02)
            events += self.read()
        time.sleep(0.3)
        return events + self.read()
