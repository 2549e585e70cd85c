"""The event log: what is kept, what is reported as lost, and what a crash leaves (M5)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from remotefs.store import event_log
from remotefs.store.event_log import EventLog, LoggedEvent

S = 1_000_000_000
DAY = 86_400 * S


def added(path: str, at_ns: int = 0) -> LoggedEvent:
    return LoggedEvent(number=0, at_ns=at_ns, kind="added", path=path)


def opened(folder: Path, now_ns: int = 0) -> EventLog:
    log = EventLog(folder)
    log.open(now_ns)
    return log


def paths(events: Iterable[LoggedEvent]) -> list[str]:
    return [event.path for event in events if event.kind == "added"]


def losses(events: Iterable[LoggedEvent]) -> list[str]:
    return [event.path for event in events if event.kind == "lost"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of few events, of which few are kept, and nothing in memory but the last two."""
    monkeypatch.setattr(event_log, "_FILE_EVENTS", 5)
    monkeypatch.setattr(event_log, "_FILES", 3)
    monkeypatch.setattr(event_log, "_IN_MEMORY", 2)


def test_events_have_numbers_in_order_over_mounts(tmp_path: Path) -> None:
    log = opened(tmp_path / "events")
    log.append([added("a"), added("b")])
    log.close(9)
    again = opened(tmp_path / "events")
    again.append([added("c")])
    events = again.after(0, 100).events
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert paths(events) == ["a", "b", "c"]
    assert (tmp_path / "events" / "000000000001.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_page_ends_where_the_next_one_begins(tmp_path: Path, small: None) -> None:
    log = opened(tmp_path / "events")
    log.append([added(f"{number}") for number in range(4)])
    log.append([added(f"{number}") for number in range(4, 9)])
    found, after = list[str](), 0
    while (page := log.after(after, 2)).events:
        found += paths(page.events)
        after = page.last
    assert found == [f"{number}" for number in range(9)]


def test_before_the_log_began_events_are_lost(tmp_path: Path) -> None:
    log = opened(tmp_path / "events", now_ns=50 * S)
    log.append([added("a", 60 * S)])
    assert losses(log.after(log.number_at(10 * S).last, 100).events) == ["the log begins here"]
    assert losses(log.after(log.number_at(55 * S).last, 100).events) == []


def test_a_clean_end_loses_nothing_and_a_crash_is_told(tmp_path: Path) -> None:
    log = opened(tmp_path / "events")
    log.append([added("a")])
    log.close(0)
    crashed = opened(tmp_path / "events")
    assert losses(crashed.after(1, 100).events) == []
    crashed.append([added("b")])
    again = opened(tmp_path / "events")
    assert losses(again.after(1, 100).events) == ["a mount ended without its last events"]
    assert paths(again.after(0, 100).events) == ["a", "b"]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_last_line_that_was_cut_is_no_event(tmp_path: Path, cut: int) -> None:
    log = opened(tmp_path / "events")
    log.append([added("a"), added("b")])
    [file] = (tmp_path / "events").iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    again = opened(tmp_path / "events")
    again.append([added("c")])
    assert paths(again.after(0, 100).events) == ["a", "c"]
    assert len(losses(again.after(1, 100).events)) == 1


def test_a_damaged_line_is_a_lost_event(tmp_path: Path) -> None:
    log = opened(tmp_path / "events")
    log.append([added("a"), added("b"), added("c")])
    [file] = (tmp_path / "events").iterdir()
    file.write_bytes(file.read_bytes().replace(b'"path":"b"', b'"path":\xff\xff"'))
    again = opened(tmp_path / "events")
    assert paths(again.after(0, 100).events) == ["a", "c"]
    assert losses(again.after(2, 100).events)[0] == "the log is damaged"


def test_only_the_newest_events_are_kept_and_the_others_are_told_as_lost(tmp_path: Path, small: None) -> None:
    log = opened(tmp_path / "events")
    for number in range(40):
        log.append([added(f"{number}", number * S)])
    assert len(list((tmp_path / "events").iterdir())) == 3
    page = log.after(5, 100)
    assert paths(page.events)[-1] == "39"
    assert page.lost_before_ns == page.events[0].at_ns
    # Asked by the time, too.
    assert log.number_at(0).lost_before_ns == page.events[0].at_ns
    assert log.number_at(38 * S).lost_before_ns is None


def test_events_are_kept_for_thirty_days(tmp_path: Path, small: None) -> None:
    log = opened(tmp_path / "events")
    log.append([added("old", 1 * DAY)] * 4)
    log.append([added("middle", 2 * DAY)] * 5)
    log.append([added("new", 33 * DAY)])
    assert set(paths(log.after(0, 100).events)) == {"middle", "new"}


def test_a_follower_of_the_newest_reads_no_file(tmp_path: Path) -> None:
    log = opened(tmp_path / "events")
    log.append([added("a")])
    last = log.last
    log.append([added("b")])
    for file in (tmp_path / "events").iterdir():
        file.unlink()
    assert paths(log.after(last, 100).events) == ["b"]
    assert log.after(log.last, 100).events == []
