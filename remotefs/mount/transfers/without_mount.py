"""`remotefs put` and `get` on a state folder that no process has mounted. Loads all of a mount."""

from __future__ import annotations

from collections.abc import Sequence

from remotefs.control.messages.base import Notice, Report
from remotefs.control.messages.put import SentFile
from remotefs.mount.settings import MountSettings
from remotefs.mount.transfers.get import GetRequest, get
from remotefs.mount.transfers.put import PutRequest, Stage, put
from remotefs.mount.transfers.records import Outcome, Transferred
from remotefs.mount.transfers.sending import Sending
from remotefs.mount.transfers.unmounted_origin import UnmountedOrigin
from remotefs.mount.transfers.unmounted_target import UnmountedTarget
from remotefs.mount.without_kernel import working_parts
from remotefs.store.records import IntentKind


async def put_into_folder(
    request: PutRequest, settings: MountSettings, report: Report, stage: Stage
) -> list[Transferred]:
    """Copy into the tree and wait until the service has the files; the caller holds the lock of the state folder.

    Sends earlier changes, too. Return what became of each file. Raises UsageError, and as `working_parts` does.
    """
    async with working_parts(settings, report, sends=True) as parts:
        if parts.mandate.left_alone:
            report(Notice(text=f"{parts.mandate.left_alone:,} removals and renames wait for the next mount"))
        earlier = [i.ino for i in parts.journal.pending() if i.kind is IntentKind.UPLOAD and i.ino is not None]
        for ino in earlier:
            parts.failures.forget_refusal(ino)
        done = await put(request, UnmountedTarget(parts, settings.config.service.max_file_bytes), stage)
        sending = Sending(parts)
        left = _count_unsent(await sending.wait(earlier, request.stall_s, lambda _: None))
        if left:
            report(Notice(text=f"{left:,} changes of an earlier run are still pending"))
        await sending.wait_for_removals()
        if unshared := await sending.wait_for_store():
            report(Notice(text=f"{unshared:,} files are not in the shared store yet; the next mount goes on with them"))
    return done


async def get_from_folder(
    request: GetRequest, settings: MountSettings, report: Report, stage: Stage
) -> list[Transferred]:
    """Fetch files of the tree; the caller holds the lock of the state folder. Sends and removes nothing.

    Return what became of each file. Raises UsageError, OSError, and as `working_parts` does.
    """
    async with working_parts(settings, report, sends=False) as parts:
        return await get(request, UnmountedOrigin(parts), stage)


def _count_unsent(files: Sequence[SentFile]) -> int:
    return sum(file.outcome in {Outcome.PENDING, Outcome.REFUSED} for file in files)
