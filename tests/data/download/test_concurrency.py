"""How many replies at a time pay: the learning, with rates and times made up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remotefs.data.download.concurrency import MAX_LANES, Lanes

MIB = 1 << 20


class Link:
    """Brings what `lanes` replies bring: each at most `each`, all together at most `all_together` bytes a second."""

    def __init__(self, lanes: Lanes, each: float, all_together: float) -> None:
        self.lanes = lanes
        self.each = each
        self.all_together = all_together
        self.now = 1000.0
        self.used: list[int] = []

    def carry(self, pieces: int, *, hungry: bool = True, flowing: int | None = None) -> None:
        for _ in range(pieces):
            count = self.lanes.count if flowing is None else flowing
            self.now += MIB / min(count * self.each, self.all_together)
            self.lanes.received(MIB, flowing=count, hungry=hungry, now=self.now)
            self.used.append(self.lanes.count)


def test_connections_slower_than_the_link_get_company_and_it_is_remembered() -> None:
    found: list[int] = []
    lanes = Lanes(1, found.append)
    Link(lanes, 40e6, 1e12).carry(200)
    assert (lanes.count, found) == (MAX_LANES, [MAX_LANES])


def test_where_one_connection_fills_the_link_it_stays_alone_and_others_are_seldom_tried() -> None:
    found: list[int] = []
    lanes = Lanes(1, found.append)
    link = Link(lanes, 40e6, 40e6)
    link.carry(2000)
    assert (lanes.count, found) == (1, [])
    assert sum(count > 1 for count in link.used) < 50


def test_a_link_that_changed_is_found_out() -> None:
    lanes = Lanes(MAX_LANES)
    Link(lanes, 40e6, 40e6).carry(20_000)
    assert lanes.count == 1


def test_half_as_many_are_used_where_they_do() -> None:
    lanes = Lanes(MAX_LANES)
    Link(lanes, 40e6, 160e6).carry(5000)
    assert lanes.count == MAX_LANES // 2


def test_a_reader_that_is_slower_than_the_network_teaches_nothing() -> None:
    lanes = Lanes(1)
    Link(lanes, 40e6, 1e12).carry(2000, hungry=False)
    assert lanes.count == 1


def test_many_files_that_are_read_at_once_teach_nothing() -> None:
    lanes = Lanes(1)
    Link(lanes, 40e6, 1e12).carry(2000, flowing=5)
    assert lanes.count == 1


def test_an_old_rate_is_not_compared_with() -> None:
    lanes = Lanes(1)
    link = Link(lanes, 10e6, 1e12)
    while lanes.count == 1:
        link.carry(1)
    link.now += 3600
    link.each = link.all_together = 100e6
    link.carry(300)
    assert lanes.count == 1, "the link became faster; more lanes brought nothing"


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
    lanes, now = Lanes(paying, found.append), 0.0
    for size, flowing, hungry, later in pieces:
        now += later
        lanes.received(size, flowing=flowing, hungry=hungry, now=now)
        assert 1 <= lanes.count <= MAX_LANES
    assert all(1 <= count <= MAX_LANES for count in found)
