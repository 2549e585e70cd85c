"""What the service has, compared with the tree."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from remotefs import names
from remotefs.config import NamesConfig
from remotefs.server.queries import ListQuery
from remotefs.vfs.policy import NamePolicy
from tests.faults import FaultyServer
from tests.mount.support import Mounted, eventually

_POLICY = NamePolicy(NamesConfig())


def uploads_of(server: FaultyServer) -> list[tuple[str, bytes]]:
    """(filename, content) of everything that the service has, sorted."""
    records = server.store.list(ListQuery(limit=1000)).records
    # Not by a download: a faithful server refuses that of what was uploaded.
    return sorted((record.filename, Path(server.store._blobs.open(record.id)).read_bytes()) for record in records)


def tree_of(root: Path) -> list[tuple[str, bytes]]:
    """(filename, content) as the service should have it of every regular file of a mount, sorted; read once an inode."""
    found: dict[int, tuple[str, Path]] = {}
    for folder, _, files in os.walk(root):
        for path in (Path(folder, name) for name in files):
            status = path.lstat()
            relative = str(path.relative_to(root))
            # Further names of one file: the service knows it by one of them, told by `assert_service_has`.
            if stat.S_ISREG(status.st_mode) and not _POLICY.never_uploaded(relative):
                found.setdefault(status.st_ino, (names.remote_name(relative).name, path))
    return sorted((name, path.read_bytes()) for name, path in found.values())


def assert_service_has(server: FaultyServer, mount: Mounted) -> None:
    """Once nothing is pending, the service has each file of the tree under its name and with its bytes, and no other."""
    mount.flush()
    wanted = tree_of(mount.path)
    # A removal may still be under way: `flush` waits for what is to arrive there.
    eventually(lambda: len(uploads_of(server)) <= len(wanted))
    assert uploads_of(server) == wanted
