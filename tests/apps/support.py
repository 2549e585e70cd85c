"""What the service has, compared with the tree."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from remotefs import names
from remotefs.config import NamesConfig
from remotefs.server.queries import ListQuery
from remotefs.vfs.policy import NamePolicy
from tests.faults import FaultyServer
from tests.mount.support import Mounted, eventually

_POLICY = NamePolicy(NamesConfig())


class TreeFile(NamedTuple):
    """A regular file of the mount: the filenames that its hard links ask for, one of which the service has."""

    filenames: set[str]
    content: bytes


def at_service(server: FaultyServer) -> dict[str, bytes]:
    """Content by filename. Two files of one name are a failure."""
    records = server.store.list(ListQuery(limit=1000)).records
    assert len({record.filename for record in records}) == len(records), sorted(r.filename for r in records)
    # Not by a download: a faithful server refuses that of what was uploaded.
    return {record.filename: Path(server.store._blobs.open(record.id)).read_bytes() for record in records}


def in_tree(root: Path) -> list[TreeFile]:
    """Every regular file of a mount that is not of the names which never leave the machine (N6)."""
    files: dict[int, TreeFile] = {}
    # By descriptors: the tests make paths that are as long as the kernel takes them.
    for folder, _, file_names, fd in os.fwalk(root):
        for name in file_names:
            status = os.lstat(name, dir_fd=fd)
            path = os.path.relpath(os.path.join(folder, name), root)
            if stat.S_ISREG(status.st_mode) and not _POLICY.never_uploaded(path):
                if status.st_ino not in files:
                    files[status.st_ino] = TreeFile(set(), _content(name, fd))
                files[status.st_ino].filenames.add(names.remote_name(path).name)
    return list(files.values())


def _content(name: str, folder_fd: int) -> bytes:
    with open(os.open(name, os.O_RDONLY, dir_fd=folder_fd), "rb") as file:
        return file.read()


def assert_service_has(server: FaultyServer, mount: Mounted) -> None:
    """Once nothing is pending, the service has each file of the tree under its name and with its bytes, and no other."""
    mount.flush()
    files = in_tree(mount.path)
    eventually(lambda: len(server.store.list(ListQuery(limit=1000)).records) <= len(files))
    stored = at_service(server)
    for file in files:
        (filename,) = file.filenames & stored.keys()
        assert stored.pop(filename) == file.content, filename
    assert stored == {}
