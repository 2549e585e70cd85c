"""Copies of the database: made while it is in use and when it was closed, few, and sound."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from remotefs.store.copies import Copies
from remotefs.store.database import Database
from remotefs.store.rescue import is_sound


@pytest.fixture
def clock() -> trio.testing.MockClock:
    return trio.testing.MockClock()


def put(database: Database, key: str) -> None:
    with database.transaction():
        database.execute("INSERT INTO meta VALUES (?, 1)", (key,))


def keys_in(path: Path) -> list[str]:
    database = Database(path)
    try:
        return [row[0] for row in database.all("SELECT key FROM meta WHERE key != 'written_by' ORDER BY key")]
    finally:
        database.close()


def test_a_copy_in_use_holds_all_that_was_committed_and_is_private(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    put(database, "a")
    copy = Copies(tmp_path / "state.db", tmp_path / "copies", lambda _: True).make()
    put(database, "b")
    assert copy is not None
    assert is_sound(copy)
    assert copy.stat().st_mode & 0o077 == 0
    assert keys_in(copy) == ["a"]
    database.close()


def test_few_are_kept_and_that_of_a_clean_end_replaces_one_of_the_last_hour(tmp_path: Path) -> None:
    Database(tmp_path / "state.db").close()
    copies = Copies(tmp_path / "state.db", tmp_path / "copies", lambda _: True)
    for _ in range(5):
        copies.make_of_closed()
    assert len(copies.newest_first()) == 1
    for _ in range(5):
        copies.make()
    found = copies.newest_first()
    assert len(found) == 3
    day_ago = time.time() - 86_400
    for file in found:
        os.utime(file, (day_ago, day_ago))
    newest = copies.make_of_closed()
    assert copies.newest_first() == [newest, *found[:2]]


def test_without_room_there_is_none(tmp_path: Path) -> None:
    Database(tmp_path / "state.db").close()
    assert Copies(tmp_path / "state.db", tmp_path / "copies", lambda _: False).make() is None
    assert not (tmp_path / "copies").exists()


async def test_a_mount_that_runs_makes_one_when_the_last_is_a_day_old(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    database = Database(tmp_path / "state.db")
    copies = Copies(tmp_path / "state.db", tmp_path / "copies", lambda _: True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(copies.run)
        for expected, age_s in ((1, 0.0), (1, 80_000.0), (2, 90_000.0), (3, -90_000.0)):
            for file in copies.newest_first():
                then = time.time() - age_s
                os.utime(file, (then, then))
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(601.0)
            while trio.lowlevel.current_statistics().seconds_to_next_deadline != 600.0:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(copies.newest_first()) == expected
        nursery.cancel_scope.cancel()
    database.close()
