"""`remotefs check`: the parts of a mount against each other and the service, while it works or while it does not.

What is compared is read in a thread, on a connection of its own; the loop is left to others in between. On a mount that
works, things move while they are read: there a finding counts once it was found twice, some time apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import trio

from remotefs.api.budget import Priority
from remotefs.check.consistency import Kept, Listed, Listing, Snapshot, inconsistencies
from remotefs.check.findings import Finding, Kind
from remotefs.control.messages.base import Notice, Report
from remotefs.data.content.file import digest_of
from remotefs.errors import CorruptionError, RefusedError, TransportError
from remotefs.mount.assembly import Components
from remotefs.store import audit, rescue
from remotefs.store.records import ContentState, Inode
from remotefs.store.tree import NOTES_A_TURN

# Between the two looks at a mount that works: what was between two steps has got to the next.
LOOK_AGAIN_S = 1.0
# A listing that hangs does not hold up the rest for ever.
LISTING_S = 120.0


@dataclass(frozen=True)
class Scope:
    """What is looked at. `working`: the workers of a mount are at work on it at the same time."""

    working: bool = False
    # One walk over the service's listing.
    service: bool = False
    # Read all pinned content and compare it with its sums.
    read: bool = True


async def check_state(parts: Components, scope: Scope = Scope(), report: Report = lambda _: None) -> list[Finding]:
    """Return everything that is wrong with the state behind `parts`; `report` gets the progress.

    Nothing is changed but damaged sums of content that is whole. Raises StateUnusable, OSError when the folder cannot
    be read at all.
    """
    listing = await _list_service(parts, report) if scope.service else None
    snapshot = await _snapshot(parts, listing)
    found = await _compared(snapshot)
    if found and scope.working:
        await trio.sleep(LOOK_AGAIN_S)
        again = {_subject(finding) for finding in await _compared(await _snapshot(parts, listing))}
        found = [finding for finding in found if _subject(finding) in again]
    damage = await trio.to_thread.run_sync(rescue.damage, parts.database.path)
    found += [Finding(Kind.DATABASE, str(parts.database.path), what) for what in damage]
    if scope.read:
        seen = {finding.ino for finding in found}
        found += [finding async for finding in _damaged(parts, snapshot, report) if finding.ino not in seen]
    return found


def _subject(finding: Finding) -> tuple[Kind, int, str, int]:
    return (finding.kind, finding.ino, finding.file_id, finding.number)


async def _compared(snapshot: Snapshot) -> list[Finding]:
    return await trio.to_thread.run_sync(inconsistencies, snapshot)


async def _snapshot(parts: Components, listing: Listing | None) -> Snapshot:
    while parts.tree.save_notes(NOTES_A_TURN):
        await trio.lowlevel.checkpoint()
    await parts.content.scan()
    rows = await trio.to_thread.run_sync(audit.read_rows, parts.database.path)
    staged = await trio.to_thread.run_sync(parts.staging.scan)
    kept = parts.content.kept()
    loose = [inode.ino for inode in rows.inodes.values() if inode.nlink == 0 or inode.staged_gen is not None]
    return Snapshot(
        rows=rows,
        staged={(entry.inode, entry.generation): entry.size for entry in staged},
        content={id_: Kept(e.pinned, e.stored, e.is_damaged, e.is_lost) for id_, e in kept.items()},
        stray_bytes=parts.content.statistics().orphans,
        in_use=frozenset(ino for ino in loose if parts.handles.is_open(ino) or parts.handles.is_known(ino)),
        stays_here=parts.naming.never_uploaded,
        listing=listing,
        now_ns=parts.service_clock.now_ns(),
    )


async def _list_service(parts: Components, report: Report) -> Listing | None:
    with trio.move_on_after(LISTING_S):
        try:
            return await _listing(parts, report)
        except (TransportError, RefusedError) as error:
            report(Notice(text=f"the service was not asked: {error}"))
            return None
    report(Notice(text=f"the service was not asked: its listing took more than {LISTING_S:.0f} s"))
    return None


async def _listing(parts: Components, report: Report) -> Listing:
    """Return the whole listing. An entry that cannot be used still shows that its file exists (S4)."""
    listed: dict[str, Listed] = {}
    unreadable: set[str] = set()
    has_all_ids = True
    async for page in parts.client.pages(priority=Priority.POLL):
        listed |= {f.id: Listed(f.filename, f.size_bytes, f.created_ns, f.expires_ns) for f in page.files}
        unreadable |= {entry.id for entry in page.left_out if entry.id is not None}
        has_all_ids &= page.is_whole
        report(Notice(text=f"listed {len(listed) + len(unreadable):,} files of the service"))
    return Listing(listed, unreadable, has_all_ids)


async def _damaged(parts: Components, snapshot: Snapshot, report: Report) -> AsyncIterator[Finding]:
    """Yield pinned content and staged files that do not match their checksums."""
    pinned = [file_id for file_id, kept in snapshot.content.items() if kept.pinned and not kept.is_lost]
    for number, file_id in enumerate(pinned, start=1):
        report(Notice(text=f"read {number:,} of {len(pinned):,} files that only this machine has"))
        try:
            await parts.content.verify(file_id)
        except CorruptionError as error:
            remote = snapshot.rows.remotes.get(file_id)
            ino = (remote.ino if remote else None) or 0
            path = snapshot.path(ino) if ino else f"(content {file_id})"
            yield Finding(Kind.DAMAGED, path, str(error), ino, file_id)
    for inode in snapshot.rows.inodes.values():
        # The bytes of a removed file go before its row, which waits for the reply to its upload (W9).
        if inode.staged_gen is not None and inode.nlink and await _is_staged_otherwise(parts, inode):
            what = "what is staged of it is not what was written"
            yield Finding(Kind.DAMAGED, snapshot.path(inode.ino), what, inode.ino)


async def _is_staged_otherwise(parts: Components, inode: Inode) -> bool:
    """Return whether a staged file differs from its sums or from what was uploaded; one that changes does not count."""
    if inode.state == ContentState.CLOSED:
        return await _is_closed_otherwise(parts, inode)
    remote = parts.remotes.find(inode.file_id) if inode.file_id else None
    if inode.state != ContentState.CLEAN or remote is None or remote.digest is None or inode.ino in parts.in_flight:
        return False
    try:
        digest = await trio.to_thread.run_sync(digest_of, parts.locator.source_of(inode))
    except (CorruptionError, OSError):
        return False
    return digest != remote.digest and parts.tree.find(inode.ino) == inode


async def _is_closed_otherwise(parts: Components, inode: Inode) -> bool:
    """Return whether a file that waits for its upload is known to be damaged, or differs from its sums."""
    assert inode.staged_gen is not None
    try:
        await parts.staging.sums.check(inode, parts.staging.place(inode.ino, inode.staged_gen))
    except CorruptionError:
        return parts.tree.find(inode.ino) == inode
    except OSError:
        return False
    return False
