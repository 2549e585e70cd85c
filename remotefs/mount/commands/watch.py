"""`remotefs watch`: what others added, replaced and removed, from the event log."""

from __future__ import annotations

from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.watch import WATCH, WatchedEvent, WatchPage, WatchParams
from remotefs.errors import LocalError
from remotefs.mount.event_recorder import EventRecorder
from remotefs.store.event_log import EventPage, LoggedEvent
from remotefs.vfs.view import View

_NS = 1_000_000_000
_PAGE = 500
_DROPPED = "the event log keeps 100,000 events of 30 days"


class WatchCommands:
    """Hands the events of the log to callers, who wait for them."""

    def __init__(self, recorder: EventRecorder, view: View) -> None:
        self._recorder = recorder
        self._view = view

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [WATCH.bind(self.watch)]

    async def watch(self, params: WatchParams, _: Report) -> WatchPage:
        """Return the next events. Raises LocalError where the log cannot be read."""
        try:
            if params.after is None:
                page = await self._recorder.number_at(None if params.since is None else int(params.since * _NS))
            else:
                page = await self._recorder.page(params.after, _PAGE, params.wait_s)
        except OSError as error:
            raise LocalError(f"the event log cannot be read: {error}") from error
        return self._shown(page, params)

    def _shown(self, page: EventPage, params: WatchParams) -> WatchPage:
        events = [_watched(event) for event in page.events if self._is_wanted(event, params)]
        if page.lost_before_ns is not None:
            events.insert(0, WatchedEvent(event="lost", at=page.lost_before_ns / _NS, reason=_DROPPED))
        return WatchPage(events=tuple(events), last=page.last)

    def _is_wanted(self, event: LoggedEvent, params: WatchParams) -> bool:
        if event.kind in {"lost", "closed"}:
            return event.kind == "lost"
        if params.generated and not event.generated:
            return False
        return any(self._view.shows(path) and _is_at(path, params.path) for path in (event.path, event.source) if path)


def _is_at(path: str, wanted: str) -> bool:
    return not wanted or path == wanted or path.startswith(f"{wanted}/")


def _watched(event: LoggedEvent) -> WatchedEvent:
    if event.kind == "lost" or event.kind == "closed":
        return WatchedEvent(event="lost", at=event.at_ns / _NS, reason=event.path)
    return WatchedEvent(
        event=event.kind,
        at=event.at_ns / _NS,
        path=event.path,
        source=event.source or None,
        file_id=event.file_id,
        size=event.size,
        generated=event.generated,
    )
