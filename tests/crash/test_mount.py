"""A sample of the crash points on the real kernel, through the command that people use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from remotefs.errors import TransportError
from tests.crash.operations import content
from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import Mounted, eventually, is_mounted, mounted, stored

# Each starts the command twice or more: the same steps are in the other files a second cheaper.
pytestmark = [pytest.mark.mount, pytest.mark.long]
_PATIENCE_S = 40
_REPLACED = content(3000, 1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running
        running.script.clear()


def work(mount: Mounted) -> tuple[dict[str, bytes], set[str]]:
    """Save files in several ways until the mount dies: what close acknowledged, and what was under way then."""
    done: dict[str, bytes] = {}
    for number in range(200):
        name, data = f"f{number % 7}", content(2000 + number, number)
        try:
            if number % 3:
                (mount.path / name).write_bytes(data)
            else:
                (mount.path / "save").write_bytes(data)
                done["save"] = data
                (mount.path / "save").rename(mount.path / name)
                del done["save"]
        except OSError:
            return done, {name, "save"}
        done[name] = data
        if number % 10 == 9:
            # On a fast disk nothing else gives the uploads of `local` the time to come.
            with suppress(TransportError):
                mount.flush()
    raise AssertionError("the mount lives on")


def killed_at(mount: Mounted, step: str, nth: int) -> tuple[dict[str, bytes], set[str]]:
    """Run the same mount in a process that dies there, and use it until it has."""
    mount.end()
    command = ["mount", mount.path, "--foreground", "--state-dir", mount.state, *mount.arguments]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash.mounted", step, str(nth), *map(str, command)],
        env=mount.env, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        eventually(lambda: is_mounted(mount.path))
        try:
            found = work(mount)
            process.wait(_PATIENCE_S)
        finally:
            process.kill()
    return found


def is_whole(mount: Mounted, server: FaultyServer, step: str, nth: int) -> None:
    (mount.path / "old").write_bytes(_REPLACED)
    done, open_ended = killed_at(mount, step, nth)
    mount.started()
    mount.flush()
    shown = {name: (mount.path / name).read_bytes() for name in os.listdir(mount.path)}
    assert stored(server) == shown
    expected = done | {"old": _REPLACED}
    assert {n: d for n, d in shown.items() if n not in open_ended} == {
        n: d for n, d in expected.items() if n not in open_ended
    }


STEPS = [
    ("transaction is committed", 60), ("staged file has bytes", 9), ("staged bytes are on the disk", 6),
    ("database is on the disk", 11), ("upload: its attempt is on the disk", 8), ("request is sent whole", 9),
    ("upload: the service has it", 10), ("upload: it is bound", 7), ("staged file is content", 12),
    ("delete: it is decided", 4), ("delete: the service has forgotten it", 5), ("content is removed", 6),
]  # fmt: skip


def test_after_all_bytes_went_out(tmp_path: Path, server: FaultyServer) -> None:
    with mounted(tmp_path / "m", server.url, KEY) as mount:
        is_whole(mount, server, "request is sent whole", 6)


@pytest.mark.parametrize(("step", "nth"), STEPS)
@pytest.mark.parametrize("durability", ["remote", "local"])
def test_a_step_of_each_kind(durability: str, step: str, nth: int, tmp_path: Path, server: FaultyServer) -> None:
    with mounted(tmp_path / "m", server.url, KEY, "--durability", durability) as mount:
        is_whole(mount, server, step, nth)
