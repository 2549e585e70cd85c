"""Whatever happens to a file between any two steps of its upload, nothing of it is left over, lost or twice (N6, W6, W9).

The user acts at the nth time that the task of the upload goes on: between two of its awaits, as the loop allows.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
import trio.testing

from tests.between import Between, at_every_step
from tests.faults import Action, Call, FaultyServer
from tests.parts import Host, running

Server = FaultyServer
Clock = trio.abc.Clock


@dataclass
class _OnRecord(Action):
    """Carry out, and see what the state folder says before the answer goes, or gets lost."""

    database: Path
    loses_reply: bool
    missing: list[str] = field(default_factory=list)

    async def __call__(self, call: Call) -> None:
        status, headers, body = await call.whole_reply()
        with closing(sqlite3.connect(self.database)) as rows:
            if not rows.execute("SELECT 1 FROM intent WHERE attempt_name IS NOT NULL").fetchall():
                self.missing.append(call.scope["path"])
        if self.loses_reply:
            call.abort()
        else:
            await call.reply(status, headers, body)


def _to_what_stays_here(host: Host) -> None:
    host.rename("a", ".DS_Store")


def _away(host: Host) -> None:
    host.unlink("a")


def _to_another_name(host: Host) -> None:
    host.rename("a", "b")


def _there_and_back(host: Host) -> None:
    host.rename("a", ".DS_Store")
    host.rename(".DS_Store", "a")


def _replaced(host: Host) -> None:
    host.rename("other", "a")


def _written(host: Host) -> None:
    host.nursery.start_soon(host.write, "a", b"again")


def _made_anew(host: Host) -> None:
    host.unlink("a")
    host.nursery.start_soon(host.write, "a", b"again")


def _of_another_type(host: Host) -> None:
    host.fs.xattrs.setxattr(host.stat("a").ino, b"user.remotefs.mime_type", b"text/x-other")


# What a user does, and what is there afterwards.
ACTS: dict[str, tuple[Callable[[Host], None], dict[str, bytes]]] = {
    "to what stays here": (_to_what_stays_here, {".DS_Store": b"hello", "other": b"other"}),
    "away": (_away, {"other": b"other"}),
    "to another name": (_to_another_name, {"b": b"hello", "other": b"other"}),
    "there and back": (_there_and_back, {"a": b"hello", "other": b"other"}),
    "replaced": (_replaced, {"a": b"other"}),
    "written": (_written, {"a": b"again", "other": b"other"}),
    "of another type": (_of_another_type, {"a": b"hello", "other": b"other"}),
    "made anew": (_made_anew, {"a": b"again", "other": b"other"}),
}


class Case(NamedTuple):
    """An act at the nth step of the upload of `a`, or of its renewal under another name."""

    act: str
    nth: int
    loses_reply: bool = False
    reupload: bool = False


async def upload_and_act(folder: Path, server: Server, case: Case) -> int:
    """How many steps the upload had."""
    act, left = ACTS[case.act]
    async with running(folder, server, durability="local") as host:
        await host.write("other", b"other")
        if case.reupload:
            await host.write("first", b"hello")
        await _at_rest(host)
        watch = _OnRecord(host.state_dir / "state.db", case.loses_reply)
        server.script.add(watch, op="upload", times=1 if case.loses_reply else None)
        with Between("Workers._carry_out", case.nth, lambda: act(host)) as between:
            if case.reupload:
                host.rename("first", "a")
            else:
                await host.write("a", b"hello")
            await _at_rest(host)
        if between.seen <= case.nth:
            act(host)
        await _at_rest(host)
        for _ in range(2):
            await host.walk()
        await _at_rest(host)
        assert watch.missing == [], "a request went out that no row tells of"
        await _is_so(host, left, adopted=case.loses_reply)
        return between.seen


async def _is_so(host: Host, left: dict[str, bytes], *, adopted: bool) -> None:
    """The files are there and at the service, and nothing else is; what stays here may be where it was sent before."""
    assert {path: await host.read(path) for path in host.ls()} == left
    assert host.remote_ids() == {i.file_id for path in left if (i := host.stat(path)).file_id is not None}
    # One that was only taken for ours keeps the name that it went up under (W7).
    assert adopted or ".DS_Store" in left or host.remote_names() == sorted(left)
    for ino in (host.stat(path).ino for path in left if ".DS_Store" not in left):
        chosen = host.parts.intents.upload_options.chosen_type(ino)
        assert chosen in {None, host.fs.xattrs.getxattr(ino, b"user.remotefs.mime_type").decode()}
        assert not host.parts.intents.upload_options.is_pending(ino)
    await host.parts.sweeper.sweep()
    assert len(host.parts.staging.scan()) <= (1 if ".DS_Store" in left else 0)


async def _at_rest(host: Host) -> None:
    """What no row asks for may still be on its way, and what was done is done in a task."""
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked(0.002)
        await host.settled()
        await host.until(lambda: not host.parts.writeback.statistics().running)


SAMPLE = [
    Case(act, nth, loses_reply, reupload)
    for number, act in enumerate(ACTS)
    for nth, loses_reply, reupload in (
        (number % 4, False, False), (1 + number % 3, True, False), (2 + number % 3, False, True), (3 + number, True, True)
    )
]  # fmt: skip


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: "-".join(map(str, case)))
async def test_a_user_acts_between_two_steps_of_an_upload(
    tmp_path: Path, server: Server, clock: Clock, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    assert await upload_and_act(tmp_path, server, case) > case.nth
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.long
@pytest.mark.parametrize("reupload", [False, True], ids=["upload", "reupload"])
@pytest.mark.parametrize("loses_reply", [False, True], ids=["answered", "reply lost"])
@pytest.mark.parametrize("act", ACTS)
async def test_a_user_acts_between_any_two_steps_of_an_upload(
    tmp_path: Path, server: Server, clock: Clock, act: str, loses_reply: bool, reupload: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    await at_every_step(
        tmp_path, lambda folder, server, nth: upload_and_act(folder, server, Case(act, nth, loses_reply, reupload))
    )
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
