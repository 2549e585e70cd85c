"""The commands in odd situations, as a person meets them: odd names, several mounts, few descriptors, a mount that hangs."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import FaultyServer
from tests.mount.conftest import MakeMount
from tests.mount.support import is_mounted, is_running, remotefs

ODD = ["a\nremotefs: forged", "\x1b[31mred\x07", "gpj.\u202egnp", "-rf", "--help", " "]


@pytest.mark.long
def test_no_name_commands_the_terminal_or_forges_a_line(make_mount: MakeMount) -> None:
    mount = make_mount()
    for name in ODD:
        (mount.path / name).write_bytes(b"x")
    mount.flush()
    for name in ODD:
        identified = remotefs("id", "--", mount.path / name)
        assert identified.returncode == 0, identified.stderr
        found = remotefs("path", identified.stdout.strip(), "--mount", mount.path)
        assert found.stdout == f"{mount.path / name}\n"
        (mount.path / name).unlink()
        gone = remotefs("id", "--", mount.path / name)
        assert gone.returncode == 1
        assert len(gone.stderr.splitlines()) == 1
        assert gone.stderr.rstrip("\n").replace("\u202e", "\x1b").isprintable()
    log = (mount.state / "log" / "remotefs.log").read_text()
    assert all(line.isprintable() for line in log.split("\n"))


def test_a_name_that_is_not_utf8_is_refused_in_a_sentence(make_mount: MakeMount) -> None:
    mount = make_mount()
    for command in ("id", "pin", "flush", "retry", "sync"):
        done = subprocess.run(
            [sys.executable, "-m", "remotefs", command, os.fsencode(mount.path) + b"/\xff\n"],
            capture_output=True, env=mount.env, check=False,
        )  # fmt: skip
        assert done.returncode in {1, 2}, done
        assert done.stderr.count(b"\n") == 1
        assert b"internal error" not in done.stderr


def test_what_is_empty_is_said_to_be_so_and_the_root_has_a_name(make_mount: MakeMount) -> None:
    mount = make_mount()
    listed = remotefs("trash", "list", "--mount", mount.path)
    assert (listed.stdout, listed.stderr, listed.returncode) == ("", "remotefs: the trash is empty\n", 0)
    root = remotefs("id", "--json", mount.path)
    assert (root.stdout, root.returncode) == ("[]\n", 0)
    os.mkfifo(mount.path / "pipe")
    pipe = remotefs("id", mount.path / "pipe")
    assert pipe.stderr == "remotefs: pipe: neither a regular file nor a folder, so it is not a file of the service\n"
    assert pipe.returncode == 1


@pytest.mark.long
def test_a_command_for_one_of_several_mounts_says_how_it_is_chosen(make_mount: MakeMount) -> None:
    one, other = make_mount(), make_mount()
    for command in (["check"], ["backup", one.path.parent / "copy"]):
        done = remotefs(*command)
        assert done.returncode == 2
        assert "choose one as MOUNTPOINT (" in done.stderr
        assert str(one.path) in done.stderr
        assert str(other.path) in done.stderr
    for words in (["trash", "list"], ["cache", "info"], ["path", "file_x"], ["accept-removals"]):
        assert "choose one with --mount (" in remotefs(*words).stderr


@pytest.mark.long
def test_a_mount_that_hangs_is_taken_down_and_hangs_no_command(make_mount: MakeMount) -> None:
    mount = make_mount()
    pid = mount.pid
    mount.signal(signal.SIGSTOP)
    try:
        again = remotefs("mount", mount.path, "--local", timeout=40)
        assert again.returncode in {1, 2}
        assert "hangs" in again.stderr
        down = remotefs("umount", mount.path, timeout=40)
        assert (down.returncode, "unmounting it with fusermount3" in down.stderr) == (0, True), down.stderr
        assert not is_mounted(mount.path)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert re.search(r"nothing is mounted", remotefs("umount", mount.path).stderr)


@pytest.mark.long
def test_few_descriptors_are_refused_before_the_mount(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount()
    mount.end()
    done = subprocess.run(
        [sys.executable, "-m", "remotefs", "mount", str(mount.path), "--state-dir", str(mount.state)],
        capture_output=True, text=True, env=mount.env, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "a mount needs 256 open files, and only 64 are allowed here" in done.stderr
    assert not is_mounted(mount.path)
    mount.started()
    assert is_running(mount.pid)
    soft = re.search(r"Max open files +(\d+)", Path(f"/proc/{mount.pid}/limits").read_text())
    assert soft is not None
    assert int(soft[1]) >= 1024
    mount.end()
