"""`remotefs put`: into a running mount, or into a state folder that no process has mounted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import trio

from remotefs.control.client import ControlClient
from remotefs.control.messages.base import Notice, Report
from remotefs.control.messages.put import SentFile
from remotefs.errors import InvalidArgument, UsageError
from remotefs.mount.settings import MountSettings
from remotefs.mount.transfers.mounted_target import MountedTarget
from remotefs.mount.transfers.placing import Destination, put_paths, repeated
from remotefs.mount.transfers.records import Attributes, Kind, Outcome, Transferred, Upload
from remotefs.mount.transfers.sending import Sending
from remotefs.mount.transfers.sources import uploads_of
from remotefs.mount.transfers.unmounted_target import UnmountedTarget
from remotefs.mount.transfers.uploads import Target, Uploads
from remotefs.mount.without_kernel import working_parts
from remotefs.store.records import IntentKind

# Opens the display of one stage of the work, such as "copying", and gives the report that moves it.
Stage = Callable[[str], AbstractContextManager[Report]]


class PutRequest(NamedTuple):
    """What to send and where to, the attributes of each file, and how long nothing may move (seconds)."""

    sources: tuple[Path, ...]
    destination: Destination
    attributes: Attributes
    stall_s: float


async def put_into_mount(
    request: PutRequest, mountpoint: Path, control: ControlClient, stage: Stage
) -> list[Transferred]:
    """Copy into a running mount and wait until the service has the files. Return what became of each.

    Raises UsageError, TransportError.
    """
    return await put(request, MountedTarget(mountpoint, control), stage)


async def put_into_folder(
    request: PutRequest, settings: MountSettings, report: Report, stage: Stage
) -> list[Transferred]:
    """Do the same without a mount; the caller holds the lock of the state folder. Sends earlier changes, too.

    Raises UsageError, and as `working_parts` does.
    """
    async with working_parts(settings, report, sends=True) as parts:
        if parts.mandate.left_alone:
            report(Notice(text=f"{parts.mandate.left_alone:,} removals and renames wait for the next mount"))
        earlier = [i.ino for i in parts.journal.pending() if i.kind is IntentKind.UPLOAD and i.ino is not None]
        target = UnmountedTarget(parts, settings.config.service.max_file_bytes)
        done = await put(request, target, stage)
        sending = Sending(parts)
        left = _count_unsent(await sending.wait(earlier, request.stall_s, lambda _: None))
        if left:
            report(Notice(text=f"{left:,} changes of an earlier mount are still pending"))
        await sending.wait_for_removals()
    return done


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


def _count_unsent(files: list[SentFile]) -> int:
    return sum(file.outcome in {Outcome.PENDING, Outcome.REFUSED} for file in files)
