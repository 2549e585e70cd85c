"""Commands over the control socket, with real sockets on both ends."""

from __future__ import annotations

import logging
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from remotefs.control.address import short_address
from remotefs.control.client import ControlClient
from remotefs.control.messages.base import Command, Draining, DrainResult, Leftover, Nothing, Notice, Progress, Report
from remotefs.control.messages.mount import UMOUNT, UmountParams
from remotefs.control.messages.status import FLUSH, STATUS, FlushParams, Status
from remotefs.control.server import ControlServer
from remotefs.errors import (
    AmbiguousOutcome,
    AuthenticationFailed,
    BadRequest,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    RemotefsError,
    ReplyBroken,
    Unreachable,
)

STATUS_ANSWER = Status(
    mountpoint="/mnt/ü",
    state_dir="/state",
    base_url="http://127.0.0.1:1",
    pid=7,
    online=False,
    trouble="no route",
    failed=(Leftover(path="a/b.txt", reason="413"),),
    last_poll_at=12.5,
)


async def status(_: Nothing, __: Report) -> Status:
    return STATUS_ANSWER


async def flush_nothing(_: FlushParams, __: Report) -> DrainResult:
    return DrainResult(left=0)


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def call(
    path: Path, *args: Any, timeout_s: float = 10.0, report: Callable[[Progress], None] | None = None
) -> Awaitable[Any]:
    more = {"report": report} if report else {}
    return trio.to_thread.run_sync(partial(ControlClient(path).call, *args, timeout_s=timeout_s, **more))


async def serving(nursery: trio.Nursery, path: Path, *commands: Command) -> None:
    await nursery.start(ControlServer(path, commands).run)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def test_a_result_arrives_as_it_was_sent(path: Path, nursery: trio.Nursery) -> None:
    await serving(nursery, path, STATUS.bind(status))
    assert await call(path, STATUS, Nothing()) == STATUS_ANSWER


async def test_parameters_arrive_and_progress_comes_in_order_before_the_result(
    path: Path, nursery: trio.Nursery
) -> None:
    asked: list[FlushParams] = []

    async def flush(params: FlushParams, report: Report) -> DrainResult:
        asked.append(params)
        for left in (2, 1):
            report(Draining(left=left, path="x"))
        report(Notice(text="nearly"))
        return DrainResult(left=1, leftovers=(Leftover(path="x", reason="offline"),))

    await serving(nursery, path, FLUSH.bind(flush))
    seen: list[Progress] = []
    result = await call(path, FLUSH, FlushParams(path="x", timeout_s=3), report=seen.append)
    assert asked == [FlushParams(path="x", timeout_s=3)]
    assert seen == [Draining(left=2, path="x"), Draining(left=1, path="x"), Notice(text="nearly")]
    assert result == DrainResult(left=1, leftovers=(Leftover(path="x", reason="offline"),))


@pytest.mark.parametrize(
    "error",
    [
        NotFound("a.txt: there is no such file"),
        AuthenticationFailed("wrong key", status=401),
        BadRequest("no", status=400),
    ],
)
async def test_an_error_arrives_with_its_class_and_sentence(
    path: Path, nursery: trio.Nursery, error: RemotefsError
) -> None:
    async def fail(_: Nothing, __: Report) -> Status:
        raise error

    await serving(nursery, path, STATUS.bind(fail))
    with pytest.raises(type(error)) as caught:
        await call(path, STATUS, Nothing())
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "status", None) == getattr(error, "status", None)


async def test_an_unforeseen_error_is_logged_whole_told_in_short_and_the_server_goes_on(
    path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: FlushParams, __: Report) -> DrainResult:
        raise ZeroDivisionError("inner matter")

    await serving(nursery, path, FLUSH.bind(fail), STATUS.bind(status))
    with caplog.at_level(logging.ERROR), pytest.raises(RemotefsError) as caught:
        await call(path, FLUSH, FlushParams(timeout_s=1))
    assert "inner matter" not in str(caught.value)
    assert "inner matter" in caplog.text
    assert await call(path, STATUS, Nothing()) == STATUS_ANSWER


async def test_a_command_that_the_mount_does_not_know_is_refused(path: Path, nursery: trio.Nursery) -> None:
    await serving(nursery, path, STATUS.bind(status))
    with pytest.raises(InvalidArgument, match="umount"):
        await call(path, UMOUNT, UmountParams(timeout_s=1))


@pytest.mark.parametrize(
    "request_line",
    [b"\n", b"hello\n", b"[]\n", b'{"command": "flush", "params": {"timeout_s": "soon"}}\n', b'{"command": "flush"}\n'],
)
async def test_a_request_that_is_none_is_answered_with_an_error(
    path: Path, nursery: trio.Nursery, request_line: bytes
) -> None:
    await serving(nursery, path, FLUSH.bind(flush_nothing))
    stream = await trio.open_unix_socket(path)
    async with stream:
        await stream.send_all(request_line)
        reply = msgspec.json.decode(b"".join([piece async for piece in stream]))
    assert reply["error"]["kind"] == "InvalidArgument"


