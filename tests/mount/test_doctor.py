"""`remotefs doctor` on real mounts, one of them dead and one that hangs; and its bundle."""

from __future__ import annotations

import os
import signal
import stat
import tarfile
import time
from pathlib import Path

import pytest

from tests.cli.test_doctor import doctor, found
from tests.faults import KEY
from tests.mount.conftest import MakeMount
from tests.mount.support import detach


@pytest.mark.long
def test_dead_and_hung_mounts_hide_nothing_and_the_bundle_has_no_names(tmp_path: Path, make_mount: MakeMount) -> None:
    hung = make_mount(settings={"REMOTEFS_MOUNT_ENTRY_TIMEOUT_S": "0"})
    dead, alive = make_mount(), make_mount()
    (alive.path / "Müller").mkdir()
    (alive.path / "Müller" / "failed uploads").write_bytes(b"x")
    alive.flush()
    dead.kill()
    hung.signal(signal.SIGSTOP)
    target = tmp_path / "report.tar.gz"
    try:
        begun = time.monotonic()
        env = {**alive.env, "ANTHROPIC_BASE_URL": alive.status().base_url}
        done = doctor("--json", "--bundle", target, env=env, home=tmp_path)
        took = time.monotonic() - begun
        mounts = {one["found"].partition(":")[0]: one for one in found(done)["mount"]}
        assert mounts[str(alive.path)]["state"] == "ok"
        assert "lost its process" in mounts[str(dead.path)]["found"]
        assert "hangs" in mounts[str(hung.path)]["found"]
        assert "not sent: the mount at" in found(done)["request"][0]["found"]
        assert took < 30
    finally:
        hung.signal(signal.SIGCONT)
        detach(dead.path)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as archive:
        text = "\n".join(
            archive.extractfile(member).read().decode()  # type: ignore[union-attr]  # a file
            for member in archive.getmembers()
        )
    assert '"rows"' in text
    assert "remotefs.mount" in text
    for name in ("Müller", "failed uploads", KEY, str(tmp_path), os.uname().nodename):
        assert name not in text
    assert "doctor.json" in done.stderr
    again = doctor("--offline", "--bundle", target, env=alive.env, home=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
