"""Records what others add, replace and remove in the event log, and wakes those who follow it (M5)."""

from __future__ import annotations

import logging
import time

import trio

from remotefs.broadcast import Broadcast
from remotefs.data.foreign_names import Key, NameChange, NameMove, PendingNames
from remotefs.mount.turns import Turns
from remotefs.store.event_log import EventKind, EventLog, EventPage, LoggedEvent
from remotefs.store.records import Inode, Origin
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)
# As many as the log has; more at a time are reported as lost.
_LIMIT = 100_000
# Events of one listing are written together.
_GATHER_S = 0.2
# Changes that are turned into events before other tasks may run.
_A_TURN = 200


class EventRecorder:
    """A listener of the reconciliation that writes the event log while `run` runs. Folders are no events.

    What comes before `run`, at the first look at the service, is written then.
    """

    def __init__(self, store: Store, log: EventLog) -> None:
        self._tree = store.tree
        self._remotes = store.remotes
        self._event_log = log
        self._pending = PendingNames(_LIMIT)
        # By name: its path, and by id whether a file was made at the service. Both may be gone once it is written.
        self._paths: dict[Key, str] = {}
        self._generated: dict[str, bool] = {}
        self._wakeup = Wakeup()
        # How many events are lost since the last one that was written.
        self._missed = 0
        self._written = Broadcast()

    def came(self, parent: int, name: str, inode: Inode) -> None:
        """Note that others gave an inode a name."""
        if not inode.is_dir:
            self._note(parent, name, inode)
            self._pending.came(parent, name, inode)

    def went(self, parent: int, name: str, inode: Inode) -> None:
        """Note that others took a name away."""
        if not inode.is_dir:
            self._note(parent, name, inode)
            self._pending.went(parent, name, inode)

    def _note(self, parent: int, name: str, inode: Inode) -> None:
        self._paths[parent, name] = self._tree.path_of(parent, name)
        if inode.file_id is not None:
            remote = self._remotes.find(inode.file_id)
            if remote is not None:
                self._generated[inode.file_id] = bool(remote.downloadable) and remote.origin == Origin.FOREIGN
        self._wakeup.set()

    async def run(self) -> None:
        """Write events until cancelled, and those that are left then. Raises OSError where the log cannot be opened."""
        # Also in a run that is cancelled at once: what its first look at the service found is written.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._event_log.open, time.time_ns())
        try:
            while True:
                await self._wakeup.wait()
                await trio.sleep(_GATHER_S)
                await self._write()
        finally:
            with trio.CancelScope(shield=True):
                await self._write()
                await trio.to_thread.run_sync(self._event_log.close, time.time_ns())

    async def page(self, after: int, limit: int, wait_s: float) -> EventPage:
        """Return events after a number; wait for the first at most `wait_s` seconds. Raises OSError."""
        with trio.move_on_after(wait_s):
            while after >= self._event_log.last:
                await self._written.wait()
        return await trio.to_thread.run_sync(self._event_log.after, after, limit)

    async def number_at(self, since_ns: int | None) -> EventPage:
        """Return the number after which the events since a time begin, by default those from now on. Raises OSError."""
        if since_ns is None:
            return EventPage((), self._event_log.last)
        return await trio.to_thread.run_sync(self._event_log.number_at, since_ns)

    async def _write(self) -> None:
        """Write what is noted. What cannot be written is lost, and the next events say so."""
        events = await self._gathered()
        self._missed += self._pending.dropped
        self._pending.dropped = 0
        if self._missed:
            reason = f"{self._missed:,} events could not be written"
            events.insert(0, LoggedEvent(number=0, at_ns=time.time_ns(), kind="lost", path=reason))
        if not events:
            return
        try:
            await trio.to_thread.run_sync(self._event_log.append, events)
        except OSError as error:
            self._missed += len(events)
            _log.warning("the event log cannot be written: %s", error)
        else:
            self._missed = 0
            self._written.notify()

    async def _gathered(self) -> list[LoggedEvent]:
        """Return the events that are noted; other tasks run in between."""
        events: list[LoggedEvent] = []
        turns = Turns(_A_TURN)
        while (change := self._pending.take()) is not None:
            event = self._moved(change) if isinstance(change, NameMove) else self._changed(change)
            if event is not None:
                events.append(event)
            await turns.step()
        self._paths.clear()
        self._generated.clear()
        return events

    def _moved(self, move: NameMove) -> LoggedEvent | None:
        path = self._paths.get((move.new_parent, move.new_name))
        source = self._paths.get((move.parent, move.name), "")
        return None if path is None else self._event("moved", path, move.inode, source)

    def _changed(self, change: NameChange) -> LoggedEvent | None:
        """Return the event of a change, None where its transaction was rolled back."""
        path = self._paths.get((change.parent, change.name))
        if path is None:
            return None
        if change.now is not None:
            kind: EventKind = "replaced" if change.was or change.replaced else "added"
            return self._event(kind, path, change.now) if self._tree.find(change.now.ino) is not None else None
        assert change.was is not None
        there = self._tree.lookup(change.parent, change.name)
        is_gone = there is None or there.ino != change.was.ino
        return self._event("removed", path, change.was) if is_gone else None

    def _event(self, kind: EventKind, path: str, inode: Inode, source: str = "") -> LoggedEvent:
        return LoggedEvent(
            number=0,
            at_ns=time.time_ns(),
            kind=kind,
            path=path,
            source=source,
            file_id=inode.file_id,
            size=inode.size,
            generated=self._generated.get(inode.file_id or "", False),
        )
