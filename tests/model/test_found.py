"""Steps that random runs failed with once, as short as they were shrunk."""

from __future__ import annotations

from pathlib import Path

import pytest

from remotefs.config import WritebackConfig
from tests.faults import HoldReply
from tests.model.harness import Portal
from tests.model.machine import Data, Step
from tests.model.test_filesystem import BUSY, LATE, WAITING, machine

FOUND: dict[str, list[Step]] = {
    "O_TRUNC of an empty file changes its times": [
        ("put", "a", Data(0, 0)),
        ("utimens", "a", 1),
        ("put", "a", Data(0, 0)),
    ],
    "cut to the size that it has": [("put", "a", Data(0, 5)), ("drain",), ("truncate", "a", 5)],
    "attributes on a folder of others": [
        ("foreign", "d/a", Data(0, 0), False),
        ("setxattr", "d", "x", b""),
        ("vanish", "d/a"),
    ],
    "a name that is uploaded late beside one that never is": [
        ("put", "._n", Data(0, 1)),
        ("link", "._n", "t~"),
    ],
    "a renamed folder of others": [
        ("foreign", "d/a", Data(0, 1), False),
        ("rename", "d", "e", 0),
        ("vanish", "e/a"),
    ],
}


@pytest.mark.parametrize("steps", FOUND.values(), ids=FOUND)
@pytest.mark.parametrize("writeback", [WAITING, LATE], ids=["waiting", "late"])
def test_it_stays_mended(scratch: Path, loop: Portal, writeback: WritebackConfig, steps: list[Step]) -> None:
    machine(scratch, loop, writeback)().replay(*steps)


def test_bytes_put_back_while_others_are_sent(scratch: Path, loop: Portal) -> None:
    """What the service has when its reply comes is neither what it had before nor what is here."""
    state = machine(scratch, loop, BUSY)()
    script = state.subjects[0].server.script
    state.do(("put", "a", Data(1, 4096)))
    state.do(("drain",))
    held = script.add(HoldReply(), op="upload")
    state.do(("put", "a", Data(2, 4096)))
    held.wait_until_hit()
    state.do(("put", "a", Data(1, 4096)))
    held.release()

    state.replay(("drain",))
