"""H7: a mount goes on when the files of the program are replaced or removed, as an upgrade does."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import Drop, FaultyServer, HalfBody, Reply, faulty_server, html_too_large
from tests.mount.support import Mounted, environment, eventually, is_mounted, is_running, remotefs, run, shell

PACKAGE = Path(__file__).parents[2] / "remotefs"
# Loaded at the start of every Python: once FLAG exists, each import in a mount's process fails, as if nothing were
# installed any more.
GUARD = """
import os, sys
def forbid(event, arguments):
    if event == "import" and os.path.exists({flag!r}):
        with open({flag!r}, "a") as flag:
            flag.write(str(arguments[0]) + chr(10))
        raise ImportError(str(arguments[0]) + " is not installed any more")
if "remotefs.cli.launch.background" in sys.orig_argv:
    sys.addaudithook(forbid)
"""
# The packages of which a mount's process runs code after its start.
RUNNING = ("api", "check", "control", "data", "fuse", "mount", "store", "vfs")
INDENTED_IMPORT = re.compile(r"^ +(?:from [\w.]+ import .*|import [\w.]+)$", re.MULTILINE)
WORK = """
echo one > one; mkdir -p d/e; mv one d/two; ln d/two hard; ln -s hard sym; echo more >> d/two; rm hard
setfattr -n user.note -v x d/two; getfattr -d d/two; truncate -s 3 d/two; touch -d @1 d/two; chmod 600 d/two
dd if=/dev/urandom of=big bs=64k count=40 status=none; dd if=big of=/dev/null bs=4k skip=99 status=none
cat theirs.txt > mine; sed -i s/t/T/ mine; ls -lR . > /dev/null; df . > /dev/null; rmdir d/e; mkfifo pipe; rm pipe
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """The file that takes the installation away, and then names what a mount tried to load."""
    return tmp_path / "removed"


@pytest.fixture
def mounted(tmp_path: Path, server: FaultyServer, flag: Path) -> Iterator[Mounted]:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD.format(flag=str(flag)))
    (tmp_path / "mnt").mkdir()
    server.store.add_generated("theirs.txt", b"theirs")
    env = environment(server.key, {"REMOTEFS_METRICS_LISTEN": "unix:metrics.sock"}) | {
        "PYTHONPATH": f"{tmp_path / 'guard'}:{PACKAGE.parent}"
    }
    mount = Mounted(tmp_path / "mnt", tmp_path / "state", env, ("--base-url", server.url))
    try:
        mount.started()
        yield mount
    finally:
        if is_mounted(mount.path):
            mount.end()
    assert "Traceback" not in mount.log()


def commands(mounted: Mounted, outside: Path) -> list[tuple[object, ...]]:
    mnt = mounted.path
    return [
        ("check", mnt),
        ("export", mnt / "big", outside / "copy"),
        ("retype", "--dry-run", mnt),
        ("cache", "clear", mnt),
    ]


@pytest.mark.long
@pytest.mark.mount
def test_h7_a_mount_loads_nothing_after_its_start(
    tmp_path: Path, server: FaultyServer, mounted: Mounted, flag: Path
) -> None:
    """No modules of its own or of others, and no encodings, whatever it is asked and whatever fails."""
    flag.touch()
    shell(WORK, mounted.path)
    mounted.flush()
    for command in commands(mounted, tmp_path):
        done = remotefs(*command, env=environment(server.key))
        assert "not installed any more" not in done.stderr, command
    for trouble in (Drop(), Reply(500), Reply(429, headers={"retry-after": "1"}), HalfBody(), html_too_large()):
        server.script.add(trouble)
        shell("echo again >> mine; cat mine > /dev/null || true", mounted.path)
    mounted.flush()
    assert shell("cat d/two mine", mounted.path).startswith("oneTheirs")
    with socket.socket(socket.AF_UNIX) as scrape:
        scrape.connect(str(mounted.state / "metrics.sock"))
        scrape.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert scrape.makefile("rb").readline() == b"HTTP/1.1 200 \r\n"
    pid = mounted.pid
    run("fusermount3", "-u", mounted.path)
    eventually(lambda: not is_running(pid))
    assert flag.read_text() == ""


def test_h7_no_module_of_a_running_mount_imports_in_a_function() -> None:
    """What is imported when it is called can be gone by then. Metrics are loaded at the start of a mount that has them."""
    late = [
        f"{source.relative_to(PACKAGE)}: {line}"
        for name in RUNNING
        for source in sorted((PACKAGE / name).rglob("*.py"))
        for line in INDENTED_IMPORT.findall(source.read_text())
    ]
    assert {line.partition(":")[0] for line in late} <= {"mount/session.py"}
