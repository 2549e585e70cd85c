"""Which call moves which of the three times; utimensat."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.posix.support import (
    ALICE,
    BOB,
    LONG_AGO_S,
    UTIME_NOW,
    UTIME_OMIT,
    age,
    fails,
    moved,
    opened,
    outcome,
    read_file,
    times,
    utimens,
    write_file,
)

pytestmark = pytest.mark.usefixtures("place")
NS = 1_000_000_000


def _with_fd(flags: int, act: Callable[[int], object]) -> Callable[[], None]:
    def run() -> None:
        with opened("d/f", flags) as fd:
            act(fd)

    return run


def _rename_within() -> None:
    os.rename("d/f", "d/g")
    os.link("d/g", "d/f")


# What is done to `d/f`, which times of it move, which of its folder `d`.
CHANGES: dict[str, tuple[Callable[[], object], str, str]] = {
    "write": (_with_fd(os.O_WRONLY, lambda fd: os.write(fd, b"x")), "mc", ""),
    "append": (_with_fd(os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"x")), "mc", ""),
    "write nothing": (_with_fd(os.O_WRONLY, lambda fd: os.write(fd, b"")), "", ""),
    "open and close": (_with_fd(os.O_RDWR, lambda fd: None), "", ""),
    "open with O_TRUNC": (_with_fd(os.O_WRONLY | os.O_TRUNC, lambda fd: None), "mc", ""),
    "truncate shorter": (lambda: os.truncate("d/f", 2), "mc", ""),
    "truncate longer": (lambda: os.truncate("d/f", 99), "mc", ""),
    "ftruncate": (_with_fd(os.O_WRONLY, lambda fd: os.ftruncate(fd, 2)), "mc", ""),
    "fsync": (_with_fd(os.O_WRONLY, os.fsync), "", ""),
    "chmod": (lambda: os.chmod("d/f", 0o600), "c", ""),
    "chown": (lambda: os.chown("d/f", os.geteuid() or 1, os.getegid() or 1), "c", ""),
    "setxattr": (lambda: os.setxattr("d/f", "user.a", b"1"), "c", ""),
    "removexattr": (lambda: os.removexattr("d/f", "user.there"), "c", ""),
    "getxattr": (lambda: os.getxattr("d/f", "user.there"), "", ""),
    "stat": (lambda: os.stat("d/f"), "", ""),
    "link": (lambda: os.link("d/f", "elsewhere"), "c", ""),
    "link within": (lambda: os.link("d/f", "d/g"), "c", "mc"),
    "rename of another": (lambda: os.rename("d/other", "d/more"), "", "mc"),
    "rename within": (_rename_within, "c", "mc"),
    "create beside": (lambda: os.mkfifo("d/g"), "", "mc"),
    "unlink beside": (lambda: os.unlink("d/other"), "", "mc"),
    "mkdir beside": (lambda: os.mkdir("d/g"), "", "mc"),
    "symlink beside": (lambda: os.symlink("x", "d/g"), "", "mc"),
    "failed create": (lambda: outcome(os.mkdir, "d/f"), "", ""),
    "failed unlink": (lambda: outcome(os.rmdir, "d/f"), "", ""),
    "failed rename": (lambda: outcome(os.rename, "d/f", "d/missing/x"), "", ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_which_times_move(change: str) -> None:
    act, of_file, of_folder = CHANGES[change]
    os.mkdir("d")
    write_file("d/f")
    os.mkfifo("d/other")
    os.setxattr("d/f", "user.there", b"1")
    age("d/f", "d")
    before, folder = times("d/f"), times("d")
    earliest = time.time_ns()
    act()

    assert (moved("d/f", before), moved("d", folder)) == (of_file, of_folder)
    if of_file:
        assert earliest - NS // 10 <= times("d/f")["c"] <= time.time_ns()


def test_reading_moves_an_atime_that_is_older_than_the_last_change() -> None:
    write_file("f")
    utimens("f", 0, 0)
    _forget_pages("f")
    before = times("f")
    read_file("f")
    assert moved("f", before) == "a"

    # As a local disk with its usual `relatime` does: once is enough.
    _forget_pages("f")
    before = times("f")
    read_file("f")
    assert moved("f", before) == ""


def _forget_pages(path: str) -> None:
    with opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


# -- utimensat


def test_times_are_kept_to_the_nanosecond() -> None:
    os.mkdir("d")
    write_file("f")
    os.symlink("f", "link")
    for number, path in enumerate(("d", "f", "link")):
        wanted = (1_234_567_890_123_456_789 + number, 987_654_321_987_654_321 + number)
        os.utime(path, ns=wanted, follow_symlinks=False)
        status = os.lstat(path)
        assert (status.st_atime_ns, status.st_mtime_ns) == wanted


@pytest.mark.parametrize("seconds", [0, 1, -1, -NS, 2**31 - 1, 2**31, 2**32 + 5])
def test_times_before_1970_and_after_2038(seconds: int) -> None:
    write_file("f")
    os.utime("f", ns=(seconds * NS + 5, seconds * NS + 7))
    assert (os.stat("f").st_atime_ns, os.stat("f").st_mtime_ns) == (seconds * NS + 5, seconds * NS + 7)


@pytest.mark.parametrize(
    ("atime", "mtime", "which"),
    [
        (UTIME_NOW, UTIME_NOW, "amc"), (UTIME_NOW, UTIME_OMIT, "ac"), (UTIME_OMIT, UTIME_NOW, "mc"),
        (UTIME_OMIT, UTIME_OMIT, ""), (UTIME_OMIT, 5, "mc"), (7, UTIME_OMIT, "ac"), (7, UTIME_NOW, "amc"),
    ],
)  # fmt: skip
def test_now_and_omit(atime: int, mtime: int, which: str) -> None:
    write_file("f")
    age("f")
    before, earliest = times("f"), time.time_ns() - NS // 10
    utimens("f", atime, mtime)
    after = times("f")

    assert moved("f", before) == which
    for letter, asked in (("a", atime), ("m", mtime)):
        if asked == UTIME_NOW:
            assert earliest <= after[letter] <= time.time_ns()
        elif asked != UTIME_OMIT:
            assert after[letter] == LONG_AGO_S * NS + asked


def test_nanoseconds_out_of_range() -> None:
    write_file("f")
    for wrong in (NS, -1, UTIME_OMIT - 1):
        with fails("EINVAL"):
            utimens("f", wrong, 0)


@pytest.mark.root("calls as several users")
def test_who_may_set_times() -> None:
    """The owner any time; who may write, the present; nobody else anything."""
    write_file("f", mode=0o666)
    write_file("g", mode=0o644)
    for name in ("f", "g"):
        os.chown(name, ALICE.uid, ALICE.gid)
    with BOB:
        told = [
            outcome(utimens, n, *t)
            for n, t in [
                ("f", (UTIME_NOW, UTIME_NOW)),
                ("f", (5, 5)),
                ("f", (UTIME_NOW, UTIME_OMIT)),
                ("g", (UTIME_NOW, UTIME_NOW)),
            ]
        ]
    assert told == ["ok", "EPERM", "EPERM", "EACCES"]
    with ALICE:
        utimens("g", 5, 5)
        os.chmod("g", 0)
        utimens("g", UTIME_NOW, UTIME_NOW)
