"""How programs save a file that is there already: the programs themselves, or their system calls one after another."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from tests.mount.support import run

CONTENT = b"saved anew\n" * 1000


def write_new(path: Path, content: bytes = CONTENT, *, sync: bool = False) -> None:
    """Make a file that must not be there, in two writes."""
    _put(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), content, sync=sync)


def by_vscode(path: Path) -> None:
    """VS Code: truncate at open, write, fdatasync."""
    _put(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), CONTENT, sync=True)


def by_libreoffice_renaming(path: Path) -> None:
    """LibreOffice on a folder it may write to: its lock file, a temporary file that takes the name."""
    lock = path.with_name(f".~lock.{path.name}#")
    write_new(lock, b",user,host,01.01.2026 00:00,file:///home/user;")
    path.read_bytes()
    temporary = path.with_name("lu4711abcd.tmp")
    write_new(temporary)
    temporary.chmod(0o644)
    temporary.rename(path)
    lock.unlink()


def by_libreoffice_in_place(path: Path) -> None:
    """LibreOffice elsewhere: a copy for safety, then the document is written over and cut to its new length."""
    lock = path.with_name(f".~lock.{path.name}#")
    write_new(lock, b",user,host,01.01.2026 00:00,file:///home/user;")
    backup = path.with_name("lu0815abcd.tmp")
    write_new(backup, path.read_bytes())
    fd = os.open(path, os.O_RDWR)
    os.write(fd, CONTENT)
    os.ftruncate(fd, len(CONTENT))
    os.close(fd)
    backup.unlink()
    lock.unlink()


def by_jetbrains(path: Path) -> None:
    """JetBrains' safe write: the old file steps aside, the new one takes its place, the old one goes."""
    temporary, old = path.with_name(f"{path.name}___jb_tmp___"), path.with_name(f"{path.name}___jb_old___")
    write_new(temporary)
    path.rename(old)
    temporary.rename(path)
    old.unlink()


def by_gedit(path: Path, *options: str) -> None:
    """gedit and all that saves with GIO, here its own command: `.goutputstream-XXXXXX` is renamed over the file."""
    run("gio", "save", *options, path, input=CONTENT.decode())


def by_vim(path: Path, *settings: str) -> None:
    """Vim with its swap file; by default the old file steps aside (`f~`) and goes (`writebackup`)."""
    # Vim makes no backups below /tmp, where tests may have their mounts, unless it is told to.
    commands = [word for setting in ("swapfile", "backupskip=", *settings) for word in ("-c", f"set {setting}")]
    run("vim", "-N", "-u", "NONE", "-i", "NONE", "-es", *commands, "-c", "normal Oanew", "-c", "wq", path)


def by_nano(path: Path) -> None:
    """nano on a terminal: type, and leave with saving."""
    command = f"stty cols 80 rows 24; exec nano --ignorercfiles --saveonexit {shlex.quote(path.name)}"
    with subprocess.Popen(
        ["script", "-qec", command, "/dev/null"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=path.parent, env=os.environ | {"TERM": "xterm"}, bufsize=0,
    ) as nano:  # fmt: skip
        assert nano.stdin is not None
        assert nano.stdout is not None
        screen = b""
        # The last line of its help; then it reads keys.
        while b"Go To Line" not in screen:
            screen += nano.stdout.read(4096)
            assert nano.poll() is None, screen
        nano.stdin.write(b"anew\x18")
        while nano.stdout.read(4096):
            pass
    assert nano.returncode == 0


def _put(fd: int, content: bytes, *, sync: bool) -> None:
    try:
        half = len(content) // 2
        os.write(fd, content[:half])
        os.write(fd, content[half:])
        if sync:
            os.fdatasync(fd)
    finally:
        os.close(fd)
