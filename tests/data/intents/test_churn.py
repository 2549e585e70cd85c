"""Which files keep changing, and when a version of one is frozen (W4), for every order of events."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, floats

from remotefs.data.intents.churn import Churn

PAUSE_S = 30.0
INO = 7


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def churn(time: Time) -> Churn:
    return Churn(PAUSE_S, time)


def keep_cutting(churn: Churn) -> None:
    for _ in range(2):
        churn.overtaken(INO, cut=True)


def test_one_cut_is_chance_and_two_are_not(churn: Churn) -> None:
    churn.overtaken(INO, cut=True)
    assert not churn.keeps_changing(INO)
    churn.overtaken(INO, cut=True)
    assert churn.keeps_changing(INO)
    assert churn.may_freeze(INO)
    assert not churn.keeps_changing(INO + 1)


def test_versions_that_are_never_sent_count_once_that_lasts(churn: Churn, time: Time) -> None:
    """As with `local`, where each close puts the upload off."""
    for _ in range(10):
        churn.overtaken(INO, cut=False)
    assert not churn.keeps_changing(INO)
    time.now_s += PAUSE_S
    assert churn.may_freeze(INO)


@pytest.mark.parametrize(("took_s", "pause_s"), [(5.0, PAUSE_S), (100.0, 100.0)])
def test_the_next_version_waits_as_long_as_the_last_took_and_not_shorter_than_that(
    churn: Churn, time: Time, took_s: float, pause_s: float
) -> None:
    keep_cutting(churn)
    churn.froze(INO, 3)
    assert not churn.may_freeze(INO)
    time.now_s += 1.0  # until its turn comes
    churn.sending(INO)
    time.now_s += took_s
    churn.thawed(INO)
    time.now_s += pause_s - 0.1
    assert not churn.may_freeze(INO)
    time.now_s += 0.1
    assert churn.may_freeze(INO)


def test_in_the_pause_a_close_waits_for_its_end_but_not_longer_than_for_calm(churn: Churn, time: Time) -> None:
    assert churn.delay_s(INO) == 0.0
    keep_cutting(churn)
    assert churn.delay_s(INO) == 0.0
    churn.froze(INO, 3)
    churn.sending(INO)
    time.now_s += 100.0
    churn.thawed(INO)
    assert churn.delay_s(INO) == PAUSE_S
    time.now_s += 90.0
    assert churn.delay_s(INO) == pytest.approx(10.0)
    time.now_s += 20.0
    assert churn.delay_s(INO) == 0.0


def test_what_cannot_be_frozen_is_sent_as_ever_and_tried_again_later(churn: Churn, time: Time) -> None:
    keep_cutting(churn)
    churn.not_frozen(INO)
    assert (churn.may_freeze(INO), churn.delay_s(INO)) == (False, 0.0)
    time.now_s += PAUSE_S
    assert churn.may_freeze(INO)


def test_who_waits_for_a_version_is_told_of_it_or_a_later_one(churn: Churn) -> None:
    churn.confirmed(INO, 4)
    before = churn.confirmations
    assert not churn.was_confirmed(INO, 4, after=before)
    churn.confirmed(INO, 5)
    assert churn.was_confirmed(INO, 5, after=before)
    assert churn.was_confirmed(INO, 4, after=before)
    assert not churn.was_confirmed(INO, 6, after=before)
    assert not churn.was_confirmed(INO + 1, 1, after=before)


class Courses(RuleBasedStateMachine):
    """One file: at most one frozen version, and half of the time at most for it."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.churn = Churn(PAUSE_S, self.time)
        self.frozen_at: float | None = None
        self.thawed_at = -1e9
        self.generation = 0

    @rule(seconds=floats(0.0, 100.0))
    def wait(self, seconds: float) -> None:
        self.time.now_s += seconds

    @rule(cut=booleans())
    def overtake(self, cut: bool) -> None:
        self.generation += 1
        self.churn.overtaken(INO, cut=cut)

    @precondition(lambda self: self.churn.may_freeze(INO))
    @rule(sends=booleans())
    def freeze(self, sends: bool) -> None:
        assert self.frozen_at is None
        assert self.time.now_s - self.thawed_at >= PAUSE_S
        self.churn.froze(INO, self.generation)
        self.frozen_at = self.time.now_s
        if sends:
            self.churn.sending(INO)

    @precondition(lambda self: self.frozen_at is not None)
    @rule()
    def thaw(self) -> None:
        self.churn.thawed(INO)
        self.frozen_at, self.thawed_at = None, self.time.now_s

    @precondition(lambda self: self.frozen_at is None)
    @rule()
    def calm(self) -> None:
        self.churn.calm(INO)
        # It is a new story then.
        self.thawed_at = -1e9
        assert not self.churn.keeps_changing(INO)

    @invariant()
    def a_frozen_version_is_one_at_a_time(self) -> None:
        assert self.churn.is_frozen(INO) == (self.frozen_at is not None)
        assert not (self.churn.is_frozen(INO) and self.churn.may_freeze(INO))

    @invariant()
    def no_close_waits_for_longer_than_the_pause(self) -> None:
        assert 0.0 <= self.churn.delay_s(INO) <= PAUSE_S
        assert not self.churn.is_frozen(INO) or self.churn.delay_s(INO) == 0.0


TestCourses = Courses.TestCase
TestCourses.settings = settings(max_examples=60, stateful_step_count=30)
