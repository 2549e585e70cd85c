"""A life of machines that share a store: as other lives, and the store has troubles of its own.

    life = shared_life_of(17)

The lives of `life_of` are others, and stay as they are.
"""

from __future__ import annotations

import random
from dataclasses import replace

from tests.simulation.life import Event, Life, life_of

_FOR_S = (2.0, 20.0, 90.0, 400.0)


def shared_life_of(seed: int) -> Life:
    """Return the life with a store that a seed determines."""
    chance = random.Random(f"{seed}/shared life")
    # A life of several machines, of which one seed in two has one.
    life = next(life for number in range(100) if (life := life_of(1000 * seed + number)).machines > 1)
    span_s = max([60.0, *(float(event[0]) for event in life.events)])
    troubles = [_trouble(chance, life.machines, span_s) for _ in range(chance.choice((0, 1, 3, 6)))]
    # Whole listings of the service that are odd are judged by the other lives.
    events = [event for event in life.events if event[1] != "lag" or chance.random() < 0.5]
    return replace(
        life, seed=seed, events=tuple(sorted([*events, *troubles], key=lambda event: float(event[0]))),
        downloadable=False, store=True,
    )  # fmt: skip


def _trouble(chance: random.Random, machines: int, span_s: float) -> Event:
    at_s, machine = round(chance.random() * span_s * chance.choice((0.05, 0.3, 1.0)), 2), chance.randrange(machines)
    what = chance.choice(("away", "away", "all away", "reader", "another", "lost", "lost", "flipped", "lag", "evict"))
    match what:
        case "lost" | "flipped":
            return at_s, "store", what, machine, chance.choice((1, 2, 5))
        case "lag":
            return at_s, "store", what, machine, chance.choice((5.0, 20.0))
        case "evict":
            return at_s, "store", what, machine, chance.choice((1, 100_000))
        case _:
            return at_s, "store", what, machine, chance.choice(_FOR_S)


__all__ = ["shared_life_of"]
