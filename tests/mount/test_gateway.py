"""Other servers of the same wire: a gateway behind a path prefix, which refuses the beta header and keeps uploads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.content import paged
from tests.faults import FaultyServer
from tests.gateway import gateway
from tests.mount.conftest import MakeMount
from tests.mount.support import eventually, remotefs, shell, stored

BYTES = paged(1 << 20, seed=14)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with gateway(tmp_path / "server", ids=True) as running:
        yield running


def test_a_gateway_of_the_same_wire_is_mounted_and_used(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount()
    folder = mount.path / "docs"
    shell("mkdir docs; echo one > docs/a.txt; echo two > docs/b.txt", cwd=mount.path)
    (folder / "large.bin").write_bytes(BYTES)
    shell("echo 1 >> a.txt; mv b.txt c.txt; echo gone > d.txt; sync d.txt; rm d.txt", cwd=folder)
    mount.flush()
    wanted = {"docs/a.txt": b"one\n1\n", "docs/c.txt": b"two\n", "docs/large.bin": BYTES}
    eventually(lambda: stored(server) == wanted)
    server.store.add_generated("plot.png", BYTES, mime_type="image/png")
    eventually((mount.path / "plot.png").exists)
    assert mount.xattr("docs/large.bin", "downloadable") == "true"

    # The service gives back what went up here, so nothing of it has to stay.
    assert mount.status().content.pinned_bytes == 0
    cleared = remotefs("cache", "clear", "--mount", mount.path, "--yes", env=mount.env)
    assert cleared.returncode == 0, cleared.stdout + cleared.stderr
    mount.remount()
    assert sorted(os.listdir(folder)) == ["a.txt", "c.txt", "large.bin"]
    assert (folder / "a.txt").read_bytes() == b"one\n1\n"
    assert (folder / "large.bin").read_bytes() == (mount.path / "plot.png").read_bytes() == BYTES
    assert server.script.count("content") > 0
    assert mount.status().online
