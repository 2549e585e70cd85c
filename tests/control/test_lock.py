"""The lock of a state folder and its hand-over."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from remotefs.control.address import SOCKET_NAME
from remotefs.control.lock import LOCK_NAME, Holder, holder_of, lock_state
from remotefs.control.messages.base import Nothing, Report
from remotefs.control.messages.mount import TAKEOVER, TakeoverResult
from remotefs.control.server import ControlServer
from remotefs.control.takeover import ask_to_yield, take_state
from remotefs.errors import StateLocked, StateUnusable

FIRST = Holder(pid=11, mountpoint="/mnt/first")
SECOND = Holder(pid=22, mountpoint="/mnt/second")


def open_descriptors() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())


async def yielding(_: Path) -> bool:
    return True


async def staying(_: Path) -> bool:
    return False


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    with (
        lock_state(tmp_path, FIRST),
        pytest.raises(StateLocked, match=r"process 11.*/mnt/first"),
        lock_state(tmp_path, SECOND),
    ):
        pass
    with lock_state(tmp_path, SECOND):
        assert holder_of(tmp_path) == SECOND


def is_held(state_dir: Path) -> bool:
    """Whether a process holds the folder now."""
    with (state_dir / LOCK_NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_an_error_inside_is_not_taken_for_a_held_lock(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), lock_state(tmp_path, FIRST):
        raise BlockingIOError


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from remotefs.control.lock import *\n"
        "with lock_state(pathlib.Path(sys.argv[1]), Holder(pid=1, mountpoint='/x')):\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        assert is_held(tmp_path)
        child.kill()
        child.wait()
        assert not is_held(tmp_path)


def test_a_folder_without_room_for_a_lock_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable), lock_state(tmp_path / "missing", FIRST):
        pass


async def test_a_mount_in_use_is_refused_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    before = trio.current_time()
    with lock_state(tmp_path, FIRST), pytest.raises(StateLocked, match="process 11"):
        async with take_state(tmp_path, SECOND, wait_s=10, ask=staying):
            raise AssertionError
    assert trio.current_time() == before


async def test_a_drainer_hands_over_when_it_has_stopped(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def drain(task_status: trio.TaskStatus[None]) -> None:
        with lock_state(tmp_path, FIRST):
            task_status.started()
            await trio.sleep(4)

    async with trio.open_nursery() as nursery:
        await nursery.start(drain)
        async with take_state(tmp_path, SECOND, wait_s=10, ask=yielding):
            assert 4 <= trio.current_time() < 5
            assert holder_of(tmp_path) == SECOND
            assert is_held(tmp_path)
    assert not is_held(tmp_path)


async def test_a_drainer_that_does_not_stop_keeps_its_folder(tmp_path: Path, autojump_clock: MockClock) -> None:
    with lock_state(tmp_path, FIRST), pytest.raises(StateLocked):
        async with take_state(tmp_path, SECOND, wait_s=10, ask=yielding):
            raise AssertionError
    assert 10 <= trio.current_time() < 11


async def test_waiting_leaves_no_descriptor_behind(tmp_path: Path, autojump_clock: MockClock) -> None:
    with lock_state(tmp_path, FIRST):
        before = len(open_descriptors())
        with pytest.raises(StateLocked):
            async with take_state(tmp_path, SECOND, wait_s=10, ask=yielding):
                raise AssertionError
        assert len(open_descriptors()) == before


@pytest.mark.parametrize("answer", [True, False])
async def test_the_question_goes_over_the_control_socket(tmp_path: Path, nursery: trio.Nursery, answer: bool) -> None:
    async def takeover(_: Nothing, __: Report) -> TakeoverResult:
        return TakeoverResult(yielding=answer)

    await nursery.start(ControlServer(tmp_path / SOCKET_NAME, [TAKEOVER.bind(takeover)]).run)
    assert await ask_to_yield(tmp_path) is answer


async def test_a_holder_that_does_not_answer_may_be_on_its_way_out(tmp_path: Path) -> None:
    assert await ask_to_yield(tmp_path)
