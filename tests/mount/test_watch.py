"""M5: `remotefs watch` prints what others do, and runs a command for it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults import FaultyServer
from tests.mount.support import Mounted, eventually, ops, remote, remotefs


def add(server: FaultyServer, path: str, data: bytes = b"bytes") -> str:
    return server.store.add(remote(path), data, downloadable=True).id


@contextmanager
def watching(mount: Mounted, output: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A running command whose output goes to a file; it has begun."""
    words = [sys.executable, "-m", "remotefs", "watch", *map(str, arguments)]
    with output.open("w") as file, subprocess.Popen(
        words, stdout=file, stderr=subprocess.STDOUT, text=True, env=mount.env, cwd="/"
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def lines(output: Path) -> list[str]:
    return output.read_text().splitlines()


def test_m5_watch_prints_what_others_do_and_runs_a_command_for_each(
    mount: Mounted, server: FaultyServer, tmp_path: Path
) -> None:
    add(server, "stays")
    old = add(server, "d/replaced")
    eventually(lambda: (mount.path / "d" / "replaced").exists())
    (mount.path / "mine").write_bytes(b"mine")
    mount.flush()
    program = ("--", "sh", "-c", 'echo "ran $1 $WATCHED_EVENT"', "-", "{}")
    output, seen = tmp_path / "output", tmp_path / "seen"
    with (
        watching(mount, output, "--since", "1h", "--json", mount.path),
        watching(mount, seen, "--since", "1h", mount.path / "d", *program) as second,
    ):
        new = add(server, "d/replaced", b"newer")
        gone = add(server, "gone")
        eventually(lambda: any('"added"' in line for line in lines(output)))
        eventually(lambda: (mount.path / "gone").exists())
        server.store.delete(gone)
        eventually(lambda: any('"removed"' in line for line in lines(output)))
        eventually(lambda: any("replaced" in line for line in lines(seen) if line.startswith("ran")))
        second.send_signal(signal.SIGINT)
        assert second.wait(10) == 130
    events = [json.loads(line) for line in lines(output)]
    found = {(event["event"], event.get("path", "").removeprefix(f"{mount.path}/")) for event in events}
    copy = f"d/replaced [{old}]"
    expected = {("added", "stays"), ("moved", copy), ("replaced", "d/replaced"), ("added", "gone"), ("removed", "gone")}
    # The log began with the state folder: what was before is told as lost. Own changes are no events.
    assert expected <= found
    assert found - expected <= {("lost", ""), ("added", "d/replaced")}
    [replaced] = [event for event in events if event["event"] == "replaced"]
    assert (replaced["id"], replaced["size"], replaced["generated"]) == (new, 5, True)
    assert f"ran {mount.path}/d/replaced replaced" in lines(seen)
    assert not any(line.startswith("ran") and "gone" in line for line in lines(seen))
    # The uploads of this mount are all that was asked for.
    assert set(ops(server)) <= {"upload"}

    # A later mount has the log, too, and its end ends a follower.
    mount.remount()
    again = tmp_path / "again"
    with watching(mount, again, "--since", "1h", mount.path) as follower:
        eventually(lambda: any(line.startswith("removed") for line in lines(again)))
        mount.end()
        assert follower.wait(30) == 1
    assert "has ended" in lines(again)[-1]
    mount.started()


def test_m5_watch_says_what_is_wrong(mount: Mounted, tmp_path: Path) -> None:
    for arguments, words in (
        ((mount.path, "more"), "write -- before the command"),
        (("--since", "never", mount.path), "'never' is not valid"),
        ((tmp_path,), "is not in a remotefs mount"),
    ):
        done = remotefs("watch", *arguments, env=mount.env)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
