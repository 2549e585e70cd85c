"""Which intents are due: by the journal's times, by hurry and delays of this run, by a clock that no one sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remotefs.data.writeback.agenda import Agenda
from remotefs.store.database import Database
from remotefs.store.journal import Journal
from remotefs.store.records import NEVER_NS, Intent, IntentKind

S = 10**9


class Time:
    """A clock that a test sets, in seconds."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> int:
        return int(self.now_s * S)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    database = Database(tmp_path / "state.db")
    yield Journal(database)
    database.close()


@pytest.fixture
def agenda(journal: Journal, time: Time) -> Agenda:
    return Agenda(journal, time)


def upload(journal: Journal, ino: int, due_s: float) -> Intent:
    return journal.put(IntentKind.UPLOAD, ino, due_ns=int(due_s * S))


def inos(intents: list[Intent]) -> list[int | None]:
    return [intent.ino for intent in intents]


def test_what_is_due_comes_longest_due_first_and_not_what_runs(agenda: Agenda, journal: Journal) -> None:
    late, later, _ = upload(journal, 1, 900), upload(journal, 2, 800), upload(journal, 3, 1001)
    assert inos(agenda.due_uploads(8, {})) == [2, 1]
    assert inos(agenda.due_uploads(8, {later.seq: later})) == [1]
    assert inos(agenda.due_uploads(1, {})) == [2]
    assert agenda.due_uploads(0, {}) == []
    assert agenda.due_uploads(-1, {late.seq: late}) == []


def test_uploads_that_run_do_not_hide_those_behind_them(agenda: Agenda, journal: Journal) -> None:
    running = {intent.seq: intent for intent in (upload(journal, ino, 100 + ino) for ino in range(8))}
    upload(journal, 9, 900)
    assert inos(agenda.due_uploads(1, running)) == [9]


def test_hurry_makes_due_until_it_was_begun(agenda: Agenda, journal: Journal) -> None:
    slow = upload(journal, 1, 5000)
    journal.put_delete("file_a", due_ns=5000 * S)
    agenda.hurry(journal.pending())
    assert inos(agenda.due_uploads(8, {})) == [1]
    assert [intent.file_id for intent in agenda.due_deletes(8, {})] == ["file_a"]
    agenda.begun(slow)
    assert agenda.due_uploads(8, {}) == []


def test_what_is_written_to_meanwhile_is_in_no_hurry(agenda: Agenda, journal: Journal) -> None:
    slow = upload(journal, 1, 5000)
    agenda.hurry([slow])
    journal.reschedule(slow.seq, due_ns=NEVER_NS)
    assert agenda.due_uploads(8, {}) == []
    journal.reschedule(slow.seq, due_ns=5000 * S)
    assert agenda.due_uploads(8, {}) == []


def test_a_failure_that_the_journal_was_not_told_of_waits_all_the_same(
    agenda: Agenda, journal: Journal, time: Time
) -> None:
    failing = upload(journal, 1, 900)
    agenda.failed(failing, 4.0, "the disk is full")
    assert agenda.due_uploads(8, {}) == []
    assert agenda.reason(failing) == "the disk is full"
    assert agenda.failures(failing) == 1
    assert agenda.next_due_s() == pytest.approx(4.0)
    time.now_s += 4.0
    assert inos(agenda.due_uploads(8, {})) == [1]
    assert agenda.next_due_s() == pytest.approx(60.0)
    agenda.failed(failing, 8.0, "the disk is full")
    assert agenda.failures(failing) == 2
    agenda.hurry([failing])
    assert inos(agenda.due_uploads(8, {})) == [1]
    agenda.noted(failing)
    assert agenda.reason(failing) is None


def test_a_delay_that_is_no_failure_ends_with_another_due_time(agenda: Agenda, journal: Journal, time: Time) -> None:
    empty = upload(journal, 1, 900)
    agenda.delay(empty, 5.0)
    assert agenda.due_uploads(8, {}) == []
    assert agenda.waits(empty)
    time.now_s += 1.0
    upload(journal, 1, 1001)  # it was closed with bytes in it
    assert inos(agenda.due_uploads(8, {})) == [1]


def test_the_next_due_time_is_a_minute_away_at_most(agenda: Agenda, journal: Journal, time: Time) -> None:
    """A sleep stands still while the machine is suspended, and the clock does not."""
    upload(journal, 1, 9000)
    assert agenda.next_due_s() == 60.0
    time.now_s = 8990.0
    assert agenda.next_due_s() == pytest.approx(10.0)
    time.now_s = 9001.0
    assert inos(agenda.due_uploads(8, {})) == [1]


def test_failures_of_what_is_gone_are_forgotten(agenda: Agenda, journal: Journal) -> None:
    for ino in range(2500):
        intent = upload(journal, ino, 900)
        agenda.failed(intent, 1e6, "full")
        journal.remove(intent.seq)
    assert agenda.next_due_s() == 60.0
    assert len(agenda._delayed) <= 1001
