"""Many uploads through a service that fails in every way: nothing is lost, nothing is there twice, no close lies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio

from remotefs.control.messages.dedupe import DedupeParams
from tests.commands import commands
from tests.endurance.support import (
    LAG_S,
    SPEED,
    UPLOAD_FAULTS,
    Writer,
    all_stored,
    mounted,
    persist,
    promote_to_content,
    spoil,
    stored,
)
from tests.faults import LateCommit, faulty_server
from tests.sampling import sample

# How late a commit comes at most, in the mount's seconds: long after the last look for it (W6).
LATEST_S = 30.0


@pytest.mark.parametrize("uploads", sample(80, 10_000))
async def test_w6_one_writer_and_every_fault_but_a_late_commit(tmp_path: Path, uploads: int, clock: object) -> None:
    """A tenth of all requests fails in some way, and every listing lags 3 s."""
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as server:
        mixtures = spoil(server, rate=0.1, seed=uploads)
        async with mounted(tmp_path, server) as host:
            writer = Writer(host, seed=uploads)
            await writer.work(uploads)
            assert not writer.untrue
            await promote_to_content(host)
            for path, content in writer.written.items():
                assert await host.read(path) == content
        assert stored(server, tmp_path) == Counter(writer.written.items())
        assert all(mixture.spoiled for mixture in mixtures)


@pytest.mark.parametrize("uploads", sample(50, 3_000))
async def test_w6_two_writers_and_late_commits(tmp_path: Path, uploads: int, clock: object) -> None:
    """What is committed after the last look is there twice: then both are kept, and `dedupe` names both."""
    faults = (*UPLOAD_FAULTS, *(LateCommit(after_s / SPEED) for after_s in (2.0, 8.0, 20.0, LATEST_S)))
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as server:
        of_others = {f"other-{number}": b"%d" % number for number in range(50)}
        for name, content in of_others.items():
            server.store.add(name, content, downloadable=True)
        spoil(server, rate=0.1, seed=uploads, uploads=faults)
        async with mounted(tmp_path, server, state="a") as host, mounted(tmp_path, server, state="b") as other_host:
            one, two = Writer(host, seed=1, prefix="one-"), Writer(other_host, seed=2, prefix="two-")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.work, uploads // 2)
                nursery.start_soon(two.work, uploads // 2)
            assert not one.untrue + two.untrue
            await promote_to_content(host, other_host)
            await trio.sleep(LATEST_S + LAG_S)
            kept = stored(server, tmp_path)
            assert of_others.items() | one.written.items() | two.written.items() <= kept.keys()
            copies = Counter(record.filename for record in all_stored(server))
            several = {record.id for record in all_stored(server) if copies[record.filename] > 1}
            assert several or uploads < 1000, "no commit came late enough"
            for asked in (host, other_host):
                await persist(asked.walk)
                reported = await commands(asked).dedupe.dedupe(DedupeParams(dry_run=True), lambda _: None)
                assert several <= {copy.file_id for copy in reported.copies}
