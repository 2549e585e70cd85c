"""Odd replies: whatever the service, a proxy or a line makes of a reply, nothing is lost and the mount lives.

`python -m tests.fuzz.replies NUMBER` repeats one case and tells it in words.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.faults import faulty_server
from tests.fuzz import replies, replies_mounts
from tests.mount.support import mounted
from tests.sampling import sample

BATCH = 100
# Of `make test`: one or two of each kind, and combinations.
SAMPLE = (641, 700, 1203, 7505, 8500, 9600)
# In a process that has met the largest replies that are read at all, in KiB.
MOST_RESIDENT_KIB = 900 << 10
THEIRS = {"theirs.txt": b"theirs\n" * 500, "deep.bin": bytes(range(256)) * 1200}


def _told(outcomes: list[replies.Outcome]) -> str:
    return "\n".join(str(outcome) for outcome in outcomes if outcome.found)


@pytest.mark.parametrize("number", SAMPLE)
def test_an_odd_reply_harms_nothing(number: int) -> None:
    outcome = replies.outcome_of(replies.case_of(number))
    assert not outcome.found, str(outcome)
    assert outcome.hits, "nothing was odd"


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, replies.CASES, BATCH))
def test_odd_replies_harm_nothing(first: int) -> None:
    outcomes = [replies.outcome_of(replies.case_of(number)) for number in range(first, first + BATCH)]
    assert not _told(outcomes), _told(outcomes)
    # The oddity has to have been met, or it is no case.
    assert sum(bool(outcome.hits) for outcome in outcomes) >= BATCH * 0.8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MOST_RESIDENT_KIB


def test_every_oddity_is_a_case() -> None:
    assert 8000 < len(replies.systematic()) < replies.CASES
    assert {op for op, _, _ in replies.systematic()} == set(replies.OPS)


@pytest.mark.mount
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cases", sample(1, replies_mounts.CASES))
def test_odd_replies_to_a_real_mount_harm_nothing(tmp_path: Path, cases: int) -> None:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as server:
        for name, data in THEIRS.items():
            server.store.add_generated(name, data)
        with mounted(tmp_path, server.url, server.key) as mount:
            found = [told for number in range(cases) for told in replies_mounts.live(number, mount, server, THEIRS)]
    assert not found, "\n".join(found)
