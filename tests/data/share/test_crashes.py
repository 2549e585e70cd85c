"""`kill -9` at each step of a share: what was acknowledged is readable on every machine, and all end alike (X1-X3)."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio

from remotefs.mount.check.inspection import check_state
from tests.data.share.test_attributes import chattr, exchanged, tree
from tests.data.share.test_uploads import machine, objects
from tests.faults import FaultyServer
from tests.parts import Host

Server = FaultyServer
Clock = trio.abc.Clock


class Killer(logging.Handler):
    """Copies the state folder when a step is reached for the nth time, and ends the machine."""

    def __init__(self, step: str, nth: int) -> None:
        super().__init__(logging.DEBUG)
        self._step = step
        self._left = nth
        self.host: Host | None = None
        self.has_killed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a step."""
        if self.host is None or self.has_killed or not record.getMessage().startswith(self._step):
            return
        self._left -= 1
        if not self._left:
            self.has_killed = True
            self.host.kill_copy("after")
            self.host.nursery.cancel_scope.cancel()


async def work(host: Host, acknowledged: dict[str, bytes]) -> None:
    """Write and change, and note what was acknowledged."""
    host.mkdir("d")
    for number in range(3):
        for path in ("a", "d/b"):
            data = f"{path} {number}".encode()
            acknowledged.pop(path, None)
            await host.write(path, data)
            acknowledged[path] = data
        await chattr(host, "d", mode=0o700 + number)
        await trio.sleep(2.5)
    host.mkdir("d/empty")
    await trio.sleep(5.0)


POINTS = [
    pytest.param("upload: it is bound", 1, marks=pytest.mark.long),
    ("upload: it is bound", 4),
    pytest.param("share: it begins", 1, marks=pytest.mark.long),
    pytest.param("share: it begins", 3, marks=pytest.mark.long),
    ("share: the store has it", 1),
    pytest.param("share: the store has it", 4, marks=pytest.mark.long),
    pytest.param("share: its row says that it is in the store", 2, marks=pytest.mark.long),
    pytest.param("shared log: the store has the segment", 1, marks=pytest.mark.long),
    ("shared log: the store has the segment", 3),
    pytest.param("staged file is content", 2, marks=pytest.mark.long),
    pytest.param("delete: the service has forgotten it", 1, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("step", "nth"), POINTS)
async def test_nothing_is_lost_when_a_machine_is_killed(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, step: str, nth: int, caplog: pytest.LogCaptureFixture
) -> None:
    acknowledged: dict[str, bytes] = {}
    killer, log = Killer(step, nth), logging.getLogger("remotefs.crashpoints")
    caplog.set_level(logging.DEBUG, log.name)
    log.addHandler(killer)
    try:
        async with machine(tmp_path, server, folder, "one") as one:
            killer.host = one
            await work(one, acknowledged)
    finally:
        log.removeHandler(killer)
    assert killer.has_killed
    async with machine(tmp_path, server, folder, "after") as after, machine(tmp_path, server, folder, "two") as two:
        await exchanged(after, two)
        assert tree(after) == tree(two)
        for path, data in acknowledged.items():
            assert (await after.read(path), await two.read(path)) == (data, data)
        assert after.parts.store.shares.waiting(10) == []
        assert {path.name for path in objects(folder)} >= after.remote_ids()
        assert await check_state(after.parts) == []


async def test_a_change_that_is_undone_after_its_reply_was_lost_is_undone_everywhere(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The other machines have the first change; by this machine's map nothing would have changed."""
    killer, log = Killer("shared log: the store has the segment", 1), logging.getLogger("remotefs.crashpoints")
    caplog.set_level(logging.DEBUG, log.name)
    async with machine(tmp_path, server, folder, "one") as one:
        one.mkdir("d")
        await exchanged(one)
        before = one.stat("d").mode
    log.addHandler(killer)
    try:
        async with machine(tmp_path, server, folder, "one") as one:
            killer.host = one
            await chattr(one, "d", mode=0o500)
            await trio.sleep(60.0)
    finally:
        log.removeHandler(killer)
    assert killer.has_killed
    async with machine(tmp_path, server, folder, "after", working=False) as after:
        assert after.stat("d").mode != before
        await chattr(after, "d", mode=before)
        await after.start_working()
        async with machine(tmp_path, server, folder, "two") as two:
            await exchanged(after, two)
            assert tree(after) == tree(two)
            assert two.stat("d").mode == before
