"""Tell lives in words.

    python -m tests.simulation SEED [COUNT]

tells the life of SEED and its digest; with COUNT it lives that many, from SEED on, and shrinks those that fail.
"""

from __future__ import annotations

import sys

from tests.fuzz.world import trust_little
from tests.simulation.life import life_of
from tests.simulation.world import live


def main() -> int:
    """Live, and return the exit status: 1 when a life failed."""
    trust_little()
    seed, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    failed = 0
    for number in range(seed, seed + count):
        outcome = live(life_of(number))
        if count == 1:
            print("\n".join(outcome.told))
        if count == 1 or outcome.complaints:
            print(outcome, flush=True)
        failed += bool(outcome.complaints)
    if count > 1:
        print(f"{count} lives, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
