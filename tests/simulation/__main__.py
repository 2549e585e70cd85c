"""Tell lives in words.

    python -m tests.simulation [--shared] SEED [COUNT]

tells the life of SEED and its digest; with COUNT it lives that many, from SEED on. A life that fails is shrunk to a
script that can be kept in test_found.py. With --shared the machines share a store.
"""

from __future__ import annotations

import sys

from tests.fuzz.world import trust_little
from tests.simulation.life import life_of
from tests.simulation.shared_life import shared_life_of
from tests.simulation.shrink import shrink
from tests.simulation.world import live


def main() -> int:
    """Live, and return the exit status: 1 when a life failed."""
    trust_little()
    numbers = [argument for argument in sys.argv[1:] if argument != "--shared"]
    of_seed = shared_life_of if "--shared" in sys.argv else life_of
    seed, count = int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 1
    failed = 0
    for number in range(seed, seed + count):
        outcome = live(of_seed(number))
        if count == 1:
            print("\n".join(outcome.told))
        if count == 1 or outcome.complaints:
            print(outcome, flush=True)
        if outcome.complaints:
            failed += 1
            shortest = shrink(outcome, told=lambda line: print(f"  {line}", file=sys.stderr, flush=True))
            print(f"\nas short as it gets:\n\n{shortest.life!r}\n\n{shortest}", flush=True)
    if count > 1:
        print(f"{count} lives, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
