"""Commands on the state folder of a mount that is not running; synchronous, for the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import trio

from remotefs.check.findings import Finding, Kind
from remotefs.config import Config
from remotefs.control.lock import Holder, lock_state
from remotefs.control.messages.base import Notice, Report
from remotefs.control.messages.check import CheckResult, ExportResult
from remotefs.data.content.labels import read_label
from remotefs.data.files.staging import StagedName
from remotefs.data.writeback.orphans import Fate, fate_of
from remotefs.errors import NotFound, StateUnusable
from remotefs.mount.assembly import Components, assemble
from remotefs.mount.check.inspection import Scope
from remotefs.mount.check.shared_objects import SharedScope
from remotefs.mount.commands import check as checking
from remotefs.mount.export import Export
from remotefs.mount.loose_files import LooseExport
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.mount.without_kernel import patient, recovered_parts
from remotefs.store import rescue
from remotefs.store.copies import copies_of
from remotefs.store.database import RESCUE_ADVICE, Database


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


def check_shared(state_dir: Path, config: Config, scope: SharedScope, *, repair: bool, report: Report) -> CheckResult:
    """Read objects of the shared store back as the mount's command does, after a recovery as at a mount's start.

    Raises StateLocked while a mount uses it, NotFound, StateUnusable, ObjectStoreError; UsageError without a store.
    """

    async def run() -> CheckResult:
        settings = MountSettings(state_dir, state_dir, config, FuseOptions())
        async with recovered_parts(patient(settings), report) as (parts, nursery):
            if repair:
                nursery.start_soon(parts.supervisor.keep, "putting files into the shared store", parts.sharer.run)
            return await checking.check_shared(parts, scope, repair=repair, report=report)

    with _held(state_dir):
        return trio.run(run)


def export(state_dir: Path, config: Config, path: str, target: Path, *, force: bool, report: Report) -> ExportResult:
    """Export as the mount's command does, and from the files of the folder what the database does not know of.

    Raises StateLocked while a mount uses it, NotFound.
    """

    async def run() -> ExportResult:
        damaged = await trio.to_thread.run_sync(_damage, state_dir / "state.db")
        loose = LooseExport(state_dir, force=force, report=report)
        try:
            async with _parts(state_dir, config) as parts:
                tree = Export(parts.tree, parts.content, parts.file_reader, force=force, report=report)
                return await _export(parts, tree, loose, path, target, report, is_damaged=bool(damaged))
        except StateUnusable as error:
            report(Notice(text=f"{error}; copying what lies in its folder"))
            loose = LooseExport(state_dir, force=force, report=report)
            await trio.to_thread.run_sync(loose.copy, path, target)
            if path and not loose.files and not loose.failed:
                raise NotFound(f"{path}: no bytes in {state_dir} say that they are of it") from error
            return checking.export_result(loose.files, loose.bytes, loose.failed)

    with _held(state_dir):
        return trio.run(run)


async def _export(
    parts: Components, tree: Export, loose: LooseExport, path: str, target: Path, report: Report, *, is_damaged: bool
) -> ExportResult:
    """Copy the tree, and then the files of the folder that it has not shown.

    Those are all that were not copied where the database is damaged, and else those that no row explains.
    """
    missing: NotFound | None = None
    try:
        await checking.run_export(parts, tree, path, target)
    except NotFound as error:
        missing = error
    if is_damaged:
        report(Notice(text=f"the database is damaged: copying what else lies in its folder; {RESCUE_ADVICE}"))
    unknown = set() if is_damaged else await _unexplained(parts)

    def is_wanted(name: str) -> bool:
        return name not in tree.sources if is_damaged else name in unknown

    await trio.to_thread.run_sync(partial(loose.copy, path, target, taken=tree.copied, only=is_wanted))
    if missing is not None and not loose.files and not loose.failed:
        raise missing
    if loose.files and not is_damaged:
        report(Notice(text=f"{loose.files:,} files in its folder are not in the database; they were copied too"))
    failed = {**tree.failed, **loose.failed}
    return checking.export_result(tree.files + loose.files, tree.bytes + loose.bytes, failed)


async def _unexplained(parts: Components) -> set[str]:
    """Return the names of files with bytes that only rows could explain which are lost: a mount would rescue them."""
    await parts.content.scan()
    found = {f"{file.inode}-{file.generation}" for file in parts.staging.scan() if _is_orphan(parts, file)}
    for file_id, kept in parts.content.kept().items():
        if kept.pinned and parts.remotes.find(file_id) is None and not parts.tree.holders(file_id):
            found.add(file_id)
    return found


def _is_orphan(parts: Components, file: StagedName) -> bool:
    inode = parts.tree.find(file.inode)
    if inode is not None and inode.staged_gen == file.generation:
        return False
    fate = fate_of(file, read_label(parts.staging.place(file.inode, file.generation)), inode)
    # An older version of a file that is there is what a crash left of its removal.
    return fate is Fate.RENEW or (inode is None and fate is not Fate.GO)


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
