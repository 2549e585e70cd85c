"""What the service has, beside what it is to have: the model's files that are uploaded, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from remotefs import names
from remotefs.config import Config
from remotefs.server.queries import ListQuery
from remotefs.vfs.policy import NamePolicy
from tests.faults import FaultyServer
from tests.model.model import Model

_POLICY = NamePolicy(Config().names)


class Served(NamedTuple):
    """A file of the service."""

    name: str
    data: bytes


def served(server: FaultyServer, prefix: str = "") -> dict[str, Served]:
    """What the service has below a folder, by id. Not by downloads: a faithful server refuses those."""
    start = names.remote_name(f"{prefix}x")[:-1]
    found = {}
    for record in server.store.list(ListQuery(limit=1000)).records:
        if record.filename.startswith(start):
            with open(server.store._blobs.open(record.id), "rb") as file:
                found[record.id] = Served(record.filename, file.read())
    return found


def assert_served(files: dict[str, Served], model: Model, ids_of_others: Mapping[str, str], prefix: str = "") -> None:
    """After a drain: each file that is to be uploaded is at the service as it is here, and nothing else is.

    `ids_of_others` has the id of each file of somebody else by the model's label; paths stand below `prefix`.
    """
    files, kept_here = dict(files), 0
    for node, paths in model.files():
        if node.foreign_id is not None:
            assert files.pop(ids_of_others[node.foreign_id]).data == node.data, paths
        elif wanted := {names.remote_name(prefix + path) for path in paths if not _POLICY.never_uploaded(path)}:
            fitting = [i for i, file in files.items() if file.name in wanted and file.data == node.data]
            assert fitting, f"{paths} is not at the service, which has {[file.name for file in files.values()]}"
            del files[fitting[0]]
        else:
            kept_here += 1
    # What was uploaded under an ordinary name and moved to one that is not stays at the service (N6).
    assert len(files) <= kept_here, f"too much at the service: {[file.name for file in files.values()]}"
