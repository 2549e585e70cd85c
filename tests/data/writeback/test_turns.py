"""H8: however many changes are pending, no turn of a worker or of a command looks at all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from remotefs.errors import AccountError
from remotefs.mount.commands.pending import Drain, PendingReasons
from remotefs.mount.commands.status import StatusReport
from remotefs.store.records import ROOT_INO, IntentKind, Origin, Remote
from tests.faults import FaultyServer
from tests.parts import Host, clock, running, server, settings
from tests.turns import BOUND, Turns

CHANGES = 10_000
__all__ = ["clock", "server"]


def fill(host: Host) -> list[int]:
    """Make changes pending, a third of each kind; every tenth has failed."""
    tree, journal, inos = host.parts.tree, host.parts.journal, []
    with host.parts.database.transaction():
        for n in range(CHANGES // 3):
            inos.append(tree.create(ROOT_INO, f"f{n}", 0o100644, uid=0, gid=0, now_ns=1).ino)
            intent = journal.put(IntentKind.UPLOAD, inos[-1], due_ns=n, replaces=["file_old"])
            if n % 10 == 0:
                journal.failed(intent.seq, "no answer", due_ns=1 << 61)
            again = tree.create(ROOT_INO, f"g{n}", 0o100644, uid=0, gid=0, now_ns=1).ino
            inos.append(journal.put(IntentKind.REUPLOAD, again, due_ns=1 << 61).ino or 0)
            journal.put_delete(f"file_{n}", due_ns=n)
    return inos


def status(host: Host) -> StatusReport:
    parts = host.parts
    reasons = PendingReasons(
        parts.store, parts.intents.paths, parts.failures, parts.closer, parts.connectivity, parts.shared
    )
    return StatusReport(settings(host.state_dir, host.server.url), parts, reasons)


async def _drain(host: Host, _: list[int]) -> None:
    assert await host.parts.drainer.drain(5.0)


async def _drain_some(host: Host, inos: list[int]) -> None:
    assert len(await host.parts.drainer.drain(5.0, inos)) == len(inos)


async def _drain_command(host: Host, _: list[int]) -> None:
    parts, told = host.parts, []
    reasons = PendingReasons(
        parts.store, parts.intents.paths, parts.failures, parts.closer, parts.connectivity, parts.shared
    )
    drain = Drain(parts.store, parts.file_writer, parts.closer, parts.drainer, parts.budget, reasons)
    result = await drain.run(3.0, told.append)
    assert (result.left, told[0].left) == (parts.journal.count(), parts.journal.count())


async def _retry(host: Host, _: list[int]) -> None:
    assert await host.parts.drainer.retry() > 0


async def _status(host: Host, inos: list[int]) -> None:
    await trio.lowlevel.checkpoint()
    shown = await status(host).now(draining=False)
    await trio.lowlevel.checkpoint()
    assert {kind.kind: kind.count for kind in shown.pending} == {
        "upload": len(inos) // 2, "reupload": len(inos) // 2, "delete": len(inos) // 2,
    }  # fmt: skip
    assert shown.failed


async def _back_again(host: Host, _: list[int]) -> None:
    """The connection was gone, and is back."""
    await trio.sleep(120)


ACTS = [_drain, pytest.param(_drain_some, marks=pytest.mark.long), _drain_command, _retry, _status, _back_again]


@pytest.mark.parametrize("act", ACTS)
async def test_h8_no_turn_looks_at_all_that_is_pending(
    act: Callable[[Host, list[int]], Awaitable[None]],
    tmp_path: Path,
    server: FaultyServer,
    clock: trio.abc.Clock,
) -> None:
    async with running(tmp_path, server) as host:
        host.parts.connectivity.suspend(AccountError("another account answers"))
        inos = fill(host)
        with Turns(host) as turns:
            await act(host, inos)
        assert 0 < turns.longest < BOUND, turns
        assert not turns.folders


@pytest.mark.long
async def test_h8_nor_does_a_turn_of_the_dispatcher(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    """Which comes after each request."""
    async with running(tmp_path, server, working=False) as host:
        fill(host)
        for n in range(40):
            file = server.store.add(f"gone{n}", b"x", downloadable=False)
            remote = Remote(file.id, f"gone{n}", 1, "text/plain", 1, None, False, Origin.OURS, tombstoned=1)
            host.parts.remotes.add(remote)
            host.parts.journal.put_delete(file.id, due_ns=0)
        with Turns(host) as turns:
            await host.start_working()
            await host.until(lambda: server.script.count("delete") > 20)
        assert 0 < turns.longest < BOUND, turns
