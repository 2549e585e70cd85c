"""The clocks that removals go by: no setting of a clock and no reply moves them far."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.clocks import REFERENCE_AGE_NS, STEP_AFTER_NS, TOLERANCE_NS, Machine, Mark, ServiceClock, SteadyClock

NS = 10**9
HOUR = 3600 * NS
DAY = 24 * HOUR
BEGAN = 1_790_000_000 * NS
YEAR_2200 = 7_258_118_399 * NS


@dataclass
class Clocks:
    """A machine whose clocks are set by hand."""

    wall_ns: int = BEGAN
    boot_ns: int = 5 * DAY
    boot_id: str = "first"

    def machine(self) -> Machine:
        return Machine(lambda: self.wall_ns, lambda: self.boot_ns, self.boot_id)

    def pass_(self, ns: int) -> None:
        self.wall_ns += ns
        self.boot_ns += ns


# -- the steady clock

steps = st.lists(st.tuples(st.integers(0, 10 * DAY), st.integers(-100 * DAY, 100 * DAY)), max_size=10)


@given(steps)
def test_no_setting_of_the_wall_clock_moves_it(steps: list[tuple[int, int]]) -> None:
    clocks = Clocks()
    steady, passed = SteadyClock(clocks.machine()), 0
    for time_ns, set_by_ns in steps:
        clocks.pass_(time_ns)
        clocks.wall_ns += set_by_ns
        passed += time_ns
        assert steady() == BEGAN + passed


@given(steps, st.booleans())
def test_it_goes_on_over_the_ends_of_processes_and_never_back(steps: list[tuple[int, int]], restarts: bool) -> None:
    clocks = Clocks()
    steady, passed = SteadyClock(clocks.machine()), 0
    for number, (time_ns, set_by_ns) in enumerate(steps):
        mark = steady.mark()
        clocks.pass_(time_ns)
        clocks.wall_ns += set_by_ns
        passed += max(time_ns + set_by_ns, 0) if restarts else time_ns
        if restarts:
            clocks.boot_ns, clocks.boot_id = 7 * NS, f"run {number}"
        steady = SteadyClock(clocks.machine(), mark)
        assert steady() == BEGAN + passed


def test_where_the_kernel_names_no_run_the_wall_clock_tells() -> None:
    clocks = Clocks(boot_id="")
    mark = SteadyClock(clocks.machine()).mark()
    clocks.pass_(HOUR)
    clocks.wall_ns += HOUR
    assert SteadyClock(clocks.machine(), mark)() == BEGAN + 2 * HOUR


YEAR_2229 = 8_173_440_000 * NS


def test_a_first_value_beyond_the_year_2100_is_not_taken() -> None:
    for wrong in (YEAR_2229, -5 * NS):
        clocks = Clocks(wall_ns=wrong)
        steady = SteadyClock(clocks.machine())
        assert 0 < steady() < BEGAN
        clocks.pass_(HOUR)
        clocks.wall_ns = BEGAN
        assert steady() == SteadyClock(clocks.machine(), steady.mark())() < BEGAN


def test_time_that_only_a_clock_beyond_the_year_2100_says_has_passed_has_not() -> None:
    clocks = Clocks()
    mark = SteadyClock(clocks.machine()).mark()
    clocks.wall_ns, clocks.boot_id = YEAR_2229, "second"
    steady = SteadyClock(clocks.machine(), mark)
    assert (steady(), steady.is_anew) == (BEGAN, False)


def test_a_mark_beyond_the_year_2100_is_not_gone_on_from() -> None:
    clocks = Clocks()
    mark = Mark(YEAR_2229, clocks.boot_ns, YEAR_2229, clocks.boot_id)
    steady = SteadyClock(clocks.machine(), mark)
    assert (steady(), steady.is_anew) == (BEGAN, True)
    assert not SteadyClock(clocks.machine(), steady.mark()).is_anew


def test_the_real_clocks_are_clocks() -> None:
    steady = SteadyClock(Machine())
    first = steady()
    assert abs(first - Machine().wall()) < 10 * NS
    assert steady() >= first
    assert SteadyClock(Machine(), steady.mark())() >= first


# -- the service's clock


@dataclass
class Service:
    """A service clock beside a machine's; `lead_ns` is how far it is really ahead of the steady one."""

    clocks: Clocks
    steady: SteadyClock
    clock: ServiceClock
    lead_ns: int = 0

    @classmethod
    def begun(cls, lead_ns: int = 0) -> Service:
        clocks = Clocks()
        steady = SteadyClock(clocks.machine())
        return cls(clocks, steady, ServiceClock(clocks.machine(), steady), lead_ns)

    def reply(self, off_by_ns: int = 0) -> None:
        self.clock.read(self.steady() + self.lead_ns + off_by_ns)

    def again(self, *, restarted_with_wall_off_by: int | None = None) -> None:
        """Another process; the machine may have been started again, with its wall clock wrong."""
        mark, steady_mark = self.clock.mark(), self.steady.mark()
        if restarted_with_wall_off_by is not None:
            self.clocks.boot_ns, self.clocks.boot_id = 0, "second"
            self.clocks.wall_ns += restarted_with_wall_off_by
        self.steady = SteadyClock(self.clocks.machine(), steady_mark)
        self.clock = ServiceClock(self.clocks.machine(), self.steady, mark)

    @property
    def error_ns(self) -> int:
        return self.clock.now_ns() - self.steady() - self.lead_ns


