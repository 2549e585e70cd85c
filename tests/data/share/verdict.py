"""What must hold of machines that have read all logs: said without the code that is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from remotefs import names
from remotefs.data.share.records import EntryRecord, FileRecord, Record, canonical
from tests.data.share.fold import SharedMap
from tests.data.share.wanted_tree import ListedFile, WantedTree

if TYPE_CHECKING:
    from tests.data.share.machines import Machine, World


def all_agree(machines: Sequence[Machine]) -> None:
    """All machines have the same map, and the same tree."""
    first, *others = [_state(machine.map, machine.world) for machine in machines]
    assert all(other == first for other in others)
    tree, *trees = [machine.tree() for machine in machines]
    assert all(other == tree for other in trees)


def latest_hold(shared: SharedMap, world: World) -> None:
    """For each key the record of the last writer holds: the last by stamp, and by the real time where clocks are right.

    A record that never got into the store was written again under another stamp.
    """
    keys = {key for key in world.written if _is_alive(key, world)}
    assert set(filter(partial(_is_alive, world=world), shared.keys())) == keys
    for key in keys:
        written = [(stamp, record) for stamp, record in world.written[key] if (key, stamp) in world.published]
        assert (shared.stamp(key), shared.winner(key)) == max(
            written, key=lambda stamped: (stamped[0], canonical(stamped[1]))
        )
        if world.clocks_are_right:
            assert shared.winner(key) == written[-1][1]


def _is_alive(key: str, world: World) -> bool:
    """Return whether a record matters: it dies with its file."""
    return not key.startswith("f/") or key[2:] in world.files


def tree_is_right(tree: WantedTree, winners: Mapping[str, Record], files: Mapping[str, ListedFile]) -> None:
    """Every listed file is shown, no other one; paths are distinct; entries are those that are not gone."""
    assert tree.files.keys() == files.keys()
    _paths_are_distinct(tree)
    _folders_are_right(tree)
    live = {
        key[2:]: record for key, record in winners.items() if isinstance(record, EntryRecord) and record.kind != "gone"
    }
    assert tree.entries.items() <= live.items()
    assert all(path in tree.implied and live[path].kind != "dir" for path in live.keys() - tree.entries.keys())
    _files_are_right(tree, winners, files)


def _state(shared: SharedMap, world: World) -> dict[str, object]:
    return {key: (shared.stamp(key), shared.winner(key)) for key in sorted(shared.keys()) if _is_alive(key, world)}


def _paths_are_distinct(tree: WantedTree) -> None:
    paths = [*tree.entries, *tree.implied, *(path for file in tree.files.values() for path in file.paths)]
    assert len(paths) == len(set(paths))


def _folders_are_right(tree: WantedTree) -> None:
    folders = tree.implied | {path for path, record in tree.entries.items() if record.kind == "dir"} | {""}
    shown = {*tree.entries, *tree.implied, *(path for file in tree.files.values() for path in file.paths)}
    assert {path.rpartition("/")[0] for path in shown} <= folders
    assert tree.implied <= {path.rpartition("/")[0] for path in shown}


def _files_are_right(tree: WantedTree, winners: Mapping[str, Record], files: Mapping[str, ListedFile]) -> None:
    newest: dict[str, tuple[int, str]] = {}
    for file_id, file in files.items():
        record = winners.get(f"f/{file_id}")
        assert tree.files[file_id].record == record
        paths = (
            record.paths if isinstance(record, FileRecord) and record.paths else (names.decode(file.filename) or "",)
        )
        assert len(tree.files[file_id].paths) == len(paths)
        for path in paths:
            newest[path] = max(newest.get(path, (0, "")), (file.created_ns, file_id))
    for path, (_, file_id) in newest.items():
        assert (path in tree.files[file_id].paths) == (path not in tree.entries and path not in tree.implied)
