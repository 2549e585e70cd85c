"""The status line of a mount that a service manager started, such as "3 files, 12 MB to go, 40 s"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from remotefs.mount.assembly import Components
from remotefs.mount.commands.eta import Eta
from remotefs.mount.notify_socket import NotifySocket
from remotefs.store.records import IntentKind

_LOOK_EVERY_S = 1.0
# While it drains, each look asks for this much time, so that a drain that goes on is not cut.
_EXTENSION_S = 30.0
# The bytes of more files are not summed up: that would hold the loop (H8).
_MOST_SUMMED = 5_000
_MB = 1_000_000
_SIZES = ((1_000_000 * _MB, "TB"), (1_000 * _MB, "GB"), (_MB, "MB"), (1_000, "kB"))
_TIMES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


@dataclass(frozen=True)
class Work:
    """What the service does not have yet: `files` to upload, of `size_bytes`, and other changes.

    `size_bytes` is None where there are too many files to sum it up.
    """

    files: int = 0
    size_bytes: int | None = 0
    others: int = 0


def status_line(work: Work, eta_s: float | None, *, offline: str | None, is_ending: bool) -> str:
    """Return the state of a mount in a line. `offline` is the reason for which the service cannot be asked."""
    parts = []
    if work.files:
        parts.append("1 file" if work.files == 1 else f"{work.files:,} files")
    if work.files and work.size_bytes:
        parts.append(_size(work.size_bytes))
    if work.others:
        parts.append("1 other change" if work.others == 1 else f"{work.others:,} other changes")
    line = f"{', '.join(parts)} to go" if parts else "everything is at the service"
    if parts and eta_s is not None and offline is None:
        line += f", {_time(eta_s)}"
    if is_ending:
        line = f"ending: {line}"
    return f"{line}; offline: {offline}" if offline is not None else line


class ServiceStatus:
    """Keeps the status line of a mount current: looks once a second, tells only what has changed.

    `is_ending` tells whether the mount drains before its end.
    """

    def __init__(self, socket: NotifySocket, parts: Components, is_ending: Callable[[], bool]) -> None:
        self._socket = socket
        self._parts = parts
        self._is_ending = is_ending
        self._told: str | None = None
        self._eta: Eta | None = None

    async def run(self) -> None:
        """Tell the state until cancelled."""
        while True:
            self.tell()
            await trio.sleep(_LOOK_EVERY_S)

    def tell(self) -> None:
        """Tell the state of this moment if it differs, and ask for time while the mount ends."""
        is_ending = self._is_ending()
        if is_ending:
            self._socket.extend(_EXTENSION_S)
        work = self._work()
        offline = self._parts.connectivity.statistics().trouble
        line = status_line(work, self._eta_s(work), offline=offline, is_ending=is_ending)
        if line != self._told:
            self._told = line
            self._socket.status(line)
        self._socket.flush()

    def _work(self) -> Work:
        journal = self._parts.journal
        if not journal.is_longer_than(0):
            return Work()
        counts = journal.counts()
        others = counts.get(IntentKind.DELETE, 0)
        files = sum(counts.values()) - others
        return Work(files, self._bytes_left(files) if files <= _MOST_SUMMED else None, others)

    def _bytes_left(self, files: int) -> int:
        sent = sum(upload.sent_bytes for upload in self._parts.in_flight.under_way.values())
        return max(0, self._parts.journal.upload_bytes(_MOST_SUMMED, files) - sent)

    def _eta_s(self, work: Work) -> float | None:
        left = work.size_bytes or work.files + work.others
        if not left:
            self._eta = None
            return None
        if self._eta is None:
            self._eta = Eta(left, trio.current_time())
        requests = work.files + work.others
        return self._eta.seconds(left, trio.current_time(), least_s=self._parts.budget.pace_s(requests))


def _size(size: int) -> str:
    for step, unit in _SIZES:
        if size >= step:
            return f"{size / step:.0f} {unit}"
    return f"{size} bytes"


def _time(seconds: float) -> str:
    for step, unit in _TIMES:
        if seconds >= step:
            return f"{seconds / step:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
