"""The right moment to cut an upload (W4, W9)."""

from __future__ import annotations

import pytest
import trio

from remotefs.data.intents.in_flight import Flights


async def test_a_flight_is_known_while_it_lasts() -> None:
    flights = Flights()
    with flights.fly(7, generation=3) as flight:
        assert (7 in flights, 8 in flights, len(flights), flight.generation) == (True, False, 1, 3)
    assert len(flights) == 0


async def test_before_the_last_byte_it_is_cut() -> None:
    flights = Flights()
    with flights.fly(7, generation=1) as flight:
        flights.cut(7)
        await trio.sleep_forever()
    assert flight.scope.cancelled_caught
    assert 7 not in flights


async def test_after_the_last_byte_it_is_not() -> None:
    flights = Flights()
    with flights.fly(7, generation=1) as flight:
        flight.mark_all_sent()
        flights.cut(7)
        await trio.lowlevel.checkpoint()
    assert not flight.scope.cancelled_caught


async def test_to_cut_what_does_not_fly_is_harmless() -> None:
    Flights().cut(7)


async def test_an_error_ends_it() -> None:
    flights = Flights()
    with pytest.raises(ValueError, match="broken"), flights.fly(7, generation=1):
        raise ValueError("broken")
    assert 7 not in flights