async def test_a_request_without_end_is_not_read_for_ever(path: Path, nursery: trio.Nursery) -> None:
    await serving(nursery, path, STATUS.bind(status))
    async with await trio.open_unix_socket(path) as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x" * (64 << 20))
    assert await call(path, STATUS, Nothing()) == STATUS_ANSWER


async def test_a_caller_that_hangs_up_cancels_its_command_and_no_other(path: Path, nursery: trio.Nursery) -> None:
    begun, cancelled = trio.Event(), trio.Event()

    async def wait(_: FlushParams, __: Report) -> DrainResult:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    await serving(nursery, path, FLUSH.bind(wait), STATUS.bind(status))
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(b'{"command": "flush", "params": {"timeout_s": 1}}\n')
        await begun.wait()
        assert await call(path, STATUS, Nothing()) == STATUS_ANSWER
        assert not cancelled.is_set()
    with trio.fail_after(5):
        await cancelled.wait()
    assert await call(path, STATUS, Nothing()) == STATUS_ANSWER


async def test_a_caller_that_leaves_without_a_word_does_no_harm(path: Path, nursery: trio.Nursery) -> None:
    await serving(nursery, path, STATUS.bind(status))
    (await trio.open_unix_socket(path)).socket.close()
    assert await call(path, STATUS, Nothing()) == STATUS_ANSWER


async def test_an_answer_too_late_is_a_deadline(path: Path, nursery: trio.Nursery) -> None:
    async def wait(_: Nothing, __: Report) -> Status:
        await trio.sleep_forever()
        raise AssertionError

    await serving(nursery, path, STATUS.bind(wait))
    with pytest.raises(DeadlineExceeded):
        await call(path, STATUS, Nothing(), timeout_s=0.05)


async def test_the_end_of_the_mount_in_the_middle_is_told_apart_from_no_mount(path: Path) -> None:
    outcomes: list[Exception] = []

    async with trio.open_nursery() as mount:

        async def end(_: Nothing, __: Report) -> Status:
            mount.cancel_scope.cancel()
            await trio.sleep_forever()
            raise AssertionError

        await serving(mount, path, STATUS.bind(end))
        try:
            await call(path, STATUS, Nothing())
        except AmbiguousOutcome as error:
            outcomes.append(error)
    assert len(outcomes) == 1
    with pytest.raises(Unreachable):
        await call(path, STATUS, Nothing())


@pytest.mark.parametrize("answer", [b"nonsense\n", b'{"result": {"left": "two"}}\n'])
def test_an_answer_that_cannot_be_read_is_said_to_be_so(path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer_one() -> None:
            with listener.accept()[0] as peer:
                peer.recv(1024)
                peer.sendall(answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        with pytest.raises(ReplyBroken):
            ControlClient(path).call(FLUSH, FlushParams(timeout_s=1), timeout_s=5)
        thread.join()


async def test_the_socket_is_for_its_owner_and_replaces_a_leftover(path: Path, nursery: trio.Nursery) -> None:
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(path))
    with pytest.raises(Unreachable):
        await call(path, STATUS, Nothing())
    await serving(nursery, path, STATUS.bind(status))
    assert stat.S_IMODE((await trio.Path(path).stat()).st_mode) == 0o600
    assert await call(path, STATUS, Nothing()) == STATUS_ANSWER


@pytest.mark.root("calls as another user")
async def test_another_user_is_refused_even_where_the_files_mode_lets_it_in(path: Path, nursery: trio.Nursery) -> None:
    await serving(nursery, path, STATUS.bind(status))
    await trio.Path(path).chmod(0o666)
    await trio.Path(path.parent).chmod(0o711)
    folder = os.open(path.parent, os.O_PATH)
    try:
        answer = await trio.to_thread.run_sync(_call_as_nobody, folder)
    finally:
        os.close(folder)
    assert b"AccessDenied" in answer


def _call_as_nobody(folder: int) -> bytes:
    """The peer is whoever connected: a child that connects as nobody, on a folder handed to it."""
    program = (
        "import socket; peer = socket.socket(socket.AF_UNIX);"
        f"peer.connect('/proc/self/fd/{folder}/control.sock');"
        """peer.sendall(b'{"command": "status"}\\n'); print(peer.recv(4096))"""
    )
    command = ["python3", "-I", "-c", program]
    environment = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, user=65534, group=65534, extra_groups=[], pass_fds=[folder], env=environment, stdout=-1, check=True
    ).stdout


async def test_a_path_longer_than_the_kernel_takes_works(tmp_path: Path, nursery: trio.Nursery) -> None:
    folder = tmp_path.joinpath(*["deep" * 20] * 4)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    assert len(os.fsencode(path)) > 300
    await serving(nursery, path, STATUS.bind(status))
    assert await call(path, STATUS, Nothing()) == STATUS_ANSWER


def test_a_short_address_leaves_no_descriptor_behind(path: Path) -> None:
    before = open_descriptors()
    with short_address(path):
        pass
    assert open_descriptors() == before
