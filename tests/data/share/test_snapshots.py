from __future__ import annotations

from msgspec.structs import replace

from remotefs.clocks import DAY_NS
from remotefs.data.share.snapshots import (
    KEPT_NS,
    MOST_SEGMENTS,
    is_base_due,
    is_removal_due,
    is_snapshot_due,
    with_base,
    with_removal,
    with_snapshot,
)
from remotefs.store.meta import Facts, Snapshots


def _facts(sequence: int, now_ns: int = 0, snapshots: Snapshots = Snapshots()) -> Facts:  # noqa: B008 - frozen
    return Facts(shared_sequence=sequence, aged_ns=now_ns, shared_snapshots=snapshots)


def test_the_first_snapshot_comes_after_64_segments_at_any_age() -> None:
    assert not is_snapshot_due(_facts(MOST_SEGMENTS, 1000 * DAY_NS))
    assert is_snapshot_due(_facts(MOST_SEGMENTS + 1))


def test_another_comes_after_64_more_or_after_a_day_with_news() -> None:
    one = with_snapshot(Snapshots(), 99, DAY_NS)
    assert not is_snapshot_due(_facts(100, 9 * DAY_NS, one))
    assert not is_snapshot_due(_facts(100 + MOST_SEGMENTS, DAY_NS, one))
    assert is_snapshot_due(_facts(101 + MOST_SEGMENTS, DAY_NS, one))
    assert not is_snapshot_due(_facts(101, 2 * DAY_NS - 1, one))
    assert is_snapshot_due(_facts(101, 2 * DAY_NS, one))


def test_a_snapshot_is_kept_a_week_before_anything_goes_for_it() -> None:
    """Newer ones meanwhile do not put that off; the newest is the base after it."""
    now, snapshots = 0, Snapshots()
    bases: list[tuple[int, int | None]] = []
    for day in range(30):
        now = day * DAY_NS
        snapshots = with_snapshot(snapshots, day, now)
        if is_base_due(_facts(day + 1, now, snapshots)):
            snapshots = with_base(snapshots, now)
            bases.append((day, snapshots.base))
    assert KEPT_NS == 7 * DAY_NS
    assert bases == [(7, 0), (14, 7), (21, 14), (28, 21)]


def test_a_removal_that_was_refused_is_tried_again_and_a_finished_one_is_not() -> None:
    snapshots = with_base(with_snapshot(Snapshots(), 5, 0), 8 * DAY_NS)
    assert (snapshots.base, snapshots.next_base) == (5, None)
    assert is_removal_due(_facts(9, 8 * DAY_NS, snapshots))
    later = with_removal(snapshots, 9 * DAY_NS)
    assert not is_removal_due(_facts(9, 9 * DAY_NS - 1, later))
    assert is_removal_due(_facts(9, 9 * DAY_NS, later))
    assert not is_removal_due(_facts(9, 99 * DAY_NS, with_removal(later, None)))
    assert replace(later, removal_ns=None) == with_removal(later, None)
