"""`mount --local`: a mount with a server of its own, and the demo that a newcomer starts first."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.support import Mounted, detach, environment, eventually, is_mounted, is_running, remotefs, run, shell

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mounted]:
    """Started with `--local`; no key anywhere."""
    path = tmp_path / "mnt"
    path.mkdir()
    mount = Mounted(path, tmp_path / "state", environment(), ("--local", "--local-root", tmp_path / "root"))
    try:
        mount.started()
        yield mount
    finally:
        if is_mounted(path):
            mount.end()
        print(mount.log()[-4000:])


def server_pid(mount: Mounted) -> int:
    return int(json.loads((mount.state.parent / "root" / "server.json").read_text())["pid"])


def test_files_stay_over_remounts_and_the_server_ends_with_the_mount(mount: Mounted) -> None:
    shell("mkdir -p a/b; echo text > a/b/f; seq 1000 > numbers", mount.path)
    first = server_pid(mount)
    assert mount.umount().returncode == 0
    assert not is_running(first)

    mount.started()
    assert (mount.path / "a" / "b" / "f").read_text() == "text\n"
    assert shell("wc -l < numbers", mount.path).strip() == "1000"
    # Another state folder sees the same files: they are the server's.
    mount.end()
    shutil.rmtree(mount.state)
    mount.started()
    assert (mount.path / "a" / "b" / "f").read_text() == "text\n"


def test_a_server_that_dies_is_started_again(mount: Mounted) -> None:
    (mount.path / "before").write_text("x")
    old = server_pid(mount)
    os.kill(old, 9)
    (mount.path / "after").write_text("y")

    eventually(lambda: server_pid(mount) != old)
    mount.flush()
    assert sorted(os.listdir(mount.path)) == ["after", "before"]
    assert mount.xattr("after", "state") == "clean"


def test_the_server_does_not_outlive_a_mount_that_was_killed(mount: Mounted) -> None:
    (mount.path / "f").write_text("x")
    pid = server_pid(mount)
    mount.kill()
    eventually(lambda: not is_running(pid))
    mount.started()
    assert (mount.path / "f").read_text() == "x"


def test_its_folder_is_private_and_listens_on_loopback_alone(mount: Mounted) -> None:
    root = mount.state.parent / "root"
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "api-key").stat().st_mode) == 0o600
    assert json.loads((root / "server.json").read_text())["url"].startswith("http://127.0.0.1:")


def test_generated_files_show_up(mount: Mounted, tmp_path: Path) -> None:
    (tmp_path / "chart.csv").write_text("1,2\n")
    done = remotefs("generate", "--root", tmp_path / "root", tmp_path / "chart.csv")
    assert done.returncode == 0, done.stderr

    eventually(lambda: (mount.path / "chart.csv").exists())
    assert (mount.path / "chart.csv").read_text() == "1,2\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of what the demo needs, so that it does not meet the one that a person may have running."""
    copy = tmp_path / "my project"
    shutil.copytree(PROJECT / "scripts", copy / "scripts")
    (copy / ".venv" / "bin").mkdir(parents=True)
    command = copy / ".venv" / "bin" / "remotefs"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m remotefs "$@"\n')
    command.chmod(0o755)
    yield copy
    detach(copy / "mnt")


def demo(project: Path, verb: str) -> str:
    return run("scripts/demo.sh", verb, cwd=project, env=environment()).stdout


@pytest.mark.long
def test_the_demo_starts_and_stops_as_often_as_one_likes(project: Path) -> None:
    first = demo(project, "start")
    assert is_mounted(project / "mnt")
    assert "make stop" in first
    samples = sorted(path.name for path in (project / "scripts" / "samples" / "generated").iterdir())
    assert set(samples) <= set(os.listdir(project / "mnt"))
    (project / "mnt" / "mine.txt").write_text("kept")

    assert "already running" in demo(project, "start")
    demo(project, "stop")
    assert not is_mounted(project / "mnt")
    assert "not running" in demo(project, "stop")

    demo(project, "start")
    assert (project / "mnt" / "mine.txt").read_text() == "kept"
    # Samples that were removed do not come back.
    demo(project, "stop")
