"""The messages to a service manager (H2): what is sent, and that nobody waits for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from remotefs.mount.notify_socket import NotifySocket
from remotefs.mount.service_status import Work, status_line
from tests.service.support import Manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@remotefs-test-{os.getpid()}"
    with closing(Manager(address)) as running:
        yield running


def socket_to(manager: Manager) -> NotifySocket:
    socket = NotifySocket.of({"NOTIFY_SOCKET": manager.address})
    assert socket is not None
    return socket


def test_each_message_is_one_of_the_protocol(manager: Manager) -> None:
    with closing(socket_to(manager)) as socket:
        socket.ready()
        socket.status("3 files\n12 MB\0")
        socket.extend(1.5)
        socket.stopping()
    assert manager.rest() == [
        {"READY": "1", "MAINPID": str(os.getpid())}, {"STATUS": "3 files 12 MB "}, {"EXTEND_TIMEOUT_USEC": "1500000"},
        {"STOPPING": "1"},
    ]  # fmt: skip


def test_the_programs_that_a_mount_starts_do_not_speak_for_it(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "PATH": "/bin"}
    socket = NotifySocket.of(environ)
    assert socket is not None
    socket.close()
    assert environ == {"PATH": "/bin"}


def test_without_a_service_manager_nothing_is_told() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
        assert NotifySocket.of(environ) is None


def test_what_the_manager_cannot_take_now_goes_later_and_nobody_waits(manager: Manager) -> None:
    with closing(socket_to(manager)) as socket:
        # More than the queue of a socket takes.
        for number in range(5000):
            socket.status(f"{number}")
        socket.ready()
        assert len(manager.rest()) < 5000
        socket.flush()
        assert manager.rest()[-1] == {"STATUS": "4999", "READY": "1", "MAINPID": str(os.getpid())}
        told = len(manager.told)
        socket.flush()
        assert len(manager.rest()) == told


def test_a_manager_that_is_gone_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    socket = NotifySocket.of({"NOTIFY_SOCKET": str(tmp_path / "none")})
    assert socket is not None
    with closing(socket):
        socket.ready()
        socket.status("x" * 10_000)
    assert "the service manager cannot be told how the mount is" in caplog.text


@pytest.mark.parametrize(
    ("work", "eta_s", "offline", "is_ending", "line"),
    [
        (Work(3, 12_400_000), 40.2, None, False, "3 files, 12 MB to go, 40 s"),
        (Work(1, 999), None, None, False, "1 file, 999 bytes to go"),
        (Work(120_000, None), 7200.0, None, False, "120,000 files to go, 2 h"),
        (Work(2, 0, 1), 0.2, None, False, "2 files, 1 other change to go, 1 s"),
        (Work(0, 0, 5), 90.0, None, True, "ending: 5 other changes to go, 2 min"),
        (Work(), None, None, False, "everything is at the service"),
        (Work(), None, "no route", False, "everything is at the service; offline: no route"),
        (Work(3, 5_000), 9.0, "no route", False, "3 files, 5 kB to go; offline: no route"),
        (Work(), None, None, True, "ending: everything is at the service"),
    ],
)
def test_the_status_line_is_for_people(
    work: Work, eta_s: float | None, offline: str | None, is_ending: bool, line: str
) -> None:
    assert status_line(work, eta_s, offline=offline, is_ending=is_ending) == line
