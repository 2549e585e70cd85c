"""Bytes that wait for their upload and are damaged on the disk: a real mount, unmounted and killed (R3, W3)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import FaultyServer, Reply
from tests.mount.conftest import MakeMount
from tests.mount.support import eventually, remotefs, stored

_SIZE = 300_000


def another_byte(file: Path) -> None:
    """`dd conv=notrunc`."""
    with file.open("r+b") as raw:
        raw.seek(_SIZE // 2)
        raw.write(b"#")


def shorter(file: Path) -> None:
    """`truncate`."""
    os.truncate(file, _SIZE - 1)


@pytest.mark.long  # tests/data/files/test_damage.py has the samples
@pytest.mark.parametrize(("damage", "is_killed"), [(another_byte, True), (shorter, False)])
def test_damaged_while_it_waits_it_is_an_error_and_never_goes_up(
    server: FaultyServer, make_mount: MakeMount, damage: Callable[[Path], None], is_killed: bool
) -> None:
    mount = make_mount("--durability", "local", settings={"REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "0"})
    mount.may_log_tracebacks = True
    (mount.path / "f").write_bytes(b"good" * (_SIZE // 4))
    mount.flush()
    server.script.add(Reply(503), op="upload", times=None)
    (mount.path / "f").write_bytes(b"new!" * (_SIZE // 4))
    # The first try has read it.
    eventually(lambda: any(file.suffix == ".sums" for file in (mount.state / "staging").iterdir()))
    mount.kill() if is_killed else mount.end()
    (staged,) = (file for file in (mount.state / "staging").iterdir() if not file.suffix)
    damage(staged)
    server.script.clear()
    mount.started()
    assert remotefs("retry", mount.path, env=mount.env).returncode == 0
    with pytest.raises(OSError) as refused:
        (mount.path / "f").read_bytes()
    assert refused.value.errno == errno.EIO
    assert mount.status().damaged == ("f",)
    assert mount.xattr("f", "state").startswith("failed: its bytes")
    assert "remotefs: f: " in remotefs("check", mount.path, env=mount.env).stderr
    assert stored(server) == {"f": b"good" * (_SIZE // 4)}
    (mount.path / "f").write_bytes(b"whole")
    mount.flush()
    assert stored(server) == {"f": b"whole"}
    assert mount.status().damaged == ()
