"""The commands that look after what is on this disk, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import FaultyServer, Reply, faulty_server
from tests.mount.support import Mounted, eventually, remotefs


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    """As the service: what was uploaded cannot be read back."""
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


def test_pin_check_export_and_clear(mount: Mounted, server: FaultyServer, tmp_path: Path) -> None:
    server.store.add("made", b"generated", downloadable=True)
    (mount.path / "ours").write_bytes(b"only here")
    eventually(lambda: (mount.path / "made").exists())
    pinned = remotefs("pin", mount.path)
    assert (pinned.returncode, "2 files are pinned" in pinned.stderr) == (0, True), pinned.stderr
    info = remotefs("cache", "info", "--mount", mount.path)
    assert "in 2 files" in info.stdout
    clean = remotefs("check", mount.path)
    assert (clean.returncode, clean.stderr) == (0, "remotefs: clean\n")
    copied = remotefs("export", mount.path / "ours", mount.path / "made", tmp_path)
    assert copied.returncode == 0, copied.stderr
    assert (tmp_path / "ours").read_bytes() == b"only here"
    again = remotefs("export", mount.path / "ours", tmp_path)
    assert again.returncode == 1
    assert "--force" in again.stderr
    unpinned = remotefs("unpin", mount.path / "ours", "--yes")
    assert "1 files that only this machine has" in unpinned.stderr
    assert "1 files unpinned" in unpinned.stderr
    refused = remotefs("export", mount.path / "ours", mount.path / "inside")
    assert "in the mount" in refused.stderr
    remotefs("pin", mount.path / "ours")
    kept = remotefs("cache", "clear", "--mount", mount.path)
    assert "1 files stay" in kept.stderr
    assert (mount.path / "ours").read_bytes() == b"only here"
    cleared = remotefs("cache", "clear", "--force", "--yes", "--mount", mount.path)
    assert cleared.returncode == 0, cleared.stderr
    assert "ours\n" in cleared.stderr
    assert "unreadable for good" in cleared.stderr
    found = remotefs("check", mount.path, "--offline")
    assert found.returncode == 1
    assert "ours: bytes are missing" in found.stderr


@pytest.mark.long
def test_what_failed_is_shown_and_tried_again_and_an_idle_state_folder_is_checked(
    mount: Mounted, server: FaultyServer
) -> None:
    server.script.add(Reply(400), op="upload", times=None)
    with pytest.raises(OSError, match="Invalid argument"):
        (mount.path / "late").write_bytes(b"bytes")
    status = json.loads(remotefs("status", mount.path, "--json").stdout)
    assert status["failed"][0]["path"] == "late"
    assert status["errors"][0]["request_id"] == "req_scripted"
    left = mount.umount(timeout=0.5)
    assert left.returncode == 3
    assert remotefs("check", "--state-dir", mount.state).returncode == 0
    server.script.clear()
    begun = mount.start()
    assert "1 changes of an earlier mount are pending and go on" in begun.stderr
    assert "are tried again" in remotefs("retry", mount.path).stderr
    mount.flush()
    assert "in use" in remotefs("check", "--state-dir", mount.state).stderr
