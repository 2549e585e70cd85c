"""Commands on the state folder of a mount that is not running; synchronous, for the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from remotefs.check.findings import Finding, Kind
from remotefs.config import Config
from remotefs.control.lock import Holder, lock_state
from remotefs.control.messages.base import Notice, Report
from remotefs.control.messages.check import CheckResult, ExportResult
from remotefs.errors import NotFound, StateUnusable
from remotefs.mount.assembly import Components, assemble
from remotefs.mount.check.inspection import Scope
from remotefs.mount.commands import check as checking
from remotefs.mount.loose_files import LooseExport
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.store import rescue
from remotefs.store.copies import copies_of
from remotefs.store.database import Database


def check(state_dir: Path, config: Config, *, repair: bool, read: bool, report: Report) -> CheckResult:
    """Check as the mount's command does; with `repair` recover first from a crash, as a mount does at its start.

    `repair` also rebuilds a damaged database. Raises StateLocked while a mount uses it, NotFound, StateUnusable.
    """

    async def run() -> CheckResult:
        database = state_dir / "state.db"
        damaged = await trio.to_thread.run_sync(_damage, database)
        if damaged and not repair:
            return checking.result([], damaged)
        if damaged:
            report(Notice(text="rebuilding the database from what is left of it"))
            await trio.to_thread.run_sync(_make_again, database)
        async with _parts(state_dir, config) as parts:
            if repair:
                await parts.recovery.run()
            return await checking.check(parts, Scope(read=read), repair=repair, report=report, repaired=damaged)

    with _held(state_dir):
        return trio.run(run)


def export(state_dir: Path, config: Config, path: str, target: Path, *, force: bool, report: Report) -> ExportResult:
    """Export as the mount's command does, from the files alone where the database cannot be read.

    Raises StateLocked while a mount uses it, NotFound.
    """

    async def run() -> ExportResult:
        try:
            async with _parts(state_dir, config) as parts:
                return await checking.export(parts, path, target, force=force, report=report)
        except StateUnusable as error:
            report(Notice(text=f"{error}; copying what lies in its folder"))
            loose = LooseExport(state_dir, force=force, report=report)
            await trio.to_thread.run_sync(loose.copy, path, target)
            return checking.export_result(loose.files, loose.bytes, loose.failed)

    with _held(state_dir):
        return trio.run(run)


def backup(state_dir: Path, config: Config, target: Path, *, report: Report) -> ExportResult:
    """Back up as the mount's command does. Raises StateLocked while a mount uses it, NotFound, StateUnusable."""

    async def run() -> ExportResult:
        async with _parts(state_dir, config) as parts:
            return await checking.backup(parts, state_dir, target, report=report)

    with _held(state_dir):
        return trio.run(run)


@contextmanager
def _held(state_dir: Path) -> Iterator[None]:
    if not any((state_dir / name).exists() for name in ("state.db", "staging", "content")):
        raise NotFound(f"{state_dir} is not a state folder of remotefs: it has no state.db and no content")
    with lock_state(state_dir, Holder.here(f"nowhere, by a command on {state_dir}")):
        yield


@asynccontextmanager
async def _parts(state_dir: Path, config: Config) -> AsyncIterator[Components]:
    """Yield the parts of a state folder whose lock is held. Raises StateUnusable."""
    if rescue.is_missing(state_dir / "state.db"):
        raise StateUnusable(f"{state_dir}: its database is missing")
    settings = MountSettings(state_dir, state_dir, config, FuseOptions())
    database = Database(state_dir / "state.db")
    try:
        parts = assemble(settings, database)
        async with parts.client:
            yield parts
        parts.content.close()
        parts.staging.close()
    finally:
        database.close()


def _damage(database: Path) -> list[Finding]:
    if rescue.is_missing(database):
        return [Finding(Kind.DATABASE, str(database), "it is missing")]
    return [Finding(Kind.DATABASE, str(database), what) for what in rescue.damage(database)]


def _make_again(database: Path) -> None:
    if rescue.is_missing(database) or not rescue.mend_indexes(database):
        rescue.rebuild(database, copies_of(database))
