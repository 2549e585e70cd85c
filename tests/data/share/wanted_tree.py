"""The tree that the shared map and the service's listing ask for (X3, S4). Pure: the same on all machines.

1. A file is there if and only if the service lists its id. A record alone never makes, hides or removes one.
2. A tombstone removes an entry, never a file. A folder with anything in it stays, whatever its record says; without a
   record of a folder it is *implied*.
3. Of several files with one path the newest has it, each other one is a conflict copy (N3). Attributes are by id.
4. Nothing has a parent, so nothing can come to lie in itself. Where a symbolic link or a node has the path of a folder
   with something in it, the folder is shown; the link comes back when the folder goes. Where one has the path of a
   file, the file is shown beside it, as a conflict copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from remotefs import names
from remotefs.data.share.records import EntryRecord, FileRecord, Record, entry_key, file_key


class ListedFile(NamedTuple):
    """A file as the service lists it: its id, its remote name, and its time of creation in unix nanoseconds."""

    file_id: str
    filename: str
    created_ns: int


class WantedFile(NamedTuple):
    """The paths of a file, at least one, and its attributes; None where no machine has told them."""

    paths: tuple[str, ...]
    record: FileRecord | None


class WantedTree(NamedTuple):
    """Files by id, entries by path, and the paths of folders that have no record and are there for what is in them."""

    files: dict[str, WantedFile]
    entries: dict[str, EntryRecord]
    implied: frozenset[str]


def wanted_tree(winners: Mapping[str, Record], listing: Iterable[ListedFile]) -> WantedTree:
    """Return the tree that `winners`, the map's record for each key, and the listed files ask for."""
    newest_first = sorted(listing, key=lambda file: (file.created_ns, file.file_id), reverse=True)
    records = {file.file_id: _file_record(winners, file.file_id) for file in newest_first}
    claims = [(path, file.file_id) for file in newest_first for path in _claimed(file, records[file.file_id])]
    live = _live_entries(winners)
    folders = _folders_above([*live, *(path for path, _ in claims)])
    entries = {path: record for path, record in live.items() if record.kind == "dir" or path not in folders}
    paths = _awarded(claims, {*entries, *folders})
    files = {file_id: WantedFile(tuple(sorted(paths[file_id])), record) for file_id, record in records.items()}
    return WantedTree(files, entries, frozenset(folders - entries.keys()))


def _file_record(winners: Mapping[str, Record], file_id: str) -> FileRecord | None:
    record = winners.get(file_key(file_id))
    assert not isinstance(record, EntryRecord)
    return record


def _claimed(file: ListedFile, record: FileRecord | None) -> tuple[str, ...]:
    """Return the paths that a file has where nothing else has them."""
    return (record.paths if record is not None else ()) or ("/".join(names.place(file.filename, file.file_id)),)


def _live_entries(winners: Mapping[str, Record]) -> dict[str, EntryRecord]:
    return {
        key.removeprefix(entry_key("")): record
        for key, record in winners.items()
        if isinstance(record, EntryRecord) and record.kind != "gone"
    }


def _folders_above(paths: Iterable[str]) -> set[str]:
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def _awarded(claims: list[tuple[str, str]], taken: set[str]) -> dict[str, list[str]]:
    """Return the paths of each file: what it claims, or a name beside it. `claims` begin with the newest file."""
    paths: dict[str, list[str]] = {file_id: [] for _, file_id in claims}
    beside = []
    for path, file_id in claims:
        if path in taken:
            beside.append((path, file_id))
        else:
            taken.add(path)
            paths[file_id].append(path)
    # Only now, because a path that a file claims is never taken by a conflict copy.
    for path, file_id in beside:
        free = _free_path(path, file_id, taken)
        taken.add(free)
        paths[file_id].append(free)
    return paths


def _free_path(path: str, file_id: str, taken: set[str]) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + names.conflict_name(name, file_id, lambda other: folder + slash + other in taken)
