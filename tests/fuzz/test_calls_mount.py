"""A real mount at work whose process runs out of descriptors, whose database is locked, or whose disk is read-only."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.crash.power import ForgetfulDisk
from tests.endurance.test_disk import Writer, at_work
from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import Mounted, environment, is_mounted, is_running, remotefs, stored

pytestmark = pytest.mark.mount

# Real seconds: how long all is well, and how long it is not.
_WELL_S, _TROUBLED_S = 0.7, 1.5
_ROUNDS = 3


@contextmanager
def no_descriptors(mount: Mounted) -> Iterator[None]:
    """No file, folder or socket can be opened."""
    pid = mount.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")), before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def locked_database(mount: Mounted) -> Iterator[None]:
    """Another process writes to the database, as a tool may that looks into it."""
    with closing(sqlite3.connect(mount.state / "state.db", isolation_level=None, timeout=5.0)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


@pytest.fixture
def mount(tmp_path: Path, server: FaultyServer) -> Iterator[Mounted]:
    """A mount whose log may say that its disk is bad."""
    mount = Mounted(tmp_path / "mnt", tmp_path / "state", environment(KEY), ("--base-url", server.url))
    mount.path.mkdir()
    mount.may_log_tracebacks = True
    try:
        mount.started()
        yield mount
    finally:
        if is_mounted(mount.path):
            mount.end()


def lives_on(mount: Mounted, server: FaultyServer, trouble: object) -> None:
    """Writers work through several troubles; then all that was acknowledged is here and at the service."""
    pid = mount.pid
    with at_work(mount.path) as writers:
        for _ in range(_ROUNDS):
            time.sleep(_WELL_S)
            with trouble(mount):  # type: ignore[operator]  # a context manager of a mount
                time.sleep(_TROUBLED_S)
            assert is_running(pid)
            assert is_mounted(mount.path)
        time.sleep(_WELL_S)
    remotefs("retry", mount.path)
    mount.flush()
    assert [writer.wrong for writer in writers] == [[]] * len(writers)
    assert min(writer.done for writer in writers) > 0
    _compare(writers, server)
    assert "nobody foresaw" not in mount.log()
    checked = remotefs("check", mount.path)
    assert checked.returncode == 0, checked.stderr


def _compare(writers: list[Writer], server: FaultyServer) -> None:
    at_service = stored(server)
    for number, writer in enumerate(writers):
        for name in writer.attempted:
            path = writer.folder / name
            here = path.read_bytes() if path.exists() else None
            assert writer.is_right(name, here), (path, here and len(here), writer.told[name])
            if here:
                assert at_service.get(f"w{number}/{name}") == here, path


@pytest.mark.long
@pytest.mark.parametrize("trouble", [no_descriptors, locked_database], ids=lambda trouble: trouble.__name__)
def test_a_real_mount_lives_on(mount: Mounted, server: FaultyServer, trouble: object) -> None:
    lives_on(mount, server, trouble)


@pytest.mark.long
def test_a_real_mount_lives_on_while_its_disk_is_read_only(tmp_path: Path, server: FaultyServer) -> None:
    disk = ForgetfulDisk(tmp_path)
    mount = Mounted(tmp_path / "mnt", disk.root / "state", environment(KEY), ("--base-url", server.url))
    mount.path.mkdir()
    mount.may_log_tracebacks = True

    @contextmanager
    def read_only(_: Mounted) -> Iterator[None]:
        disk.fail(errno.EROFS, 1.0, "write,make")
        try:
            yield
        finally:
            disk.fail(0, 0.0, "")

    try:
        mount.started()
        lives_on(mount, server, read_only)
    finally:
        disk.fail(0, 0.0, "")
        if is_mounted(mount.path):
            mount.end()
        disk.close()
