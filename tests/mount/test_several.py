"""Commands that ask several mounts: one that is dead or hangs hides nothing of the others (H3)."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.mount.conftest import MakeMount
from tests.mount.support import detach, remotefs


def test_a_dead_and_a_hung_mount_hide_nothing_of_the_others(make_mount: MakeMount) -> None:
    """One mount's process was killed, another's stands still, the third works."""
    # The kernel answers nothing of the hung one from its cache.
    hung = make_mount(settings={"REMOTEFS_MOUNT_ENTRY_TIMEOUT_S": "0"})
    dead, alive = make_mount(), make_mount()
    (alive.path / "f").write_bytes(b"bytes")
    dead.kill()
    hung.signal(signal.SIGSTOP)
    try:
        listed = remotefs("status", "--json")
        answers = {answer["mountpoint"]: answer for answer in map(json.loads, listed.stdout.splitlines())}
        assert answers[str(alive.path)]["pid"] == alive.pid
        assert "lost its process" in answers[str(dead.path)]["error"]
        assert "hangs" in answers[str(hung.path)]["error"]
        assert listed.returncode == 1
        shown = remotefs("status").stdout
        assert all(str(mount.path) in shown for mount in (dead, hung, alive))
        flushed = remotefs("flush", dead.path, hung.path, alive.path, "--timeout", 5)
        assert flushed.returncode == 1
        assert _told(flushed.stderr, dead.path, hung.path) == [True, True]
        assert not _told(flushed.stderr, alive.path)[0]
        assert alive.status().pending == ()
        retried = remotefs("retry", dead.path, alive.path)
        assert (retried.returncode, "0 changes are tried again" in retried.stderr) == (1, True)
    finally:
        hung.signal(signal.SIGCONT)
        detach(dead.path)


def _told(text: str, *paths: Path) -> list[bool]:
    return [f"remotefs: {path}: " in text for path in paths]