def test_before_the_first_reply_it_is_the_earlier_of_our_own() -> None:
    service = Service.begun()
    assert not service.clock.is_sure
    service.clocks.wall_ns += 40 * DAY
    assert service.error_ns == 0
    service.clocks.wall_ns -= 80 * DAY
    assert service.clock.now_ns() == BEGAN - 40 * DAY


@given(st.integers(-3 * 365 * DAY, 3 * 365 * DAY), st.integers(-100 * DAY, 100 * DAY))
def test_the_first_reply_is_believed_and_the_wall_clock_says_nothing_more(lead_ns: int, set_by_ns: int) -> None:
    service = Service.begun(lead_ns)
    service.reply()
    service.clocks.pass_(HOUR)
    service.clocks.wall_ns += set_by_ns
    assert service.clock.is_sure
    assert service.error_ns == 0


@given(st.lists(st.integers(-HOUR // 2, HOUR // 2), max_size=20))
def test_small_errors_are_followed(errors: list[int]) -> None:
    service = Service.begun()
    service.reply()
    for error in errors:
        service.reply(error)
        assert (service.error_ns, service.clock.is_sure, service.clock.epoch) == (error, True, 0)


@given(st.lists(st.sampled_from([TOLERANCE_NS // 2, TOLERANCE_NS]), min_size=100, max_size=100))
def test_many_small_steps_are_not_one_large_one(pushes: list[int]) -> None:
    """Each reply agrees with the last one, and within a day all together with the first."""
    service, pushed = Service.begun(), 0
    service.reply()
    for push in pushes:
        service.clocks.pass_(6 * NS)
        pushed += push
        service.reply(pushed)
        assert service.error_ns <= TOLERANCE_NS


@pytest.mark.parametrize("wrong", [YEAR_2200 - BEGAN, -365 * DAY, TOLERANCE_NS + NS, -TOLERANCE_NS - NS])
def test_some_odd_replies_move_nothing_ahead(wrong: int) -> None:
    service = Service.begun()
    service.reply()
    for _ in range(3):
        service.clocks.pass_(6 * NS)
        service.reply(wrong)
        assert not service.clock.is_sure
        assert service.error_ns <= 0
    service.reply()
    assert (service.error_ns, service.clock.is_sure, service.clock.epoch) == (0, True, 0)


def test_odd_replies_among_others_never_count() -> None:
    """As of one broken machine behind a balancer."""
    service = Service.begun()
    for _ in range(1000):
        service.clocks.pass_(6 * NS)
        service.reply(YEAR_2200)
        service.reply()
    assert (service.error_ns, service.clock.epoch) == (0, 0)


@pytest.mark.parametrize("set_by", [5 * DAY, -5 * DAY])
def test_a_clock_that_was_set_is_followed_after_a_while_and_in_a_new_epoch(set_by: int) -> None:
    service = Service.begun()
    service.reply()
    passed = 0
    while service.clock.epoch == 0:
        assert passed <= STEP_AFTER_NS
        service.reply(set_by)
        service.clocks.pass_(60 * NS)
        passed += 60 * NS
    assert (service.error_ns, service.clock.is_sure, service.clock.epoch) == (set_by, True, 1)
    service.again()
    assert service.clock.epoch == 1


def test_a_clock_that_drifts_is_followed_without_a_new_epoch() -> None:
    service = Service.begun()
    for day in range(400):
        service.reply(day * 60 * NS)
        assert (service.error_ns, service.clock.epoch) == (day * 60 * NS, 0)
        service.clocks.pass_(REFERENCE_AGE_NS + NS)


def test_after_the_end_of_a_process_it_has_to_agree_with_what_was() -> None:
    service = Service.begun()
    service.reply()
    service.clocks.pass_(DAY)
    service.again()
    assert (service.error_ns, service.clock.is_sure) == (0, False)
    service.reply(TOLERANCE_NS + NS)
    assert not service.clock.is_sure
    service.reply()
    assert service.clock.is_sure


def test_a_wall_clock_that_was_wrong_when_the_machine_started_moves_nothing_ahead() -> None:
    service = Service.begun()
    service.reply()
    service.again(restarted_with_wall_off_by=40 * DAY)
    assert not service.clock.is_sure
    service.clock.read(BEGAN + HOUR // 2)
    assert not service.clock.is_sure
    assert service.clock.now_ns() == BEGAN + HOUR // 2
