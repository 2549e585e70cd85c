"""The readahead window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remotefs.data.download.readahead import FIRST_WINDOW_BYTES, ReadWindow

KIB = 1024
MIB = KIB * KIB
READ = 128 * KIB
MOST = 8 * MIB


def test_a_sequential_reader_gets_a_growing_window() -> None:
    window = ReadWindow()
    ahead = [window.advance(n * READ, READ, MOST) for n in range(8)]
    assert ahead[0] == FIRST_WINDOW_BYTES
    assert ahead == sorted(ahead)
    assert ahead[-1] == MOST


def test_a_jump_ends_it_and_reading_on_from_there_begins_it_again() -> None:
    window = ReadWindow()
    for n in range(8):
        window.advance(n * READ, READ, MOST)
    assert window.advance(300 * MIB, READ, MOST) == 0
    assert window.advance(300 * MIB + READ, READ, MOST) == FIRST_WINDOW_BYTES


def test_reads_that_the_kernel_sends_out_of_order_are_sequential() -> None:
    window = ReadWindow()
    ahead = [window.advance(n * READ, READ, MOST) for n in (0, 2, 1, 3, 5, 4, 6, 7)]
    assert 0 not in ahead


def test_reads_between_that_were_answered_from_the_cache_do_not_end_it() -> None:
    window = ReadWindow()
    first = window.advance(0, READ, MOST)
    assert window.advance(READ + first, READ, MOST) > first


@given(
    reads=st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, MIB)), max_size=30), most=st.integers(0, 64 * MIB)
)
def test_a_window_is_never_larger_than_allowed(reads: list[tuple[int, int]], most: int) -> None:
    window = ReadWindow()
    assert all(0 <= window.advance(offset, size, most) <= most for offset, size in reads)


@given(offsets=st.lists(st.integers(1, 10_000), min_size=2, max_size=30, unique=True))
def test_far_random_reads_never_run_ahead(offsets: list[int]) -> None:
    window = ReadWindow()
    assert [window.advance(offset * 10 * MIB, READ, MOST) for offset in offsets] == [0] * len(offsets)


def test_several_streams_on_one_handle_each_have_their_window() -> None:
    window = ReadWindow()
    ahead = [
        (window.advance(n * READ, READ, MOST), window.advance(500 * MIB + n * READ, READ, MOST)) for n in range(1, 8)
    ]
    assert ahead[-1][0] > FIRST_WINDOW_BYTES
    assert ahead[-1][1] > FIRST_WINDOW_BYTES


def test_a_jump_halves_what_the_others_may_have() -> None:
    window = ReadWindow()
    before = [window.advance(n * READ, READ, MOST) for n in range(5)][-1]
    window.advance(900 * MIB, READ, MOST)
    assert window.advance(5 * READ, READ, 64 * MIB) == before
    assert before > FIRST_WINDOW_BYTES
