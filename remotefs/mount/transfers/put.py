"""`remotefs put`: from the sources to what became of each, and through a running mount."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import trio

from remotefs.control.find import FoundMount
from remotefs.control.messages.base import Report
from remotefs.errors import InvalidArgument, UsageError
from remotefs.mount.transfers.mounted_target import MountedTarget
from remotefs.mount.transfers.placing import Destination, put_paths, repeated
from remotefs.mount.transfers.records import Attributes, Kind, Transferred, Upload
from remotefs.mount.transfers.sources import uploads_of
from remotefs.mount.transfers.uploads import Target, Uploads

# Opens the display of one stage of the work, such as "copying", and gives the report that moves it.
Stage = Callable[[str], AbstractContextManager[Report]]


class PutRequest(NamedTuple):
    """What to send and where to, the attributes of each file, and how long nothing may move (seconds)."""

    sources: tuple[Path, ...]
    destination: Destination
    attributes: Attributes
    stall_s: float


async def put_into_mount(request: PutRequest, mount: FoundMount, stage: Stage) -> list[Transferred]:
    """Copy into a running mount and wait until the service has the files. Return what became of each.

    Raises UsageError, TransportError.
    """
    return await put(request, MountedTarget(mount), stage)


async def put(request: PutRequest, target: Target, stage: Stage) -> list[Transferred]:
    """Copy into the tree and wait until the service has the files. Return what became of each. Raises UsageError."""
    uploads = Uploads(target, request.attributes)
    paths = await _paths(request, target)
    twice = repeated(zip(request.sources, paths, strict=True))
    planned: list[Upload] = []
    for source, path in zip(request.sources, paths, strict=True):
        if path in twice:
            uploads.refuse(source, path, "another source has the same name")
        else:
            planned += uploads_of(source, path, uploads.refuse)
    with stage("copying") as report:
        await uploads.copy(planned, report)
    with stage("sending") as report:
        await uploads.wait(request.stall_s, report)
    return sorted(uploads.done, key=lambda file: file.path)


async def _paths(request: PutRequest, target: Target) -> list[str]:
    names = [_name_of(source) for source in request.sources]
    destination = request.destination
    there = await target.kind(destination.path) if destination.path else Kind.FOLDER
    if there not in {None, Kind.FOLDER} and (len(names) > 1 or destination.is_folder):
        raise UsageError(f"{destination.path} is not a folder: several sources need one")
    is_folder = await trio.to_thread.run_sync(request.sources[0].is_dir)
    if there is Kind.FILE and is_folder:
        raise UsageError(f"{destination.path} is a file: a folder cannot go there")
    return put_paths(names, destination, goes_into=there is Kind.FOLDER or is_folder)


def _name_of(source: Path) -> str:
    """Return the name of a source in its new folder; none for `.`, whose contents go there."""
    name = source.resolve().name if source.name == ".." else source.name
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{source!r}: its name is not UTF-8") from error
    return name
