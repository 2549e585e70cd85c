"""A mount as a service (H2): readiness, the status line, and stops that lose nothing (A3)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from remotefs.mount.notify_socket import VARIABLE
from tests.faults import FaultyServer, Hold, faulty_server
from tests.mount.support import Mounted, eventually, remotefs, stored
from tests.service.support import Service, eventually_ready, service

pytestmark = pytest.mark.mount


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server") as running:
        yield running


def test_h2_ready_is_told_once_the_mount_answers_then_its_work_then_its_end(
    tmp_path: Path, server: FaultyServer
) -> None:
    with service(tmp_path / "s", server) as running:
        eventually_ready(running)
        assert os.listdir(running.path) == []
        held = server.script.add(Hold(), op="upload", times=None)
        with subprocess.Popen(["sh", "-c", f"head -c 3000000 /dev/zero > {running.path}/f"]) as writer:
            running.manager.until("STATUS", "1 file, 3 MB to go")
            server.script.remove(held)
            assert writer.wait() == 0
        running.manager.until("STATUS", "everything is at the service")
        assert not any("STOPPING" in message for message in running.manager.rest())
        assert running.stop() == 0
        told = running.manager.rest()
        assert any("STOPPING" in message for message in told)
        # On a change only.
        assert all(
            one != other for one, other in zip(running.manager.statuses(), running.manager.statuses()[1:], strict=False)
        )
        assert list(stored(server)) == ["f"]


@pytest.mark.long
def test_h2_a_stop_in_the_middle_of_a_copy_loses_nothing(tmp_path: Path, server: FaultyServer) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(40):
        (source / f"f{number:02}").write_bytes(os.urandom(20_000))
    with service(tmp_path / "s", server, settings={"REMOTEFS_WRITEBACK_DURABILITY": "local"}) as running:
        eventually_ready(running)
        # What was copied is acknowledged, and waits: the service holds it up.
        server.script.add(Hold(), op="upload", times=None)
        copy = subprocess.Popen(["cp", "-r", source, running.path / "copy"])
        eventually(lambda: len(_names(running)) > 10)
        # As ExecStop, which cannot end a mount in use, and then as the manager goes on.
        remotefs("umount", running.path, "--timeout", "0", env=running.env)
        if running.process.poll() is None:
            running.stop()
        copy.kill()
        copy.wait()
        assert running.process.returncode == 3
        assert any("STOPPING" in message for message in running.manager.rest())
        server.script.clear()
        again = Mounted(running.path, running.state, running.env, ())
        again.started()
        try:
            again.flush()
            copied = {name.name: name.read_bytes() for name in (running.path / "copy").iterdir()}
            uploaded = stored(server, "copy")
        finally:
            again.end()
    whole = {name: content for name, content in copied.items() if content == (source / name).read_bytes()}
    # The last one may have been cut; all those before it were closed.
    assert len(whole) >= 10
    assert len(copied) - len(whole) <= 1
    assert {name: uploaded[name] for name in whole} == whole


@pytest.mark.long
def test_h2_a_drain_asks_for_the_time_that_it_takes(tmp_path: Path, server: FaultyServer) -> None:
    with service(tmp_path / "s", server, settings={"REMOTEFS_WRITEBACK_DURABILITY": "local"}) as running:
        eventually_ready(running)
        held = server.script.add(Hold(), op="upload", times=None)
        (running.path / "f").write_text("1")
        running.process.terminate()
        running.manager.until("STOPPING")
        assert int(running.manager.until("EXTEND_TIMEOUT_USEC")["EXTEND_TIMEOUT_USEC"]) >= 10_000_000
        assert running.manager.until("STATUS")["STATUS"].startswith("ending: 1 file, 1 bytes to go")
        server.script.remove(held)
        assert running.process.wait(30) == 0


@pytest.mark.long
def test_h2_an_umount_that_is_refused_does_not_tell_that_the_mount_ends(tmp_path: Path, server: FaultyServer) -> None:
    with service(tmp_path / "s", server) as running:
        eventually_ready(running)
        with (running.path / "open").open("w"):
            done = remotefs("umount", running.path, env=running.env)
            assert (done.returncode, "busy" in done.stderr) == (1, True)
        assert not any("STOPPING" in message for message in running.manager.rest())
        assert remotefs("umount", running.path, env=running.env).returncode == 0
        assert running.process.wait(30) == 0
        assert any("STOPPING" in message for message in running.manager.rest())


@pytest.mark.long
def test_h2_a_mount_in_the_background_does_not_speak_for_the_service_that_started_it(
    tmp_path: Path, server: FaultyServer
) -> None:
    with service(tmp_path / "s", server) as running:
        eventually_ready(running)
        other = tmp_path / "other"
        other.mkdir()
        mount = Mounted(other, tmp_path / "state", running.env, ())
        before = len(running.manager.rest())
        mount.started()
        assert VARIABLE.encode() in Path(f"/proc/{running.process.pid}/environ").read_bytes()
        mount.end()
        assert not any("READY" in message or "STOPPING" in message for message in running.manager.rest()[before:])


def _names(running: Service) -> list[str]:
    try:
        return os.listdir(running.path / "copy")
    except FileNotFoundError:
        return []
