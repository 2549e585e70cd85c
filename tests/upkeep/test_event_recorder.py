"""M5: what the event log gets of a listing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from remotefs.control.messages.watch import WatchedEvent, WatchParams
from remotefs.mount.commands.watch import WatchCommands
from remotefs.store.event_log import FOLDER_NAME, EventLog
from tests.faults import FaultyServer
from tests.parts import Host
from tests.upkeep.support import add, machine


class Scene:
    """A machine that records, and a caller of `watch`."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.commands = WatchCommands(host.parts.event_recorder, host.parts.view)
        self.last = 0

    async def watch(self, path: str = "", *, generated: bool = False, wait_s: float = 2.0) -> list[WatchedEvent]:
        """The next events."""
        params = WatchParams(path=path, generated=generated, after=self.last, wait_s=wait_s)
        page = await self.commands.watch(params, lambda _: None)
        self.last = page.last
        return list(page.events)


@pytest.fixture
async def scene(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Scene]:
    add(server, "stays")
    async with machine(tmp_path, server, working=False) as host:
        host.nursery.start_soon(host.parts.event_recorder.run)
        await host.walk()
        folder = tmp_path / "state" / FOLDER_NAME
        await host.until(lambda: folder.exists() and any(file.stat().st_size for file in folder.iterdir()))
        scene = Scene(host)
        scene.last = (await scene.commands.watch(WatchParams(), lambda _: None)).last
        yield scene


def told(events: list[WatchedEvent]) -> list[tuple[str, str]]:
    return [(event.event, event.path) for event in events]


async def test_m5_the_first_listing_is_no_event(scene: Scene) -> None:
    assert scene.host.ls() == ["stays"]
    assert await scene.watch() == []


async def test_m5_files_that_come_and_go_are_events_and_folders_are_not(scene: Scene) -> None:
    new = add(scene.host.server, "d／new", b"12345")
    await scene.host.walk()
    [event] = await scene.watch()
    assert (event.event, event.path, event.file_id, event.size) == ("added", "d/new", new, 5)
    assert event.generated
    scene.host.server.store.delete(new)
    await scene.host.walk()
    await scene.host.walk()
    [event] = await scene.watch()
    # The folder went with it, and the row of the file.
    assert (event.event, event.path, event.file_id, event.generated) == ("removed", "d/new", new, True)


async def test_m5_a_newer_file_of_the_same_name_replaces_the_older(scene: Scene) -> None:
    old = add(scene.host.server, "f")
    await scene.host.walk()
    await scene.watch()
    add(scene.host.server, "f", b"newer")
    await scene.host.walk()
    events = await scene.watch()
    assert told(events) == [("moved", f"f [{old}]"), ("replaced", "f")]
    assert events[0].source == "f"


async def test_m5_a_caller_sees_the_folder_and_the_kind_that_it_asks_for(scene: Scene) -> None:
    begin = scene.last
    add(scene.host.server, "d／generated")
    add(scene.host.server, "d／uploaded", downloadable=False)
    add(scene.host.server, "dd／generated")
    await scene.host.walk()
    assert {path for _, path in told(await scene.watch("d"))} == {"d/generated", "d/uploaded"}
    scene.last = begin
    assert told(await scene.watch("d", generated=True)) == [("added", "d/generated")]


async def test_m5_a_caller_waits_for_the_next_event(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        events: list[WatchedEvent] = []

        async def wait() -> None:
            events.extend(await scene.watch(wait_s=1000.0))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        add(scene.host.server, "f")
        await scene.host.walk()
    assert told(events) == [("added", "f")]


async def test_m5_events_that_cannot_be_written_are_told_as_lost(scene: Scene) -> None:
    folder = scene.host.state_dir / FOLDER_NAME
    folder.rename(folder.with_name("away"))
    folder.touch()
    add(scene.host.server, "unwritten")
    await scene.host.walk()
    assert await scene.watch() == []
    folder.unlink()
    folder.with_name("away").rename(folder)
    add(scene.host.server, "written")
    await scene.host.walk()
    lost, event = await scene.watch()
    assert (lost.event, lost.reason) == ("lost", "1 events could not be written")
    assert (event.event, event.path) == ("added", "written")


async def test_m5_what_came_while_nothing_was_mounted_is_an_event_of_the_next_mount(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    add(server, "stays")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
    add(server, "meanwhile")
    async with machine(tmp_path, server, working=False) as host:
        # As a mount does it: the service is asked before anything else runs.
        await host.walk()
        host.nursery.start_soon(host.parts.event_recorder.run)
        assert ("added", "meanwhile") in told(await Scene(host).watch(wait_s=1000.0)) + told(await Scene(host).watch())


async def test_m5_a_run_without_a_mount_that_ends_at_once_writes_its_events(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    add(server, "stays")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        add(server, "new")
        await host.walk()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.parts.event_recorder.run)
            nursery.cancel_scope.cancel()
    log = EventLog(tmp_path / "state" / FOLDER_NAME)
    log.open(0)
    assert [(event.kind, event.path) for event in log.after(1, 100).events] == [("added", "new"), ("closed", "")]


async def test_m5_since_begins_at_a_time(scene: Scene) -> None:
    add(scene.host.server, "before")
    await scene.host.walk()
    await scene.watch()
    # Real time passes: an event's time is when it was written.
    since = time.time()
    add(scene.host.server, "after")
    await scene.host.walk()
    await scene.watch()
    page = await scene.commands.watch(WatchParams(since=since), lambda _: None)
    scene.last = page.last
    assert told(await scene.watch()) == [("added", "after")]
