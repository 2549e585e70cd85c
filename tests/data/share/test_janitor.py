"""Objects go only for files that are certainly gone (X6)."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.cli.commands.status_table import status_rows
from remotefs.clocks import STEP_AFTER_NS
from remotefs.control.messages.base import Nothing
from remotefs.data.share.janitor import Janitor
from remotefs.errors import RemotefsError
from remotefs.mount.check.inspection import check_state
from remotefs.mount.settings import FuseOptions
from tests.commands import commands, quietly
from tests.data.share.test_crashes import Killer
from tests.data.share.test_uploads import machine, objects, plug, shared, unplug
from tests.faults import Action, EditJson, FaultyServer, Pass, Reply, Request
from tests.parts import Host
from tests.upkeep.support import DAY_S, Time, add, walks

Server = FaultyServer
Clock = trio.abc.Clock
# After the first of them an object is old enough to be noted, after the second its note is.
WEEK_AND_MORE = 8
A_WORKSPACE = "wrkspc_01"


@asynccontextmanager
async def member(
    tmp_path: Path,
    server: Server,
    folder: Path,
    time: Time,
    name: str = "one",
    *,
    workspace: str | None = None,
    **options: Any,
) -> AsyncIterator[Host]:
    """A machine whose clocks are those of `time`; `workspace` is what replies have named."""
    async with machine(tmp_path, server, folder, name, machine=time.machine(), **options) as host:
        host.parts.meta.record(workspace=workspace)
        yield host


def janitor(host: Host) -> Janitor:
    """The janitor of a machine."""
    assert host.parts.janitor is not None
    return host.parts.janitor


async def look(host: Host) -> None:
    """The day's run, whenever it would be."""
    host.parts.meta.record(janitor_due_ns=-1)
    await janitor(host).look()


async def after(host: Host, time: Time, days: int) -> None:
    """Let days pass, list the service, and let the janitor run."""
    time.passed_s += days * DAY_S
    await walks(host, 3)
    await look(host)


def ids(folder: Path) -> set[str]:
    """The ids of the objects."""
    return {path.name for path in objects(folder)}


async def write(host: Host, *paths: str) -> None:
    """Make files with some bytes, at the service and in the store."""
    for path in paths:
        await host.write(path, f"bytes of {path}".encode())
    await host.settled()
    await shared(host)


async def theirs(host: Host, folder: Path, *names: str) -> dict[str, str]:
    """Files that another machine has uploaded, and that this one knows; their ids by name."""
    found = {name: add(host.server, name, downloadable=False) for name in names}
    for file_id in found.values():
        place = folder / host.parts.shared.key_of(file_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"header and bytes")
    await host.walk()
    return found


async def remove(host: Host, *paths: str) -> set[str]:
    """Remove files; return the ids that they had."""
    gone = {host.id(path) for path in paths}
    for path in paths:
        host.unlink(path)
    await host.settled()
    return gone


# -- what goes


