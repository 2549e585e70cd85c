"""Who may stay connected: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remotefs.server.door import Door


@given(
    most=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from(["enter", "serve", "wait", "leave"]), st.integers(0, 7))),
)
def test_there_are_never_too_many_and_nobody_at_work_is_sent_away(most: int, steps: list[tuple[str, int]]) -> None:
    door: Door[int] = Door(most, 10)
    there: dict[int, str] = {}
    for now, (step, visitor) in enumerate(steps):
        if step == "enter" and visitor not in there:
            there[visitor] = "stranger"
            sent_away = door.enter(visitor, now)
            if sent_away is not None:
                assert there.pop(sent_away) != "at work"
                door.leave(sent_away)
        elif visitor not in there:
            continue
        elif step == "serve":
            door.serve(visitor)
            there[visitor] = "at work"
        elif step == "wait":
            door.wait(visitor, now)
            there[visitor] = "stranger" if there[visitor] == "stranger" else "guest"
        elif step == "leave":
            door.leave(visitor)
            del there[visitor]
        assert len(there) <= most
        assert sorted(door.overdue(now + 100)) == sorted(each for each, state in there.items() if state != "at work")


def test_strangers_go_before_guests_and_the_oldest_first() -> None:
    door: Door[str] = Door(4, 10)
    for now, name in enumerate(["guest", "first", "second", "busy"]):
        assert door.enter(name, now) is None
    door.serve("guest")
    door.wait("guest", 4)
    door.serve("busy")
    assert door.enter("a", 5) == "first"
    door.leave("first")
    door.serve("a")
    assert door.enter("b", 6) == "second"
    door.leave("second")
    door.serve("b")
    assert door.enter("c", 7) == "guest"
    door.leave("guest")
    door.serve("c")
    assert door.enter("d", 8) == "d"


def test_waiting_begins_again_with_each_answer() -> None:
    door: Door[str] = Door(4, 10)
    door.enter("stranger", 0)
    door.enter("guest", 1)
    door.serve("guest")
    assert door.overdue(11) == ["stranger"]
    door.wait("stranger", 11)
    door.wait("guest", 12)
    assert door.overdue(21.5) == ["stranger"]
    assert door.overdue(22.5) == ["stranger", "guest"]
