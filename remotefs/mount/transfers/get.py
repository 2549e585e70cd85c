"""`remotefs get`: from what is named to what became of each file, and through a running mount."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from remotefs.control.find import FoundMount
from remotefs.errors import InvalidArgument, UsageError
from remotefs.mount.transfers.downloads import Downloads, Origin
from remotefs.mount.transfers.mounted_origin import MountedOrigin
from remotefs.mount.transfers.placing import check_place, repeated
from remotefs.mount.transfers.put import Stage
from remotefs.mount.transfers.records import Download, Kind, Transferred

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class GetRequest(NamedTuple):
    """What to fetch: paths of the tree or file ids, or with `generated` all that was made, and how old at most.

    `destination` is absolute; `is_folder` where it was written as one. `force` replaces files that are there.
    """

    names: tuple[str, ...]
    destination: Path
    is_folder: bool = False
    generated: bool = False
    since_s: float | None = None
    force: bool = False


async def get_from_mount(request: GetRequest, mount: FoundMount, stage: Stage) -> list[Transferred]:
    """Fetch through a running mount. Return what became of each file. Raises UsageError, TransportError, OSError."""
    return await get(request, MountedOrigin(mount), stage)


async def get(request: GetRequest, origin: Origin, stage: Stage) -> list[Transferred]:
    """Fetch files and folders of the tree to this machine. Return what became of each. Raises UsageError, OSError."""
    found: list[list[Download]] = []
    missing: list[str] = []
    for name in await _names(request, origin):
        entries = await _find(origin, name)
        if entries:
            found.append(entries)
        else:
            missing.append(name)
    folder, tops = _destination(request, found, len(found) + len(missing))
    downloads = Downloads(origin, folder, force=request.force)
    for name in missing:
        downloads.refuse(name, folder, "no file or folder of the tree, and no id of one")
    planned = _placed(found, tops, downloads, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with stage("fetching") as report:
        await downloads.copy(planned, report)
    return sorted(downloads.done, key=lambda file: file.path)


async def _names(request: GetRequest, origin: Origin) -> list[str]:
    if not request.generated:
        return list(dict.fromkeys(request.names))
    return sorted(await origin.generated(request.since_s))


async def _find(origin: Origin, name: str) -> list[Download]:
    """Return what a path of the tree has, else the file of an id."""
    entries = await origin.find(name)
    if entries or not _ID.fullmatch(name):
        return entries
    [path] = await origin.paths_of([name])
    return await origin.find(path) if path is not None else []


def _destination(request: GetRequest, found: list[list[Download]], named: int) -> tuple[Path, list[tuple[str, ...]]]:
    """Return the folder to fetch into and the place of each entry that was named (see `placing`).

    Raises UsageError where several would go to one file.
    """
    destination = request.destination
    is_there = destination.is_dir()
    needs_folder = named != 1 or request.is_folder or request.generated or any(e[0].kind is Kind.FOLDER for e in found)
    if destination.exists() and not is_there and needs_folder:
        raise UsageError(f"{destination} is not a folder: several files need one")
    if request.generated:
        return destination, [tuple(entries[0].path.split("/")) for entries in found]
    if is_there or needs_folder:
        return destination, [tuple(filter(None, [entries[0].path.rpartition("/")[2]])) for entries in found]
    return destination.parent, [(destination.name,) for _ in found]


def _placed(
    found: list[list[Download]], tops: list[tuple[str, ...]], downloads: Downloads, folder: Path
) -> list[Download]:
    """Return all entries with their places below the folder; refuses those that would lie outside, or on another."""
    planned: list[Download] = []
    twice = repeated((top, "/".join(top)) for top in tops)
    for entries, top in zip(found, tops, strict=True):
        if "/".join(top) in twice:
            downloads.refuse(entries[0].path, folder.joinpath(*top), "another one to fetch has the same name")
            continue
        for entry in entries:
            place = (*top, *entry.place)
            if not place:  # the root itself: its contents go into the folder
                continue
            try:
                check_place(place)
                planned.append(entry._replace(place=place))
            except InvalidArgument as error:
                downloads.refuse(entry.path, folder, str(error))
    return planned
