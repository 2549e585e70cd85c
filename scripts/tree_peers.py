"""Other file systems with the same tree, each mounted anew and unmounted at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.peers import SFTP_SERVER
from tests.mount.support import detach, eventually, is_mounted


@dataclass(frozen=True)
class Tree:
    """So many files, spread over so many folders."""

    folders: int
    files: int


@dataclass(frozen=True)
class Place:
    """A mounted folder, and the process that serves it, if one does."""

    path: Path
    pid: int | None = None


def on_disk(folder: Path, tree: Tree) -> Iterator[Place]:
    path = made_tree(folder, tree)
    if os.geteuid() == 0:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("2")
    yield Place(path)


def on_bare_tree(folder: Path, tree: Tree) -> Iterator[Place]:
    script = Path(__file__).parent / "bare_tree.py"
    yield from serving(folder / "bare", [sys.executable, script, folder / "bare", tree.folders, tree.files])


def on_sshfs(folder: Path, tree: Tree) -> Iterator[Place]:
    # The server's program on a pipe: no daemon, no network, no encryption.
    script = folder / "sftp"
    script.write_text(f"#!/bin/sh\nexec {SFTP_SERVER}\n")
    script.chmod(0o700)
    source = made_tree(folder, tree)
    command = ["sshfs", "-f", "-o", f"ssh_command={script}", f"localhost:{source}", folder / "sshfs"]
    yield from serving(folder / "sshfs", command)


def on_rclone(folder: Path, tree: Tree) -> Iterator[Place]:
    source = made_tree(folder, tree)
    yield from serving(folder / "rclone", ["rclone", "mount", source, folder / "rclone", "--config", "/dev/null"])


PEERS: dict[str, Callable[[Path, Tree], Iterator[Place]]] = {
    "ext4, or what the folder lies on": on_disk,
    "a bare tree in memory on pyfuse3": on_bare_tree,
    "sshfs, the server on a pipe": on_sshfs,
    "rclone mount of a local folder": on_rclone,
}


def is_there(name: str) -> bool:
    program = name.partition(" ")[0].rstrip(",")
    if program == "sshfs" and not SFTP_SERVER.exists():
        return False
    return program not in {"sshfs", "rclone"} or shutil.which(program) is not None


def made_tree(folder: Path, tree: Tree) -> Path:
    """The same tree on the disk; made once."""
    root = folder / "tree"
    if not root.exists():
        for n in range(tree.folders):
            (root / f"dir{n:04}").mkdir(parents=True)
        for n in range(tree.files):
            (root / f"dir{n % tree.folders:04}" / f"file-{n}.txt").write_bytes(b"1")
    return root


def serving(path: Path, command: list[object]) -> Iterator[Place]:
    path.mkdir()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: is_mounted(path) or process.poll() is not None)
        assert is_mounted(path), f"{command[0]} ended with {process.poll()}"
        yield Place(path, process.pid)
    finally:
        detach(path)
        process.wait(30)
