"""A mount as process 1, as in a container without an init process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import faulty_server
from tests.mount.support import environment, eventually, stored


@pytest.mark.mount
@pytest.mark.root("makes namespaces")
@pytest.mark.long
def test_a3_as_process_1_it_drains_on_sigterm(tmp_path: Path) -> None:
    mnt, state = tmp_path / "mnt", tmp_path / "state"
    mnt.mkdir()
    with faulty_server(tmp_path / "server") as server:
        outer = subprocess.Popen(
            [
                "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc",
                sys.executable, "-m", "remotefs", "mount", mnt, "--foreground", "--state-dir", state,
                "--base-url", server.url, "--durability", "local",
            ],
            env=environment(server.key, {"REMOTEFS_WRITEBACK_SETTLE_S": "60"}), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert outer.stderr is not None
            assert any("mounted; Ctrl-C drains" in line for line in outer.stderr)
            (inner,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            # Its mount is seen in its own namespace alone.
            root = Path(f"/proc/{inner}/root")
            (root / str(mnt).lstrip("/") / "f").write_text("content")
            assert stored(server) == {}
            assert not os.listdir(mnt)
            os.kill(int(inner), signal.SIGTERM)
            assert outer.wait(40) == 0
            eventually(lambda: stored(server) == {"f": b"content"})
        finally:
            outer.kill()
            outer.wait()
            assert outer.stderr is not None
            outer.stderr.close()
