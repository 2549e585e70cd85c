"""The right moment to cut an upload (W4, W9)."""

from __future__ import annotations

import pytest
import trio

from remotefs.data.intents.in_flight import UploadsInFlight


async def test_a_flight_is_known_while_it_lasts() -> None:
    in_flight = UploadsInFlight()
    with in_flight.register(7, generation=3) as flight:
        assert (7 in in_flight, 8 in in_flight, len(in_flight), flight.generation) == (True, False, 1, 3)
    assert len(in_flight) == 0


async def test_before_the_last_byte_it_is_cut() -> None:
    in_flight = UploadsInFlight()
    with in_flight.register(7, generation=1) as flight:
        in_flight.cancel(7)
        await trio.sleep_forever()
    assert flight.scope.cancelled_caught
    assert 7 not in in_flight


async def test_after_the_last_byte_it_is_not() -> None:
    in_flight = UploadsInFlight()
    with in_flight.register(7, generation=1) as flight:
        flight.mark_all_sent()
        in_flight.cancel(7)
        await trio.lowlevel.checkpoint()
    assert not flight.scope.cancelled_caught


async def test_to_cut_what_does_not_fly_is_harmless() -> None:
    in_flight = UploadsInFlight()
    with in_flight.register(7, generation=1) as flight:
        in_flight.cancel(8)
        await trio.lowlevel.checkpoint()
    assert not flight.scope.cancelled_caught
    in_flight.cancel(7)
    assert len(in_flight) == 0


async def test_an_error_ends_it() -> None:
    in_flight = UploadsInFlight()
    with pytest.raises(ValueError, match="broken"), in_flight.register(7, generation=1):
        raise ValueError("broken")
    assert 7 not in in_flight
