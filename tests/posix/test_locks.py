"""flock(2) and fcntl(2) locks, between descriptors and between processes of one machine (A7)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import sys

import pytest

from tests.posix.support import fails, opened, outcome, write_file

pytestmark = pytest.mark.usefixtures("place")
F_OFD_SETLK = 37
_TRY = """
import errno, fcntl, os, sys
fd = os.open('f', os.O_RDWR)
try:
    {call}
    print('ok')
except OSError as problem:
    print(errno.errorcode[problem.errno])
"""


def _other_process(call: str) -> str:
    """What another process is told that tries the same."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _TRY.format(call=call)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _try_flock(kind: str) -> str:
    return _other_process(f"fcntl.flock(fd, fcntl.LOCK_{kind} | fcntl.LOCK_NB)")


def _try_range(kind: str, start: int, length: int) -> str:
    return _other_process(f"fcntl.lockf(fd, fcntl.LOCK_{kind} | fcntl.LOCK_NB, {length}, {start})")


@pytest.fixture(autouse=True)
def _file(place: object) -> None:
    write_file("f", bytes(1000))


def test_flock_excludes_by_open_file() -> None:
    with opened("f", os.O_RDWR) as one, opened("f", os.O_RDONLY) as other:
        fcntl.flock(one, fcntl.LOCK_SH)
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with fails("EAGAIN"):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with fails("EAGAIN"):
            fcntl.flock(one, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_flock_excludes_other_processes_until_close() -> None:
    with opened("f", os.O_RDWR) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert (_try_flock("EX"), _try_flock("SH")) == ("EAGAIN", "EAGAIN")
        twin = os.dup(fd)
    # A duplicate is the same open file: its lock lives on.
    assert _try_flock("EX") == "EAGAIN"
    os.close(twin)
    assert _try_flock("EX") == "ok"


def test_ranges_exclude_where_they_overlap() -> None:
    with opened("f", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 100, 100)
        fcntl.lockf(fd, fcntl.LOCK_SH, 100, 300)
        told = {at: (_try_range("EX", at, 10), _try_range("SH", at, 10)) for at in (0, 95, 150, 199, 200, 350)}
    assert told == {
        0: ("ok", "ok"), 95: ("EAGAIN", "EAGAIN"), 150: ("EAGAIN", "EAGAIN"), 199: ("EAGAIN", "EAGAIN"),
        200: ("ok", "ok"), 350: ("EAGAIN", "ok"),
    }  # fmt: skip


def test_who_holds_a_range_is_told() -> None:
    with opened("f", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 5)
        ask = "import struct; print(struct.unpack('hhqqi4x', fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))))"
        answer = _other_process(ask).splitlines()[0]
    assert answer == str((fcntl.F_WRLCK, 0, 5, 10, os.getpid()))


def test_any_close_of_the_file_gives_a_processes_ranges_back() -> None:
    with opened("f", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX)
        assert _try_range("EX", 0, 0) == "EAGAIN"
        os.close(os.open("f", os.O_RDONLY))
        assert _try_range("EX", 0, 0) == "ok"


def test_locks_of_open_files_exclude_within_a_process() -> None:
    def lock(fd: int, kind: int) -> str:
        return outcome(lambda: fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", kind, 0, 0, 10, 0)))

    with opened("f", os.O_RDWR) as one, opened("f", os.O_RDWR) as other:
        assert lock(one, fcntl.F_WRLCK) == "ok"
        assert lock(other, fcntl.F_RDLCK) == "EAGAIN"
        assert lock(one, fcntl.F_UNLCK) == "ok"
        assert lock(other, fcntl.F_RDLCK) == "ok"


def test_a_lock_wants_a_descriptor_of_its_kind() -> None:
    with opened("f", os.O_RDONLY) as reader, opened("f", os.O_WRONLY) as writer:
        assert outcome(fcntl.lockf, reader, fcntl.LOCK_EX | fcntl.LOCK_NB) == "EBADF"
        assert outcome(fcntl.lockf, writer, fcntl.LOCK_SH | fcntl.LOCK_NB) == "EBADF"
        # flock does not ask how it was opened.
        fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_waiting_for_a_lock_ends_when_it_is_given_back() -> None:
    script = "import fcntl, os; fd = os.open('f', os.O_RDWR); print('asks', flush=True); fcntl.flock(fd, fcntl.LOCK_EX); print('has it')"
    with opened("f", os.O_RDWR) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        child = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "asks\n"
        assert child.poll() is None
        fcntl.flock(fd, fcntl.LOCK_UN)
        assert child.communicate(timeout=20)[0] == "has it\n"


def test_two_that_wait_for_each_other_are_told() -> None:
    script = (
        "import fcntl, os, sys; fd = os.open('f', os.O_RDWR); fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1); "
        "print('has 1', flush=True); fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)"
    )
    with opened("f", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "has 1\n"
        # Whichever asks last is refused: the child by the end of its script, or this process.
        told = outcome(fcntl.lockf, fd, fcntl.LOCK_EX, 1, 1)
        fcntl.lockf(fd, fcntl.LOCK_UN)
        _, complaint = child.communicate(timeout=20)
    refused = [told == errno.errorcode[errno.EDEADLK], f"[Errno {errno.EDEADLK}]" in complaint]
    assert refused in ([True, False], [False, True]), (told, complaint)
