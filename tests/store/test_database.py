"""Transactions, durability and migrations of the one database."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from remotefs.errors import OutOfSpace, StateUnusable
from remotefs.store.database import CHECKPOINT_BYTES, Database
from remotefs.store.meta import Meta
from remotefs.store.records import ROOT_INO
from remotefs.store.tree import Tree


def put(database: Database, key: str) -> None:
    with database.transaction():
        database.execute("INSERT INTO meta (key, value) VALUES (?, 1)", (key,))


def keys(database: Database) -> list[str]:
    return [row[0] for row in database.all("SELECT key FROM meta WHERE key != 'written_by' ORDER BY key")]


def test_an_inner_transaction_goes_with_the_outer(database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction():
        put(database, "inner")
        raise RuntimeError
    assert keys(database) == []


def test_undo_runs_in_reverse_and_only_on_rollback(database: Database) -> None:
    undone: list[int] = []
    with database.transaction():
        database.on_rollback(lambda: undone.append(0))
    with pytest.raises(RuntimeError), database.transaction():
        database.on_rollback(lambda: undone.append(1))
        database.on_rollback(lambda: undone.append(2))
        raise RuntimeError
    assert undone == [2, 1]


async def _waits_inside(database: Database) -> None:
    with database.transaction():
        put(database, "mine")
        await trio.lowlevel.checkpoint()


async def test_with_a_trio_that_does_not_count_steps_there_are_transactions_without_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("remotefs.store.database._COUNTS_STEPS", False)
    with closing(Database(tmp_path / "other.db")) as database:
        await _waits_inside(database)
        assert keys(database) == ["mine"]
    assert "not checked for awaits" in caplog.text


def test_damage_that_is_met_in_use_says_what_to_do(tmp_path: Path) -> None:
    """It came while nothing was mounted, so no start looked for it."""
    path = tmp_path / "state.db"
    with closing(Database(path)) as database:
        for number in range(2000):
            put(database, f"key {number:0100}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)
    with closing(Database(path)) as database:
        with pytest.raises(StateUnusable, match=r"malformed.*check --repair --state-dir"):
            keys(database)
        with pytest.raises(StateUnusable, match=r"check --repair --state-dir"), database.transaction():
            database.execute("UPDATE meta SET value = 2 WHERE key = ?", (f"key {1500:0100}",))
        assert "check --repair" in (database.trouble or "")


async def test_a_transaction_with_an_await_inside_does_not_commit(database: Database) -> None:
    with pytest.raises(AssertionError, match="an await inside"):
        await _waits_inside(database)
    assert keys(database) == []
    put(database, "next")
    assert keys(database) == ["next"]


async def test_another_task_gets_into_no_transaction(database: Database) -> None:
    """Its change would be rolled back with the other's, after it was acknowledged."""
    failed: list[str] = []

    async def other() -> None:
        try:
            put(database, "other's")
        except AssertionError:
            failed.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with pytest.raises(AssertionError):
            await _waits_inside(database)
    assert (failed, keys(database)) in ((["other"], []), ([], ["other's"]))


def test_facts_and_notes_stay_when_a_transaction_does_not_begin(database: Database, tree: Tree) -> None:
    meta = Meta(database)
    meta.record(removals_held=1)
    tree.note(ROOT_INO, mtime_ns=5)
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        # Another process has the lock of the writer.
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnusable):
            meta.record(removals_held=2)
        with pytest.raises(StateUnusable):
            tree.save_notes()
        other.execute("ROLLBACK")
    assert (meta.facts.removals_held, Meta(database).facts.removals_held) == (1, 1)
    assert tree.get(ROOT_INO).mtime_ns == 5


def test_facts_stay_when_a_transaction_is_undone(database: Database) -> None:
    meta = Meta(database)
    meta.record(removals_held=1)
    with pytest.raises(RuntimeError), database.transaction():
        meta.record(removals_held=2)
        raise RuntimeError
    assert (meta.facts.removals_held, Meta(database).facts.removals_held) == (1, 1)


async def test_many_who_wait_for_the_disk_all_return(database: Database) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(20):
            put(database, f"k{number}")
            nursery.start_soon(database.durable)
    await database.durable()
    assert len(keys(database)) == 20


async def test_a_wait_that_is_cancelled_leaves_the_others_alone(database: Database) -> None:
    put(database, "k")
    with trio.move_on_after(0):
        await database.durable()
    with trio.fail_after(5):
        await database.durable()


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    first = Database(tmp_path / "state.db")
    put(first, "kept")
    Meta(first).record(organization="org")
    second = Database(tmp_path / "state.db")
    assert "kept" in keys(second)
    assert Meta(second).facts.organization == "org"
    first.close()
    second.close()


