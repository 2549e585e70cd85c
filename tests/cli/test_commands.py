"""The command line as a person meets it: processes of their own, what they say, how they end."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from remotefs import __version__
from remotefs.cli.main import build_app
from remotefs.control.lock import Holder, lock_state

REPOSITORY = Path(__file__).parents[2]


class Shell:
    """Runs `remotefs` in a home of its own, without any key."""

    def __init__(self, home: Path) -> None:
        self.home = home
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "REMOTEFS_"))}
        self.environment = {**clean, "HOME": str(home), "XDG_DATA_HOME": str(home / "data")}

    def __call__(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "remotefs", *map(str, arguments)],
            env={**self.environment, **environment},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def remotefs(tmp_path: Path) -> Shell:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mnt").mkdir()
    (home / "file").touch()
    (home / "full").mkdir()
    (home / "full" / "thesis.tex").touch()
    return Shell(home)


def test_the_version(remotefs: Shell) -> None:
    done = remotefs("--version")
    assert done.stdout == f"remotefs {__version__}\n"
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mount", "mnt"], r"no key: set ANTHROPIC_API_KEY .*--local"),
        (["mount", "--local", "missing"], r"missing does not exist"),
        (["mount", "--local", "file"], r"file is not a folder"),
        (["mount", "--local", "full"], r"full is not empty .*thesis\.tex"),
        (["mount", "--local", "/proc"], r"/proc is already a mountpoint: proc"),
        (["mount", "--local", "mnt", "-o", "ro,bogus"], r"-o bogus: no such option; known are .*allow_other"),
        (["mount", "--local", "mnt", "--base-url", "http://127.0.0.1:1"], r"exclude each other"),
        (["mount", "mnt", "--local-root", "root"], r"needs --local"),
        (["mount", "--local", "mnt", "--config", "missing.toml"], r"missing\.toml: there is no such file"),
        (["umount", "mnt"], r"nothing is mounted at mnt"),
        (["umount", "/proc"], r"/proc is not a remotefs mount but proc"),
        (["status", "mnt"], r"mnt is not in a remotefs mount"),
        (["flush", "full/thesis.tex"], r"not in a remotefs mount"),
        (["id", "file"], r"not in a remotefs mount"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_2(remotefs: Shell, arguments: list[str], said: str) -> None:
    done = remotefs(*arguments)
    assert re.fullmatch(rf"remotefs: .*{said}.*\n", done.stderr)
    assert done.stdout == ""
    assert done.returncode == 2


@pytest.mark.mount
@pytest.mark.parametrize(
    ("state_dir", "said"),
    [
        ("file", r"is, or lies below, a file"),
        ("full", r"not a state folder of remotefs .*thesis\.tex"),
        ("mnt/state", r"keep them apart"),
    ],
)
def test_a_state_folder_that_cannot_be_is_refused(remotefs: Shell, state_dir: str, said: str) -> None:
    done = remotefs("mount", "--local", "mnt", "--state-dir", state_dir)
    assert re.search(said, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.returncode != 0
    assert sorted(entry.name for entry in remotefs.home.iterdir()) == ["file", "full", "mnt"]


@pytest.mark.mount
def test_a_state_folder_in_use_is_refused_with_its_user(remotefs: Shell, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with lock_state(state, Holder(pid=4711, mountpoint="/mnt/other")):
        done = remotefs(
            "mount", "mnt", "--state-dir", state, ANTHROPIC_API_KEY="sk-x", REMOTEFS_MOUNT_TAKEOVER_WAIT_S="0"
        )
    assert "process 4711, mounted at /mnt/other" in done.stderr
    assert done.returncode == 1


@pytest.mark.mount
def test_a_first_mount_without_the_network_says_so_and_shows_no_key(remotefs: Shell) -> None:
    with socket.socket() as silent:
        # Bound and never listened on: connections are refused, and nobody else gets the port.
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = remotefs("mount", "mnt", "--base-url", url, ANTHROPIC_API_KEY="sk-hush")
    assert "cannot be reached" in done.stderr
    assert "sk-hush" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_a_machine_without_fusermount3_is_told_so(remotefs: Shell) -> None:
    done = remotefs("mount", "--local", "mnt", PATH="/nowhere")
    assert "install the package fuse3" in done.stderr
    assert done.returncode == 1


def test_a_wrong_setting_is_named_with_its_origin(remotefs: Shell) -> None:
    done = remotefs("mount", "--local", "mnt", REMOTEFS_SERVICE_IO_TIMEOUT_S="soon")
    assert done.stderr.startswith("remotefs: REMOTEFS_SERVICE_IO_TIMEOUT_S: 'soon' is not valid")
    assert "io_timeout_s" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("command", ["status", "mount", "umount"])
def test_a_command_does_not_wait_for_libraries_that_it_does_without(remotefs: Shell, command: str) -> None:
    loaded = remotefs(command, "mnt", PYTHONPROFILEIMPORTTIME="1").stderr
    assert "remotefs.cli.main" in loaded
    assert re.findall(r"\| +((?:trio|httpx|pyfuse3|rich|ssl))$", loaded, re.MULTILINE) == []


def test_debugging_shows_where_it_came_from(remotefs: Shell) -> None:
    assert "Traceback" in remotefs("umount", "mnt", REMOTEFS_DEBUG="1").stderr


def test_nothing_that_can_be_said_is_without_help() -> None:
    silent = [
        " ".join([*words, parameter.name or ""])
        for words, command in _commands(typer.main.get_command(build_app()))
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]
    assert silent == []
    assert all(command.help for _, command in _commands(typer.main.get_command(build_app())))


def test_the_overview_names_every_command_in_a_sentence_that_fits(remotefs: Shell) -> None:
    overview = remotefs("--help", COLUMNS="80").stdout
    names = [words[0] for words, _ in _commands(typer.main.get_command(build_app())) if words]
    assert {"mount", "umount", "status", "flush", "id", "serve", "generate"} <= set(names)
    for name in names:
        assert re.search(rf"^  {name} +\S", overview, re.MULTILINE)


@pytest.mark.parametrize("argument", ["start", "stop"])
def test_the_demo_script_is_a_script(argument: str) -> None:
    script = REPOSITORY / "scripts" / "demo.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert f"{argument})" in script.read_text()


def test_the_demo_script_says_how_it_is_used() -> None:
    done = subprocess.run([REPOSITORY / "scripts" / "demo.sh", "dance"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "start|stop" in done.stderr


def test_stopping_the_demo_where_nothing_runs_is_harmless(tmp_path: Path) -> None:
    script = tmp_path / "a checkout" / "scripts" / "demo.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts" / "demo.sh", script)
    for _ in range(2):
        done = subprocess.run([script, "stop"], capture_output=True, text=True, check=True)
        assert done.stdout == "not running\n"


def _commands(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command or a group with all in it, each with the words that call it."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, *words, name)
