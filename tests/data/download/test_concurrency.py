"""How many replies at a time pay: the learning, with rates and times made up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remotefs.data.download.concurrency import MAX_CONCURRENCY, StreamConcurrency

MIB = 1 << 20


class Link:
    """Brings what `concurrency` replies bring: each at most `each`, all together at most `all_together` bytes a second."""

    def __init__(self, concurrency: StreamConcurrency, each: float, all_together: float) -> None:
        self.concurrency = concurrency
        self.each = each
        self.all_together = all_together
        self.now = 1000.0
        self.used: list[int] = []

    def run(self, pieces: int, *, reader_waiting: bool = True, flowing: int | None = None) -> None:
        for _ in range(pieces):
            count = self.concurrency.count if flowing is None else flowing
            self.now += MIB / min(count * self.each, self.all_together)
            self.concurrency.received(MIB, flowing=count, reader_waiting=reader_waiting, now=self.now)
            self.used.append(self.concurrency.count)


def test_connections_slower_than_the_link_get_company_and_it_is_remembered() -> None:
    found: list[int] = []
    concurrency = StreamConcurrency(1, found.append)
    Link(concurrency, 40e6, 1e12).run(200)
    assert (concurrency.count, found) == (MAX_CONCURRENCY, [MAX_CONCURRENCY])


def test_where_one_connection_fills_the_link_it_stays_alone_and_others_are_seldom_tried() -> None:
    found: list[int] = []
    concurrency = StreamConcurrency(1, found.append)
    link = Link(concurrency, 40e6, 40e6)
    link.run(2000)
    assert (concurrency.count, found) == (1, [])
    assert sum(count > 1 for count in link.used) < 50


def test_a_link_that_changed_is_found_out() -> None:
    concurrency = StreamConcurrency(MAX_CONCURRENCY)
    Link(concurrency, 40e6, 40e6).run(20_000)
    assert concurrency.count == 1


def test_half_as_many_are_used_where_they_do() -> None:
    concurrency = StreamConcurrency(MAX_CONCURRENCY)
    Link(concurrency, 40e6, 160e6).run(5000)
    assert concurrency.count == MAX_CONCURRENCY // 2


def test_a_reader_that_is_slower_than_the_network_teaches_nothing() -> None:
    concurrency = StreamConcurrency(1)
    Link(concurrency, 40e6, 1e12).run(2000, reader_waiting=False)
    assert concurrency.count == 1


def test_many_files_that_are_read_at_once_teach_nothing() -> None:
    concurrency = StreamConcurrency(1)
    Link(concurrency, 40e6, 1e12).run(2000, flowing=5)
    assert concurrency.count == 1


def test_an_old_rate_is_not_compared_with() -> None:
    concurrency = StreamConcurrency(1)
    link = Link(concurrency, 10e6, 1e12)
    while concurrency.count == 1:
        link.run(1)
    link.now += 3600
    link.each = link.all_together = 100e6
    link.run(300)
    assert concurrency.count == 1, "the link became faster; more concurrency brought nothing"


@given(
    paying=st.integers(-5, 100),
    pieces=st.lists(
        st.tuples(st.integers(1, 8 * MIB), st.integers(1, 20), st.booleans(), st.floats(0, 100)), max_size=60
    ),
)
def test_whatever_comes_there_is_a_lane_and_never_too_many(
    paying: int, pieces: list[tuple[int, int, bool, float]]
) -> None:
    found: list[int] = []
    concurrency, now = StreamConcurrency(paying, found.append), 0.0
    for size, flowing, reader_waiting, later in pieces:
        now += later
        concurrency.received(size, flowing=flowing, reader_waiting=reader_waiting, now=now)
        assert 1 <= concurrency.count <= MAX_CONCURRENCY
    assert all(1 <= count <= MAX_CONCURRENCY for count in found)
