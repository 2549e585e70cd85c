from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remotefs.data.share.stamps import MOST_AHEAD_NS, HybridClock, Stamp

NOW = 1_800_000_000_000_000_000


class Service:
    """A service whose time a test sets."""

    def __init__(self, ns: int = NOW) -> None:
        self.ns = ns

    def now_ns(self) -> int:
        return self.ns


def test_stamps_are_ordered_by_time_and_then_by_writer() -> None:
    assert Stamp(1, "b") < Stamp(2, "a") < Stamp(2, "b")


def test_a_clock_shows_the_services_time() -> None:
    service = Service()
    clock = HybridClock(service.now_ns)
    assert clock.next() == NOW
    service.ns += 5_000
    assert clock.next() == NOW + 5_000


@given(st.lists(st.integers(-(10**15), 10**15), max_size=30), st.integers(0, 2 * NOW))
def test_times_rise_whatever_the_services_clock_does_and_are_never_before_it(jumps: list[int], saved: int) -> None:
    service, last = Service(), saved
    clock = HybridClock(service.now_ns, saved)
    for jump in jumps:
        service.ns += jump
        given = clock.next()
        assert given > last
        assert given >= service.ns
        last = given
        assert clock.last == last


def test_a_saved_clock_goes_on_above_what_it_gave() -> None:
    service = Service()
    clock = HybridClock(service.now_ns)
    clock.next()
    before = clock.next()
    service.ns -= 10**12
    assert HybridClock(service.now_ns, clock.last).next() > before


@given(st.integers(-MOST_AHEAD_NS, MOST_AHEAD_NS))
def test_a_clock_moves_beyond_what_it_hears(ahead: int) -> None:
    clock = HybridClock(Service().now_ns)
    assert clock.heard(NOW + ahead) == NOW + ahead
    assert clock.next() > NOW + ahead


def test_a_clock_does_not_follow_one_that_is_more_than_a_minute_ahead() -> None:
    service = Service()
    clock = HybridClock(service.now_ns)
    far = NOW + MOST_AHEAD_NS + 1
    assert clock.heard(far) == NOW
    assert NOW < clock.next() < NOW + 1_000
    service.ns += 2
    assert clock.heard(far) == far


def test_a_change_of_a_key_from_far_ahead_comes_after_it_and_other_keys_keep_the_true_time() -> None:
    clock = HybridClock(Service().now_ns)
    far = NOW + 10**18
    assert clock.next(above=far) == far + 1
    assert clock.next() < NOW + 1_000


def test_hearing_of_old_changes_moves_nothing_back() -> None:
    clock = HybridClock(Service().now_ns)
    first = clock.next()
    clock.heard(NOW - 10**12)
    assert clock.next() > first
