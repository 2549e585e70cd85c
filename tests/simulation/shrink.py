"""Make a life that fails as short as it can be: what can be left out without it failing in the same way goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.life import Life
from tests.simulation.world import Outcome, live

# A place in a life: an event (None) or a step of one user, by its number.
_Atom = tuple[int | None, int]


def kind_of(complaint: str) -> str:
    """Return what kind of harm a complaint is about."""
    words = complaint.split(": ")
    return words[1] if words[0].startswith("machine ") else words[0]


def kinds_of(outcome: Outcome) -> set[str]:
    """Return the kinds of harm that a life came to."""
    return {kind_of(complaint) for complaint in outcome.complaints}


def shrink(outcome: Outcome, *, most_trials: int = 150, told: Callable[[str], None] = lambda line: None) -> Outcome:
    """Return the outcome of a shorter life that comes to the same kind of harm; after so many trials what is found by then."""
    wanted, best, trials = kind_of(outcome.complaints[0]), outcome, 0
    size = max(len(_atoms(outcome.life)) // 2, 1)
    while trials < most_trials:
        for chosen in _pieces(_atoms(best.life), size):
            if trials >= most_trials:
                break
            trials += 1
            shorter = live(_without(best.life, chosen))
            if wanted in kinds_of(shorter):
                best = shorter
                told(f"{len(_atoms(best.life))} steps and events are left after {trials} trials")
                break
        else:
            if size == 1:
                break
            size //= 2
    return best


def _atoms(life: Life) -> list[_Atom]:
    events: list[_Atom] = [(None, number) for number in range(len(life.events))]
    return events + [(user, number) for user, one in enumerate(life.users) for number in range(len(one.steps))]


def _pieces(atoms: list[_Atom], size: int) -> Iterator[set[_Atom]]:
    for at in range(0, len(atoms), size):
        yield set(atoms[at : at + size])


def _without(life: Life, gone: set[_Atom]) -> Life:
    users = tuple(
        replace(one, steps=tuple(step for number, step in enumerate(one.steps) if (user, number) not in gone))
        for user, one in enumerate(life.users)
    )
    events = tuple(event for number, event in enumerate(life.events) if (None, number) not in gone)
    machines = max((one.machine for one in users if one.steps), default=0) + 1
    if all(
        not isinstance(event[2], int) or event[1] not in {"crash", "remount", "away", "disk"} or event[2] < machines
        for event in events
    ):
        return replace(
            life, users=tuple(one for one in users if one.machine < machines), events=events, machines=machines
        )
    return replace(life, users=users, events=events)


__all__ = ["kind_of", "kinds_of", "shrink"]