def test_facts_of_a_rolled_back_transaction_are_forgotten(database: Database) -> None:
    meta = Meta(database)
    with pytest.raises(RuntimeError), database.transaction():
        meta.record(organization="wrong")
        raise RuntimeError
    assert meta.facts.organization is None


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StateUnusable, match="newer"):
        Database(tmp_path / "state.db")


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"something else entirely, and long enough to be looked at" * 40)
    with pytest.raises(StateUnusable, match="state.db"):
        Database(tmp_path / "state.db")


def test_the_database_is_private(tmp_path: Path) -> None:
    Database(tmp_path / "state.db").close()
    assert (tmp_path / "state.db").stat().st_mode & 0o077 == 0


def log_bytes(folder: Path) -> int:
    return (folder / "state.db-wal").stat().st_size


async def burst(database: Database, commits: int) -> int:
    """Commit 20 KB at a time and let others have their turn; the longest that the log became."""
    longest = 0
    for number in range(commits):
        with database.transaction():
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"k{number % 50}", bytes(20_000)))
        longest = max(longest, log_bytes(database.path.parent))
        await trio.lowlevel.checkpoint()
    return longest


async def test_the_log_stays_short_while_commits_never_stop(database: Database) -> None:
    """80 MB are committed; a passive checkpoint alone leaves a file of as many."""
    longest = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(database.run_checkpoints, every_s=0.01))
        longest = await burst(database, 4000)
        nursery.cancel_scope.cancel()
    assert longest < 4 * CHECKPOINT_BYTES
    await database.checkpoint()
    await burst(database, 1)
    assert log_bytes(database.path.parent) <= 4 * CHECKPOINT_BYTES


async def test_a_log_is_copied_when_it_was_filled_anew_and_not_before(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file stays as long as it was: by its length, every look would copy it, for as long as the mount lives."""

    async def copied_after(commits: int) -> bool:
        await burst(database, commits)
        before = database.path.stat().st_mtime_ns
        await database.checkpoint_if_due()
        return database.path.stat().st_mtime_ns != before

    monkeypatch.setattr("remotefs.store.database.CHECKPOINT_BYTES", 1_000_000)
    filling = 60
    assert await copied_after(filling)
    assert not await copied_after(0)
    assert not await copied_after(1)
    assert not await copied_after(filling // 2)
    assert await copied_after(filling)


async def test_a_reader_of_an_older_state_only_puts_off_that_the_log_begins_anew(database: Database) -> None:
    """`remotefs check` reads all rows at one moment, in a thread."""
    reader = sqlite3.connect(database.path, isolation_level=None)
    reader.execute("BEGIN")
    assert len(reader.execute("SELECT key FROM meta WHERE key != 'written_by'").fetchall()) == 0
    await burst(database, 100)
    before = log_bytes(database.path.parent)
    await database.checkpoint()
    await burst(database, 1)
    assert log_bytes(database.path.parent) > before
    assert len(reader.execute("SELECT key FROM meta WHERE key != 'written_by'").fetchall()) == 0
    reader.close()
    await database.checkpoint()
    await burst(database, 10)
    assert log_bytes(database.path.parent) <= before + 100_000


async def test_a_long_log_that_an_earlier_process_left_is_taken_in_at_the_start(tmp_path: Path) -> None:
    first = Database(tmp_path / "state.db")
    assert await burst(first, 1000) > CHECKPOINT_BYTES
    for name in ("state.db", "state.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"killed-{name}")
    first.close()
    second = Database(tmp_path / "killed-state.db")
    assert (tmp_path / "killed-state.db-wal").stat().st_size == 0
    assert len(keys(second)) == 50
    second.close()


@pytest.mark.root("mounts a small disk")
def test_a_change_on_a_full_disk_is_committed_with_the_space_of_the_reserve(tmp_path: Path) -> None:
    point = tmp_path / "disk"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", point], check=True)
    try:
        with closing(Database(point / "state.db")) as database:
            put(database, "before")
            fill(point / "ballast")
            with database.transaction():
                put(database, "one")
                # More than fits into the page that the log has already: the commit needs space.
                database.execute("INSERT INTO meta (key, value) VALUES ('two', ?)", (bytes(100_000),))
            assert keys(database) == ["before", "one", "two"]
            # The reserve is gone now. The next change that finds no space fails as a whole, and says why.
            fill(point / "ballast")
            with pytest.raises(OutOfSpace), database.transaction():
                database.execute("INSERT INTO meta (key, value) VALUES ('three', ?)", (bytes(100_000),))
            assert keys(database) == ["before", "one", "two"]
    finally:
        subprocess.run(["umount", "-l", point], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_nothing_is_committed_after_an_error_that_undid_the_transaction(database: Database) -> None:
    put(database, "before")
    with pytest.raises(StateUnusable, match="undone"), database.transaction():
        put(database, "one")
        # As SQLite does by itself when a disk is full or fails.
        database._connection.execute("ROLLBACK")  # the only way to it without a failing disk
        put(database, "two")
    assert keys(database) == ["before"]
