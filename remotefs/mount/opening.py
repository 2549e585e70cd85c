"""Opens the database of a state folder and puts the folder away: for a mount, and for a command without one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from remotefs.control.messages.base import Notice, Report
from remotefs.errors import StateUnusable
from remotefs.mount.assembly import Components
from remotefs.store.copies import FORMER_KEPT_DAYS, copies_of
from remotefs.store.database import RESCUE_ADVICE, Database
from remotefs.store.rescue import damage, is_missing, rebuild
from remotefs.store.tree import NOTES_A_TURN

_log = logging.getLogger(__name__)
# Sizes and times that were only noted are written this often.
_SAVE_NOTES_EVERY_S = 5.0


@asynccontextmanager
async def opened_database(state_dir: Path, report: Report) -> AsyncIterator[Database]:
    """Yield the database of a state folder whose lock is held; a new one where there is none.

    In the place of one that is missing comes its newest copy. Raises StateUnusable where it is damaged.
    """
    path = state_dir / "state.db"
    if is_missing(path) and (copies := copies_of(path)):
        await trio.to_thread.run_sync(rebuild, path, copies)
        report(Notice(text=f"the database was missing: the tree is that of its newest copy, {copies[0].name}"))
    database = Database(path)
    try:
        _tell_upgrade(database, report)
        await check_database(database)
        yield database
    finally:
        database.close()


def _tell_upgrade(database: Database, report: Report) -> None:
    """Report and log a change of the format, with the copy from before."""
    if (upgrade := database.upgrade) is not None:
        text = (
            f"the state folder has the format of this version now ({upgrade.after}, before: {upgrade.before}); "
            f"{upgrade.copy} is the database from before, for {FORMER_KEPT_DAYS} days"
        )
        _log.warning("%s", text)
        report(Notice(text=text))


async def check_database(database: Database) -> None:
    """Look at what an earlier mount left without an end. Raises StateUnusable: a damaged tree is not to be changed."""
    if database.lost_frames:
        _log.error(
            "%s: its log was damaged; %d pages of the last changes are lost", database.path, database.lost_frames
        )
    if database.was_left_open:
        found = await trio.to_thread.run_sync(partial(damage, database.path, quick=True))
        if found:
            raise StateUnusable(f"{database.path} is damaged: {found[0]}; {RESCUE_ADVICE}")


def count_left(parts: Components) -> int:
    """Return the number of changes that the service, or the shared store, does not have yet."""
    return parts.journal.count() + parts.store.renames.count() + parts.shared.missed_count()


def names_left(parts: Components, at_most: int) -> list[str]:
    """Return the paths of at most `at_most` files with such changes, or ids where there is no path."""
    paths = parts.intents.paths
    names = [paths.describe(intent) for intent in parts.journal.pending()[:at_most]]
    unshared = parts.store.shares.waiting(at_most - len(names)) if parts.shared.is_configured else []
    return [*names, *(paths.of_id(share.file_id) for share in unshared)]


async def save_notes(parts: Components) -> None:
    """Write sizes and times that were only noted, until cancelled."""
    while True:
        await trio.sleep(_SAVE_NOTES_EVERY_S)
        # After a read of many files there are as many notes: the others get their turn in between (H8).
        while parts.tree.save_notes(NOTES_A_TURN):
            await trio.lowlevel.checkpoint()


async def put_away(parts: Components) -> None:
    """Leave the state folder as the next mount likes to find it; a crash leaves less. Raises LocalError."""
    try:
        parts.tree.save_notes()
        await parts.database.durable()
    finally:
        parts.content.close()
        parts.staging.close()
