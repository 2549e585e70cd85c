"""Names are on the disk before the rows that refer to them, in one round for all who wait."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from remotefs.errors import StateUnusable
from remotefs.store.durability import Durability
from tests.failing import failing
from tests.parts import Steps, steps

__all__ = ["steps"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "staging"
    made.mkdir()
    return made


@pytest.fixture
def durability(tmp_path: Path) -> Iterator[Durability]:
    log = tmp_path / "log"
    log.touch()
    made = Durability(log)
    yield made
    made.close()


_NAMES, _LOG = "names are on the disk staging", "database is on the disk"


async def test_a_round_syncs_names_first_and_only_what_changed(
    durability: Durability, folder: Path, steps: Steps
) -> None:
    durability.committed()
    durability.named(folder)
    await durability.wait()
    assert steps() == [_NAMES, _LOG]
    await durability.wait()
    assert steps() == []
    durability.named(folder)
    await durability.wait()
    assert steps() == [_NAMES]
    durability.committed()
    await durability.wait()
    assert steps() == [_LOG]


async def test_what_an_earlier_process_committed_is_waited_for(durability: Durability, steps: Steps) -> None:
    await durability.wait()
    assert steps() == [_LOG]


async def test_all_who_wait_share_a_round(durability: Durability, folder: Path, steps: Steps) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            durability.named(folder)
            durability.committed()
            nursery.start_soon(durability.wait)
    assert steps() == [_NAMES, _LOG]


async def test_a_folder_that_cannot_be_synced_is_never_called_a_success_later(
    durability: Durability, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durability.named(folder)
    with failing(monkeypatch, "fsync", errno.EIO), pytest.raises(StateUnusable, match="staging.*mount again"):
        await durability.wait()
    durability.committed()
    for _ in range(2):
        with pytest.raises(StateUnusable, match="staging"):
            await durability.wait()


@pytest.mark.parametrize("nth", [1, 2])
async def test_what_could_not_be_opened_is_synced_the_next_time(
    durability: Durability, folder: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps, nth: int
) -> None:
    """There were no descriptors, for the log or for a folder: no sync was tried, so none has failed."""
    durability.named(folder)
    durability.committed()
    with failing(monkeypatch, "open", errno.EMFILE, nth=nth), pytest.raises(StateUnusable, match="Too many open files"):
        await durability.wait()
    before = steps()
    await durability.wait()
    assert before + steps() == [_NAMES, _LOG]


async def test_names_alone_can_be_waited_for(durability: Durability, folder: Path, steps: Steps) -> None:
    durability.committed()
    durability.named(folder)
    await durability.wait_for_names()
    await durability.wait_for_names()
    assert steps() == [_NAMES]
    await durability.wait()
    assert steps() == [_LOG]


async def test_one_who_gives_up_waiting_leaves_everything_to_the_next(
    durability: Durability, folder: Path, steps: Steps
) -> None:
    durability.named(folder)
    durability.committed()
    with trio.CancelScope() as scope:
        scope.cancel()
        await durability.wait()
    assert steps() == []
    await durability.wait()
    assert steps() == [_NAMES, _LOG]
