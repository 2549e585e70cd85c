"""The sessions of the documents print what the documents show: a reader who types along sees the same."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.docs.sessions import Transcript, blocks_of, shell, steps_of
from tests.docs.support import DOCS, REPOSITORY, documents
from tests.mount.support import environment

# The port that the documents give to a local server; here it may be taken.
PORT = "8377"
# What a reader waits a minute for. All else is as by default.
QUICK = {
    "REMOTEFS_REFRESH_POLL_IN_USE_S": "0.5", "REMOTEFS_REFRESH_REMOVAL_MIN_AGE_S": "0",
    "REMOTEFS_REFRESH_BUDGET_FRACTION": "1", "REMOTEFS_CACHE_RESERVE_BYTES": "1048576", "REMOTEFS_CACHE_RESERVE_FRACTION": "0",
    "REMOTEFS_MOUNT_SIGNAL_DRAIN_S": "3",
}  # fmt: skip
# The Python that a guide calls: it has the vendor's SDK.
SDK = REPOSITORY / ".envs" / "anthropic-2.14.0"
# `make run` without the installation, which has tests of its own; `ls` as on a terminal.
AS_A_READER = """
make() { case $1 in run) scripts/demo.sh start ;; stop) scripts/demo.sh stop ;; esac; }
ls() { if [ /dev/stdout -ef /proc/$$/fd/1 ]; then command ls -C -w 80 "$@"; else command ls "$@"; fi; }
"""
EACH_TIME = [REPOSITORY / "README.md", DOCS / "tutorial.md"]
SOMETIMES = [
    path for path in documents() if path not in EACH_TIME and "<!-- run -->" in path.read_text(encoding="utf-8")
]

pytestmark = pytest.mark.mount


def follow(document: Path, home: Path) -> str:
    """Type what a document tells the reader to type, in a home of their own; return where it printed something else."""
    other = ""
    copy_of_clone(home)
    transcript, port = Transcript(), free_port()
    with shell(home, reader(home)) as terminal:
        terminal.run(AS_A_READER)
        for block in blocks_of(document.read_text(encoding="utf-8")):
            for step in steps_of(block.text) if block.runs else ():
                printed = terminal.run(step.command.replace(PORT, port)).replace(port, PORT)
                if not transcript.agrees(step.shown, printed):
                    other += f"\n$ {step.command}\n{printed}\n--- the document shows:\n{step.shown}\n"
    return other


def reader(home: Path) -> dict[str, str]:
    """The environment of a reader who has installed remotefs, with nothing of this machine's own settings."""
    mine = {name: value for name, value in environment().items() if not name.startswith(("REMOTEFS_", "XDG_"))}
    tools = home / ".local" / "bin"
    return (
        mine
        | QUICK
        | {"HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}", "COLUMNS": "200", "LC_ALL": "C.UTF-8"}
    )


def copy_of_clone(home: Path) -> None:
    """Give a home the command `remotefs`, and the parts of a clone that `make run` uses."""
    commands = {
        ".local/bin/remotefs": f"{sys.executable} -m remotefs",
        ".venv/bin/remotefs": f"{sys.executable} -m remotefs",
        ".local/bin/python": SDK / "bin" / "python",
    }
    for path, program in commands.items():
        command = home / path
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(f'#!/bin/sh\nexec {program} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
    shutil.copytree(REPOSITORY / "scripts" / "samples", home / "scripts" / "samples")
    shutil.copy(REPOSITORY / "scripts" / "demo.sh", home / "scripts")
    shutil.copy(REPOSITORY / "README.md", home)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return str(listening.getsockname()[1])


def home_of(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.mark.parametrize("document", EACH_TIME, ids=lambda path: path.stem)
def test_a_reader_who_types_along_sees_the_same(document: Path, tmp_path: Path) -> None:
    if other := follow(document, home_of(tmp_path)):
        pytest.fail(other, pytrace=False)


@pytest.mark.long
@pytest.mark.parametrize("document", SOMETIMES, ids=lambda path: path.stem)
def test_the_same_in_the_guides(document: Path, tmp_path: Path) -> None:
    if other := follow(document, home_of(tmp_path)):
        pytest.fail(other, pytrace=False)


@pytest.mark.parametrize(
    ("shown", "printed", "agrees"),
    [
        ("a  b\n…\nc", "a b\n1\n2\nc\n", True),
        ("a …", "a 1\n", True),
        ("a", "a\nb\n", False),
        ("", "", True),
        ("", "a\n", False),
        ("file_aaaaaaaaaaaaaaaaaaaaaaaa file_aaaaaaaaaaaaaaaaaaaaaaaa", f"{'file_' + 'b' * 24} {'file_' + 'b' * 24}\n", True),
        ("file_aaaaaaaaaaaaaaaaaaaaaaaa file_aaaaaaaaaaaaaaaaaaaaaaaa", f"{'file_' + 'b' * 24} {'file_' + 'c' * 24}\n", False),
        ("file_aaaaaaaaaaaaaaaaaaaaaaaa file_eeeeeeeeeeeeeeeeeeeeeeee", f"{'file_' + 'b' * 24} {'file_' + 'b' * 24}\n", False),
        ("since 2026-01-01 10:00:00+00:00, 3 s", "since 2027-02-03 04:05:06+00:00, 0.5 s\n", True),
    ],
)  # fmt: skip
def test_what_counts_as_the_same(shown: str, printed: str, *, agrees: bool) -> None:
    assert Transcript().agrees(shown, printed) is agrees
