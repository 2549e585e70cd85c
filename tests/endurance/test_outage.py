"""Ten minutes without the service in the middle of a copy: the mount goes on, and all arrives afterwards (A2)."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults import KEY, Drop, faulty_server
from tests.mount.support import eventually, mounted, run

OUTAGE_S = 600
FILES = 400
# Of the copy that far the service hears before it is gone.
BEFORE = 100
# Real seconds between two looks at the mount while the service is gone.
EVERY_S = 5.0
# No handler waits for a service that is known to be out of reach: this is for a busy machine, not for a timeout.
AT_ONCE_S = 2.0

pytestmark = [pytest.mark.mount, pytest.mark.long]


def at_once(*command: object) -> str:
    """Run a tool that must not wait for the service."""
    began = time.monotonic()
    done = run(*command)
    assert time.monotonic() - began < AT_ONCE_S, command
    return done.stdout


def test_a2_ten_minutes_without_the_service_in_the_middle_of_a_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    contents = {f"file-{n:03}": random.Random(n).randbytes(4096 + n) for n in range(FILES)}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as server:
        with mounted(tmp_path, server.url, KEY) as mount:
            copying = subprocess.Popen(["cp", "-a", source, mount.path / "copy"])
            eventually(lambda: server.script.count("upload") >= BEFORE)
            server.script.add(Drop(), times=None)
            gone_until = time.monotonic() + OUTAGE_S
            # The first closes find out; from then on none waits.
            assert copying.wait(120) == 0
            number = 0
            while time.monotonic() < gone_until:
                written = mount.path / f"meanwhile-{number}"
                at_once("sh", "-c", f"echo {number} > {written}")
                assert len(at_once("ls", mount.path / "copy").split()) == FILES
                assert (mount.path / "copy" / f"file-{number % FILES:03}").read_bytes() == contents[
                    f"file-{number % FILES:03}"
                ]
                at_once("df", mount.path)
                contents[f"../meanwhile-{number}"] = b"%d\n" % number
                number += 1
                time.sleep(EVERY_S)
            server.script.clear()
            eventually(lambda: mount.status().online, timeout=120)
            mount.flush()
        blobs = {blob.read_bytes() for blob in (tmp_path / "server" / "files").iterdir()}
        assert blobs == set(contents.values())
        assert len(os.listdir(tmp_path / "server" / "files")) == len(contents)
