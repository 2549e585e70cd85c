"""How long a drain will take."""

from __future__ import annotations

import pytest

from remotefs.mount.commands.eta import Eta


def test_it_goes_on_as_fast_as_it_went() -> None:
    eta = Eta(left=100, now=0.0)
    assert eta.seconds(100, 1.0) is None
    assert eta.seconds(98, 2.0) is None
    assert eta.seconds(90, 10.0) == pytest.approx(90.0)
    assert eta.seconds(50, 20.0) == pytest.approx(20.0)
    assert eta.seconds(0, 30.0) == 0.0


def test_what_is_added_meanwhile_is_more_to_do_and_not_less_done() -> None:
    eta = Eta(left=10, now=0.0)
    eta.seconds(5, 5.0)
    assert eta.seconds(20, 10.0) == pytest.approx(40.0)


def test_however_fast_it_goes_the_budget_takes_its_time() -> None:
    eta = Eta(100, 0.0)
    assert eta.seconds(100, 0.0, least_s=50.0) == 50.0
    # A burst at the start.
    assert eta.seconds(90, 1.0, least_s=54.0) == 54.0
    assert eta.seconds(90, 90.0, least_s=54.0) == pytest.approx(810.0)
