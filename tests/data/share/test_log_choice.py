from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.data.share.log_choice import is_beyond, snapshots_to_read
from remotefs.data.share.segments import MOST_SEQUENCE, Name

SMALL, LARGE = 300, 3_000_000


def _log(first: int, last: int, *snapshots: tuple[Name, int]) -> list[tuple[Name, int]]:
    return [*((Name(number), SMALL) for number in range(first, last + 1)), *snapshots]


def test_a_reader_with_few_segments_to_read_reads_them() -> None:
    assert snapshots_to_read(9, _log(9, 10, (Name(9, 0), SMALL))) == []
    assert snapshots_to_read(0, _log(0, 60, (Name(60, 0), LARGE))) == []


def test_the_newest_snapshot_comes_first() -> None:
    log = _log(0, 200, (Name(64, 0), SMALL), (Name(129, 0), SMALL), (Name(194, 0), SMALL))
    assert snapshots_to_read(0, log) == [194, 129, 64]
    assert snapshots_to_read(100, log) == [194, 129]
    assert snapshots_to_read(195, log) == []


def test_a_snapshot_is_read_at_any_cost_where_segments_are_gone() -> None:
    assert snapshots_to_read(3, _log(5, 8, (Name(8, 0), LARGE))) == [8]
    assert snapshots_to_read(3, [*_log(3, 4), *_log(6, 8, (Name(8, 0), LARGE))]) == [8]
    assert snapshots_to_read(3, [(Name(8, 0), LARGE)]) == [8]


def test_all_parts_cost_and_the_first_says_that_the_others_are_there() -> None:
    parts = [(Name(60, part), 1_000_000) for part in (1, 2, 3)]
    assert snapshots_to_read(0, _log(0, 60, *parts)) == []
    assert snapshots_to_read(0, _log(0, 60, (Name(60, 0), SMALL))) == [60]
    assert snapshots_to_read(0, _log(0, 60, (Name(60, 0), SMALL), *parts)) == []


def test_a_number_after_which_no_segment_can_come_is_passed_over() -> None:
    assert snapshots_to_read(0, [(Name(MOST_SEQUENCE, 0), SMALL)]) == []


@given(
    st.integers(0, 10),
    st.sets(st.builds(Name, st.integers(0, 10), st.sampled_from([None, 0, 1]))),
)
def test_whatever_is_left_of_a_log_a_reader_gets_as_far_as_it_goes(position: int, names: set[Name]) -> None:
    """By the first snapshot and then segments it comes at least as far as by segments alone, and by any other."""

    def end(at: int) -> int:
        while Name(at) in names:
            at += 1
        return at

    found = snapshots_to_read(position, [(name, SMALL) for name in names if name.sequence >= position])
    ends = {number: end(number + 1) for number in range(position, 11) if Name(number, 0) in names}
    reached = end(found[0] + 1) if found else end(position)
    assert reached == max([end(position), *ends.values()])


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], False), ([Name(3)], False), ([Name(3), Name(5)], False), ([Name(4)], True), ([Name(5, 0)], False)],
)
def test_a_log_goes_on_without_a_segment(names: list[Name], expected: bool) -> None:
    assert is_beyond(3, [(name, SMALL) for name in names]) is expected
