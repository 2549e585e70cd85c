"""What the service has, compared with the tree; a terminal to drive editors in."""

from __future__ import annotations

import os
import pty
import re
import select
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from remotefs import names
from remotefs.config import NamesConfig
from remotefs.control.address import SOCKET_NAME
from remotefs.control.client import ControlClient
from remotefs.control.messages.status import FLUSH, FlushParams
from remotefs.server.queries import ListQuery
from remotefs.vfs.policy import NamePolicy
from tests.faults import FaultyServer
from tests.mount.support import PATIENCE_S, Mounted

POLICY = NamePolicy(NamesConfig())
_ALL = ListQuery(limit=1_000_000)


# -- the service and the tree


class TreeFile(NamedTuple):
    """A regular file of the mount: the filenames that its hard links ask for, one of which the service has."""

    filenames: set[str]
    content: bytes


def at_service(server: FaultyServer, beneath: str = "") -> dict[str, bytes]:
    """Content by filename of what lies beneath a folder. Two files of one name are a failure."""
    records = [r for r in server.store.list(_ALL).records if (names.decode(r.filename) or "").startswith(beneath)]
    assert len({record.filename for record in records}) == len(records), sorted(r.filename for r in records)
    return {record.filename: _bytes_of(server, record.id) for record in records}


def in_tree(root: Path, beneath: str = "") -> list[TreeFile]:
    """Every regular file of a mount, or of a folder in it, but for the names that never leave the machine (N6)."""
    files: dict[int, TreeFile] = {}
    # By descriptors: the tests make paths that are as long as the kernel takes them.
    for folder, _, file_names, fd in os.fwalk(root / beneath):
        for name in file_names:
            status = os.lstat(name, dir_fd=fd)
            path = str((Path(folder) / name).relative_to(root))
            if stat.S_ISREG(status.st_mode) and not POLICY.never_uploaded(path):
                if status.st_ino not in files:
                    files[status.st_ino] = TreeFile(set(), _content(name, fd))
                files[status.st_ino].filenames.add(names.remote_name(path))
    return list(files.values())


def _bytes_of(server: FaultyServer, file_id: str) -> bytes:
    # Not by a download: a faithful server refuses that of what was uploaded.
    with os.fdopen(server.store._blobs.open(file_id), "rb") as file:
        return file.read()


def _content(name: str, folder_fd: int) -> bytes:
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder_fd), "rb") as file:
        return file.read()


def flush(mount: Mounted) -> None:
    """What `remotefs flush` asks the mount for, without starting that program dozens of times."""
    client = ControlClient(mount.state / SOCKET_NAME)
    result = client.call(FLUSH, FlushParams(timeout_s=PATIENCE_S), timeout_s=2 * PATIENCE_S)
    assert result.left == 0, result.leftovers


def assert_service_has(server: FaultyServer, mount: Mounted, beneath: str = "") -> None:
    """Once nothing is pending, the service has each file of the tree, or of a folder, with its bytes, and no other."""
    flush(mount)
    files = in_tree(mount.path, beneath)
    stored = at_service(server, beneath)
    for file in files:
        asked = file.filenames & stored.keys()
        assert len(asked) == 1, (file.filenames, sorted(stored))
        filename = asked.pop()
        assert stored.pop(filename) == file.content, filename
    assert stored == {}


# -- terminals

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>78M])")


class Terminal:
    """A program in a pseudo-terminal: type, and wait for what it shows."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self._fd = fd
        self._shown = ""
        self.process = process

    def type(self, keys: str) -> None:
        self._shown = ""
        os.write(self._fd, keys.encode())

    def wait_for(self, text: str) -> None:
        """Until `text` was shown since the last keys."""
        while text not in self._read():
            assert self.process.poll() is None, f"it ended before it showed {text!r}: {self._shown}"

    def wait_for_end(self) -> int:
        """Its exit status; what it still shows is read, lest it waits for that."""
        with suppress(OSError):  # EIO: nobody has the other end open any more
            while self.process.poll() is None or self._is_ready(0):
                self._read()
        return self.process.wait(PATIENCE_S)

    def _read(self) -> str:
        end = time.monotonic() + PATIENCE_S
        while not self._is_ready(0.1):
            assert time.monotonic() < end, f"nothing more is shown after {self._shown!r}"
            if self.process.poll() is not None:
                return self._shown
        self._shown += _ESCAPES.sub("", os.read(self._fd, 65_536).decode(errors="replace"))
        return self._shown

    def _is_ready(self, timeout_s: float) -> bool:
        return bool(select.select([self._fd], [], [], timeout_s)[0])


@contextmanager
def terminal(*command: str, cwd: Path, env: Mapping[str, str]) -> Iterator[Terminal]:
    """A command in a terminal of its own, of 80 columns by 24 rows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={"TERM": "xterm", "LINES": "24", "COLUMNS": "80", **env},
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
