"""A mount outlives an upgrade: the command line and the mount may be of different versions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs import __version__
from remotefs.cli.commands.status_table import status_rows
from remotefs.control.client import ControlClient
from remotefs.control.messages.base import Endpoint, Message, Nothing, Notice, Progress, Report
from remotefs.control.messages.status import Status
from remotefs.control.server import ControlServer
from remotefs.errors import InvalidArgument, ReplyBroken


class Old(Message, frozen=True):
    """The parameters that both versions know."""

    path: str = ""


class New(Message, frozen=True):
    """Those of a newer version."""

    path: str = ""
    repair: bool = False


class Demanding(Message, frozen=True):
    path: str
    depth: int


class Short(Message, frozen=True):
    count: int


class Long(Message, frozen=True):
    count: int
    bytes: int = 0


class Strange(Message, frozen=True, tag="strange"):
    """A kind of progress that this version does not know."""

    files: int


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def asked(
    path: Path, mount: Endpoint[Any, Any], params: Message, result: type[Message], answer: Message
) -> tuple[Any, list[Progress]]:
    """What a command line gets from a mount of another version, and the progress that it shows."""
    shown: list[Progress] = []

    async def run(_: Message, report: Report) -> Message:
        report(Strange(files=3))  # type: ignore[arg-type]
        report(Notice(text="seen"))
        return answer

    async with trio.open_nursery() as nursery:
        await nursery.start(ControlServer(path, [mount.bind(run)]).run)
        call = partial(
            ControlClient(path).call, Endpoint("work", type(params), result), params, timeout_s=10, report=shown.append
        )
        try:
            return await trio.to_thread.run_sync(call), shown
        finally:
            nursery.cancel_scope.cancel()


async def test_a_newer_command_line_asks_an_older_mount_for_what_both_know(path: Path) -> None:
    older = Endpoint("work", Old, Short)
    assert (await asked(path, older, New(path="a"), Long, Short(2)))[0] == Long(2)


async def test_an_older_mount_refuses_what_it_would_leave_out(path: Path) -> None:
    older = Endpoint("work", Old, Short)
    wanted = f"this mount was started by remotefs {__version__}, whose command 'work' does not know 'repair'; unmount it and mount again"
    with pytest.RaisesGroup(pytest.RaisesExc(InvalidArgument, match=wanted), flatten_subgroups=True):
        await asked(path, older, New(repair=True), Long, Short(2))


async def test_an_older_command_line_reads_what_it_knows_of_an_answer_and_of_progress(path: Path) -> None:
    newer = Endpoint("work", New, Long)
    assert await asked(path, newer, Old("a"), Short, Long(2, 5)) == (Short(2), [Notice(text="seen")])


async def test_a_newer_mount_says_what_an_older_command_line_lacks(path: Path) -> None:
    newer = Endpoint("work", Demanding, Long)
    with pytest.RaisesGroup(
        pytest.RaisesExc(InvalidArgument, match=r"takes other parameters \(.*depth.*mount again"),
        flatten_subgroups=True,
    ):
        await asked(path, newer, Old("a"), Short, Long(2))


async def test_an_answer_of_another_version_is_said_to_be_one(path: Path) -> None:
    older = Endpoint("work", Old, Nothing)
    wanted = f"was started by another version of remotefs, whose answer {__version__} cannot read .*mount again"
    with pytest.RaisesGroup(pytest.RaisesExc(ReplyBroken, match=wanted), flatten_subgroups=True):
        await asked(path, older, Old("a"), Short, Nothing())


@pytest.mark.parametrize(("version", "shown"), [(__version__, None), ("0.0.9", "0.0.9; "), ("", "an older one; ")])
def test_status_names_the_version_of_a_mount_that_another_one_started(version: str, shown: str | None) -> None:
    status = Status(mountpoint="/m", state_dir="/s", base_url="http://x", pid=1, online=True, version=version)
    row = dict(status_rows(status)).get("version")
    assert row == (shown and f"{shown}{__version__} is installed, and the next mount uses it")
