"""Who waits for which stream of a file, and which of them count: decided without any clock or network."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remotefs.api.budget import Priority
from remotefs.data.content.chunks import Layout
from remotefs.data.download.fetch import Fetch
from remotefs.data.download.read_request import ReadRequest
from remotefs.data.download.stream import Stream

CHUNK = 128 * 1024


def fetch_of(chunks: int) -> Fetch:
    return Fetch("f1", Layout(chunks * CHUNK, CHUNK))


def want_of(fetch: Fetch, first: int, count: int = 1, *, ahead: int = 0, is_look: bool = False) -> ReadRequest:
    return ReadRequest(fetch.layout, first * CHUNK, count * CHUNK, ahead * CHUNK, is_look=is_look)


def planned(fetch: Fetch, request: ReadRequest, *, ranges: bool | None = True) -> Stream:
    [stream] = fetch.plan(request, ranges=ranges)
    return stream


def flowing(stream: Stream, now: float = 0.0) -> Stream:
    stream.got_slot(now)
    stream.is_flowing = True
    return stream


# -- how much is asked for


@given(chunks=st.integers(1, 5000), ranges=st.sampled_from([True, None]), part=st.sampled_from([None, 32]))
def test_a_look_asks_for_its_256_kib_whatever_else_would_be_worth_having(
    chunks: int, ranges: bool | None, part: int | None
) -> None:
    fetch = fetch_of(chunks)
    [stream] = fetch.plan(want_of(fetch, 0, ahead=1, is_look=True), ranges=ranges, part=part)
    assert (stream.next, stream.stop) == (0, min(2, chunks))


def test_a_look_that_finds_a_stream_under_way_joins_it() -> None:
    fetch = fetch_of(100)
    stream = planned(fetch, want_of(fetch, 0, 8, ahead=16))
    assert fetch.plan(want_of(fetch, 0, ahead=1, is_look=True), ranges=True) == []
    assert stream.stop == 100


def test_a_reply_that_is_the_whole_file_is_taken_as_such() -> None:
    fetch = fetch_of(100)
    stream = planned(fetch, want_of(fetch, 0, ahead=1, is_look=True), ranges=None)
    assert stream.is_brief
    fetch.widen(stream)
    assert (stream.next, stream.stop, stream.is_brief) == (0, 100, False)


# -- what counts


def test_what_nobody_waits_for_takes_no_stream() -> None:
    fetch = fetch_of(1000)
    stream = flowing(planned(fetch, want_of(fetch, 0, 8, ahead=16)))
    assert stream.fills_stream
    assert fetch.is_being_read
    stream.is_paused = True
    assert not stream.fills_stream
    assert not fetch.is_being_read
    stream.is_paused = False
    assert fetch.is_being_read


def test_a_look_takes_no_stream() -> None:
    fetch = fetch_of(1000)
    assert not flowing(planned(fetch, want_of(fetch, 0, ahead=1, is_look=True))).fills_stream
    assert not fetch.is_being_read


def test_what_was_given_up_takes_no_stream_until_it_brings_something() -> None:
    fetch = fetch_of(1000)
    request = want_of(fetch, 0, 8, ahead=16)
    stream = flowing(planned(fetch, request))
    fetch.give_up(request, 10.0)
    assert not stream.fills_stream
    fetch.heard(stream, 11.0)
    assert stream.fills_stream


# -- a service that sends nothing


def test_a_request_that_has_not_gone_out_is_held_and_another_that_has_is_not() -> None:
    fetch = fetch_of(1000)
    request = want_of(fetch, 0)
    stream = planned(fetch, request)
    assert fetch.is_held(request), "it waits for a slot"
    stream.got_slot(5.0)
    assert not fetch.is_held(request)
    assert fetch.fresh_at(request) == 5.0
    with stream.ticket.waiting(lambda: 9.0):
        assert fetch.is_held(request), "it waits for the request limit"
    assert not fetch.is_held(request)
    assert fetch.fresh_at(request) == 9.0


def test_a_byte_for_others_of_the_file_is_none_for_this_want() -> None:
    fetch = fetch_of(1000)
    near, far = want_of(fetch, 0), want_of(fetch, 900)
    one, other = flowing(planned(fetch, near), 1.0), flowing(planned(fetch, far), 2.0)
    fetch.heard(other, 8.0)
    assert fetch.fresh_at(near) == 1.0
    assert fetch.fresh_at(far) == 8.0
    fetch.give_up(near, 11.0)
    assert fetch.is_given_up(far), "no byte came since"
    fetch.heard(other, 12.0)
    assert not fetch.is_given_up(far)
    assert fetch.is_given_up(near), "none of its own did"
    fetch.heard(one, 13.0)
    assert not fetch.is_given_up(near)


def test_once_the_service_is_heard_again_it_is_asked_for_again_and_its_bytes_are_still_taken() -> None:
    fetch = fetch_of(1000)
    request = want_of(fetch, 0)
    first = flowing(planned(fetch, request))
    fetch.give_up(request, 10.0)
    assert fetch.is_given_up(request)
    fetch.retry_given_up()
    assert not fetch.is_given_up(request)
    for ranges in (True, False, None):
        again = planned(fetch, request, ranges=ranges)
        assert again is not first
        fetch.end(again)
    fetch.heard(first, 12.0)
    assert fetch.plan(request, ranges=True) == [], "it brings it after all"


def test_what_waits_for_its_turn_is_not_given_up_with_what_hangs() -> None:
    fetch = fetch_of(1000)
    hanging = flowing(fetch.begin(0, 4, readahead_until=4, priority=Priority.INTERACTIVE_READ))
    waiting = fetch.begin(4, 8, readahead_until=8, priority=Priority.INTERACTIVE_READ)
    fetch.give_up(want_of(fetch, 0, 8), 10.0)
    assert hanging.given_up_at == 10.0
    assert waiting.given_up_at is None