async def test_the_object_of_a_removed_file_goes_after_its_days_and_not_before(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one:
        await write(one, "kept", "gone")
        [gone] = await remove(one, "gone")
        for days in (6, 2, 5):
            await after(one, time, days)
            assert gone in ids(folder)
        await after(one, time, 3)
        assert ids(folder) == {one.id("kept")}
        assert await one.read("kept") == b"bytes of kept"
        assert not one.parts.shared.is_known(gone)


async def test_it_runs_by_itself_once_a_day(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    time = Time(server)
    async with member(tmp_path, server, folder, time, working=False) as one:

        def due_in_days() -> float:
            return (one.parts.meta.facts.janitor_due_ns - one.parts.meta.facts.aged_ns) / (DAY_S * 1e9)

        one.nursery.start_soon(janitor(one).run)
        await trio.sleep(1.0)
        assert 0 < due_in_days() <= 1
        time.passed_s += DAY_S
        await walks(one, 3)
        assert due_in_days() <= 0
        await trio.sleep(700.0)
        assert 0.5 <= due_in_days() <= 1.5
        before = due_in_days()
        await trio.sleep(7000.0)
        assert due_in_days() == before


async def test_objects_of_others_go_too_but_only_where_the_workspace_is_named(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    """Else another workspace of the organization may use that part of the store, and its ids are unknown here."""
    time = Time(server)
    for workspace in (None, A_WORKSPACE):
        async with member(tmp_path, server, folder, time, f"other {workspace}", workspace=workspace) as other:
            await write(other, "kept", f"never seen by one: {workspace}")
            gone = await remove(other, f"never seen by one: {workspace}")
        async with member(tmp_path, server, folder, time, f"one {workspace}", workspace=workspace) as one:
            await after(one, time, WEEK_AND_MORE)
            assert janitor(one).statistics().objects == 1
            await after(one, time, WEEK_AND_MORE)
            assert gone <= ids(folder) if workspace is None else gone.isdisjoint(ids(folder))


@pytest.mark.long
async def test_two_machines_may_clean_up_at_once(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one, member(tmp_path, server, folder, time, "two") as two:
        await write(one, "kept", "gone")
        await two.walk()
        await remove(one, "gone")
        time.passed_s += WEEK_AND_MORE * DAY_S
        for host in (one, two):
            await walks(host, 3)
            await look(host)
        time.passed_s += WEEK_AND_MORE * DAY_S
        for host in (one, two):
            await walks(host, 3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, one)
            nursery.start_soon(look, two)
        assert ids(folder) == {one.id("kept")}
        assert await two.read("kept") == b"bytes of kept"
        await after(two, time, 1)
        assert janitor(two).statistics().objects == 0


# -- what stays


@asynccontextmanager
async def with_a_ripe_object(
    tmp_path: Path, server: Server, folder: Path, time: Time, **options: Any
) -> AsyncIterator[Host]:
    """A machine whose next run deletes the object of one of its files."""
    async with member(tmp_path, server, folder, time, **options) as one:
        await write(one, "kept", "gone")
        await remove(one, "gone")
        await after(one, time, WEEK_AND_MORE)
        time.passed_s += WEEK_AND_MORE * DAY_S
        await walks(one, 3)
        yield one


@contextmanager
def _an_answer(action: Action, server: Server, **conditions: Any) -> Iterator[None]:
    rule = server.script.add(action, times=None, **conditions)
    yield
    server.script.remove(rule)


@contextmanager
def _facts(host: Host, **changes: Any) -> Iterator[None]:
    before = {name: getattr(host.parts.meta.facts, name) for name in changes}
    host.parts.meta.record(**changes)
    yield
    host.parts.meta.record(**before)


@contextmanager
def _another_marker(folder: Path) -> Iterator[None]:
    marker = folder / "store.json"
    before = marker.read_bytes()
    marker.write_text('{"format": 1, "store_id": "%s"}' % ("0" * 32))
    yield
    marker.write_bytes(before)


@contextmanager
def _no_right_to_put(host: Host) -> Iterator[None]:
    host.parts.shared.may_only_read = True
    yield
    host.parts.shared.may_only_read = False


def _asks_for_ids(request: Request) -> bool:
    return "ids" in request.query


def _asks_for_all(request: Request) -> bool:
    return request.op == "list" and not _asks_for_ids(request)


def _empty(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"data": []}


async def _nothing(_: Host) -> None:
    """Nothing happens between the trouble and the run."""


async def _failed_walk(host: Host) -> None:
    with pytest.raises(RemotefsError):
        await host.walk()


async def _walk(host: Host) -> None:
    await host.walk()


async def test_nothing_goes_while_anything_is_in_doubt(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    time = Time(server)
    somebody_else = Reply(200, {"data": [], "next_page": None}, {"anthropic-organization-id": "org-of-somebody-else"})
    async with with_a_ripe_object(tmp_path, server, folder, time) as one:
        before = ids(folder)
        assert len(before) == 2
        notes = one.parts.store.orphans.noted()
        troubles: dict[str, tuple[AbstractContextManager[None], Callable[[Host], Awaitable[None]]]] = {
            "a hold of removals": (_facts(one, removals_held=30), _nothing),
            "a hold of expiries": (_facts(one, expiries_held=30), _nothing),
            "an account that is not named": (_facts(one, organization=None, base_url="http://x"), _nothing),
            "a listing that lacked all known files": (_facts(one, all_missing=True), _nothing),
            "an account whose record is lost": (_facts(one, owner_lost=True), _nothing),
            "another store": (_another_marker(folder), _nothing),
            "a machine that may not put": (_no_right_to_put(one), _nothing),
            "a listing that fails": (_an_answer(Reply(500), server, when=_asks_for_all), _failed_walk),
            "a listing that is not whole": (
                _an_answer(EditJson(lambda page: page | {"data": [*page["data"], {"type": "file"}]}), server, when=_asks_for_all),
                _walk,
            ),
            "an empty listing": (_an_answer(EditJson(_empty), server, when=_asks_for_all), _walk),
            "no answer to the last question": (_an_answer(Reply(500), server, when=_asks_for_ids), _nothing),
            "an empty answer to the last question": (
                _an_answer(EditJson(_empty), server, when=_asks_for_ids), _nothing,
            ),
            "another account": (_an_answer(somebody_else, server, when=_asks_for_ids), _nothing),
        }  # fmt: skip
        for name, (trouble, happens) in troubles.items():
            with trouble:
                await happens(one)
                one.parts.shared.connection._shown_at = -1e9  # type: ignore[union-attr] - the marker is asked for again
                await look(one)
                assert (ids(folder), name) == (before, name)
            if name != "another account":
                await one.until(lambda: one.parts.shared.is_up)
                await walks(one, 2)
        assert one.parts.store.orphans.noted() == notes


@pytest.mark.long
async def test_a_run_after_the_trouble_deletes(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    async with with_a_ripe_object(tmp_path, server, folder, Time(server)) as one:
        for _ in range(2):
            unplug(folder)
            await look(one)
            plug(folder)
            await one.until(lambda: one.parts.shared.is_up)
        await look(one)
        assert ids(folder) == {one.id("kept")}


def _without(file_id: str) -> EditJson:
    return EditJson(lambda page: page | {"data": [file for file in page["data"] if file["id"] != file_id]})


def _nameless(file_id: str) -> EditJson:
    """The entry of a file cannot be shown, because it has no name."""

    def edit(page: dict[str, Any]) -> dict[str, Any]:
        data = [file | {"filename": None} if file["id"] == file_id else file for file in page["data"]]
        return page | {"data": data}

    return EditJson(edit)


async def test_a_file_that_comes_back_keeps_its_object(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one:
        await write(one, "kept", "f")
        file_id = one.id("f")
        for action in (_nameless(file_id), Pass()):
            rule = server.script.add(_without(file_id), op="list", times=None)
            await after(one, time, WEEK_AND_MORE)
            assert "f" not in one.ls()
            assert janitor(one).statistics().objects == 1
            server.script.remove(rule)
            rule = server.script.add(action, op="list", times=1)
            await one.walk()
            assert janitor(one).statistics().objects == 0
            server.script.clear()
        rule = server.script.add(_without(file_id), op="list", times=None)
        await after(one, time, WEEK_AND_MORE)
        server.script.remove(rule)
        await after(one, time, WEEK_AND_MORE)
        assert ids(folder) == {one.id("kept"), one.id("f")} == {one.id("kept"), file_id}


async def test_a_file_that_the_service_has_although_no_listing_shows_it_keeps_its_object(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one:
        await write(one, "kept", "f", "gone")
        file_id = one.id("f")
        server.script.add(_without(file_id), op="list", times=None, when=_asks_for_all)
        [gone] = await remove(one, "gone")
        for _ in range(2):
            await after(one, time, WEEK_AND_MORE)
        assert ids(folder) == {one.id("kept"), file_id, gone}
        assert f"files that its listings lacked, such as {file_id}" in caplog.text
        await after(one, time, 1)
        assert ids(folder) == {one.id("kept"), file_id}


@pytest.mark.long
async def test_an_account_without_any_file_is_cleaned_up_by_asking_for_each(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one:
        await write(one, "a", "b")
        await remove(one, "a", "b")
        await after(one, time, WEEK_AND_MORE)
        rule = server.script.add(Reply(500), op="metadata", times=None)
        await after(one, time, WEEK_AND_MORE)
        assert len(ids(folder)) == 2
        server.script.remove(rule)
        await walks(one)
        await look(one)
        assert ids(folder) == set()


@pytest.mark.long
async def test_a_service_that_refuses_unknown_ids_is_asked_for_each(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    """What it answers to a list with an id that is gone is documented nowhere (ADR 4)."""
    async with with_a_ripe_object(tmp_path, server, folder, Time(server)) as one:
        server.script.add(Reply(400), when=_asks_for_ids, times=None)
        rule = server.script.add(Reply(404), op="metadata", times=None)
        await look(one)
        assert len(ids(folder)) == 2, "a server that denies every file has not been relied on"
        server.script.remove(rule)
        await look(one)
        assert ids(folder) == {one.id("kept")}


@pytest.mark.parametrize("wrong", [pytest.param("wall_wrong_s", marks=pytest.mark.long), "service_wrong_s"])
async def test_a_wrong_clock_deletes_nothing(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, wrong: str
) -> None:
    """Neither before the note, nor after it, nor over a restart of the machine."""
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one:
        await write(one, "kept", "gone")
        await remove(one, "gone")
        for days in (400, 4000):
            setattr(time, wrong, days * DAY_S)
            for _ in range(2):
                time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
                await walks(one, 3)
                await look(one)
    async with machine(tmp_path, server, folder, "one", machine=time.machine("started again")) as one:
        await walks(one, 3)
        time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
        await walks(one, 3)
        await look(one)
        setattr(time, wrong, 0.0)
        time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
        await walks(one, 3)
        await look(one)
        assert len(ids(folder)) == 2


async def test_a_new_upload_of_another_machine_is_young(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    """It comes between the last listing and the run, in an account where objects of others may go."""
    time = Time(server)
    async with (
        member(tmp_path, server, folder, time, workspace=A_WORKSPACE) as one,
        member(tmp_path, server, folder, time, "two", workspace=A_WORKSPACE) as two,
    ):
        await write(one, "kept")
        await after(one, time, 1)
        await write(two, "new")
        await look(one)
        assert janitor(one).statistics().objects == 0
        await after(one, time, WEEK_AND_MORE)
        assert janitor(one).statistics().objects == 0


async def test_a_machine_that_was_away_for_months_deletes_nothing_before_it_has_listed_twice(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    time = Time(server)
    async with with_a_ripe_object(tmp_path, server, folder, time) as one:
        kept = one.id("kept")
    time.passed_s += 200 * DAY_S
    async with member(tmp_path, server, folder, time) as one:
        await look(one)
        assert len(ids(folder)) == 2
        # The listing that confirms has to begin when the days are over, as far as they are counted.
        await one.walk()
        await look(one)
        await one.walk()
        await look(one)
        assert ids(folder) == {kept}


@pytest.mark.long
async def test_a_note_seems_never_older_than_it_is(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    """The days in which no answer came are counted with the next one, and the note was made at their end."""
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one:
        await write(one, "kept", "gone")
        await remove(one, "gone")
        await walks(one, 3)
        time.passed_s += WEEK_AND_MORE * DAY_S
        await look(one)
        assert janitor(one).statistics().objects == 1
        for days in (0, 5):
            await after(one, time, days)
            assert len(ids(folder)) == 2
        await after(one, time, 3)
        assert ids(folder) == {one.id("kept")}


@pytest.mark.long
async def test_a_read_only_mount_deletes_nothing(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    time = Time(server)
    async with with_a_ripe_object(tmp_path, server, folder, time) as one:
        gone = ids(folder) - {one.id("kept")}
    async with member(tmp_path, server, folder, time, options=FuseOptions(read_only=True)) as one:
        await walks(one, 3)
        await look(one)
        assert gone <= ids(folder)


@pytest.mark.long
async def test_names_that_no_file_has_stay(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time(server)
    async with member(tmp_path, server, folder, time, workspace=A_WORKSPACE) as one:
        await write(one, "kept")
        [place] = objects(folder)
        odd = [place.with_name("a file"), place.with_name("file_elsewhere"), place.parent / "x" / "file_deep"]
        for path in odd:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
        for _ in range(3):
            await after(one, time, WEEK_AND_MORE)
        assert [path for path in odd if not path.exists()] == []
        assert "3 objects whose names are not those of files" in caplog.text


async def test_without_the_right_to_delete_it_is_said_and_tried_again(
    tmp_path: Path,
    server: Server,
    folder: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = Time(server)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path in objects(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, missing_ok)

    caplog.set_level(logging.INFO)
    async with with_a_ripe_object(tmp_path, server, folder, time) as one:
        gone = ids(folder) - {one.id("kept")}
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuse)
            for _ in range(2):
                await look(one)
        said = [record for record in caplog.records if "refuses access" in record.getMessage()]
        assert [record.levelno for record in said] == [logging.INFO]
        assert "refuses access" in (janitor(one).statistics().trouble or "")
        assert one.parts.store.shares.find(min(gone)) is None
        await look(one)
        assert janitor(one).statistics().trouble is None
        assert gone.isdisjoint(ids(folder))


# -- many at once (S1)


async def test_many_at_once_wait_for_a_person_also_over_a_restart(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one:
        await write(one, "kept")
        for file_id in (await theirs(one, folder, *map(str, range(21)))).values():
            server.store.delete(file_id)
        await commands(one).trash.accept_removals(Nothing(), quietly)
        for days in (WEEK_AND_MORE, WEEK_AND_MORE, 1):
            await after(one, time, days)
        assert (len(ids(folder)), janitor(one).statistics().held) == (22, 21)
    async with member(tmp_path, server, folder, time) as one:
        assert janitor(one).statistics().held == 21
        status = await commands(one).status.status(Nothing(), quietly)
        assert status.shared is not None
        assert (status.shared.orphans, status.shared.orphans_held) == (21, 21)
        assert dict(status_rows(status))["shared store"]
        unplug(folder)
        result = await commands(one).trash.accept_removals(Nothing(), quietly)
        assert "mount its share" in (result.trouble or "")
        plug(folder)
        await one.until(lambda: one.parts.shared.is_up)
        result = await commands(one).trash.accept_removals(Nothing(), quietly)
        assert (result.objects, result.trouble) == (21, None)
        assert (ids(folder), janitor(one).statistics().held) == ({one.id("kept")}, 0)


async def test_few_at_once_do_not(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    """And each request asks for 99 at most, with a file that shows whether the answer can be relied on."""
    time = Time(server)
    async with member(tmp_path, server, folder, time) as one:
        await write(one, "kept")
        for file_id in (await theirs(one, folder, *map(str, range(20)))).values():
            server.store.delete(file_id)
        await after(one, time, WEEK_AND_MORE)
        time.passed_s += WEEK_AND_MORE * DAY_S
        await walks(one, 3)
        server.script.forget_requests()
        await look(one)
        assert ids(folder) == {one.id("kept")}
        [request] = server.script.requests()
        assert request.query.count("ids") == 21


# -- crashes


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("nobody has the files", marks=pytest.mark.long),
        "the store has deleted the objects",
        pytest.param("the rows are gone", marks=pytest.mark.long),
    ],
)
async def test_a_crash_at_any_moment_does_no_harm(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    time, killer, log = Time(server), Killer(f"janitor: {step}", 1), logging.getLogger("remotefs.crashpoints")
    caplog.set_level(logging.DEBUG, log.name)
    log.addHandler(killer)
    try:
        async with with_a_ripe_object(tmp_path, server, folder, time) as one:
            killer.host = one
            kept = one.id("kept")
            await look(one)
    finally:
        log.removeHandler(killer)
    assert killer.has_killed
    async with member(tmp_path, server, folder, time, "after") as again:
        await after(again, time, 1)
        assert ids(folder) == {kept}
        assert await again.read("kept") == b"bytes of kept"
        assert janitor(again).statistics().objects == 0
        assert await check_state(again.parts) == []
