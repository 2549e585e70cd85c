"""The whole of a mount, looked at or copied out: `check`, `export` and `backup`.

The functions are those of the commands on a state folder without a mount, too (`mount/offline.py`). They look at all
parts, so they are given all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from remotefs.check.findings import Finding
from remotefs.control.messages.base import Command, Leftover, Report
from remotefs.control.messages.check import (
    BACKUP,
    CHECK,
    CHECK_SHARED,
    EXPORT,
    BackupParams,
    CheckParams,
    CheckResult,
    CheckSharedParams,
    ExportParams,
    ExportResult,
    FindingReport,
)
from remotefs.errors import InvalidArgument
from remotefs.mount.assembly import Components
from remotefs.mount.backup import Backup
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.mount.check.repair import Repair
from remotefs.mount.check.shared_objects import SharedCheck, SharedScope
from remotefs.mount.commands.lookup import NAMED, resolve
from remotefs.mount.export import Export
from remotefs.mount.settings import MountSettings

# A repair may uncover something that the next look finds and the next round repairs.
_ROUNDS = 3
_FINDINGS_REPORTED = 1000


class CheckCommands:
    """Checks a mount, and copies its files or its state folder out."""

    def __init__(self, settings: MountSettings, parts: Components) -> None:
        self._settings = settings
        self._parts = parts

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [
            CHECK.bind(self.check),
            CHECK_SHARED.bind(self.check_shared),
            EXPORT.bind(self.export),
            BACKUP.bind(self.backup),
        ]

    async def check(self, params: CheckParams, report: Report) -> CheckResult:
        """Compare the parts of the mount with each other. Return the findings."""
        scope = Scope(working=True, service=params.service, read=params.read)
        return await check(self._parts, scope, repair=params.repair, report=report)

    async def check_shared(self, params: CheckSharedParams, report: Report) -> CheckResult:
        """Read the objects of the shared store back. Return the findings. Raises as `check_shared` does."""
        scope = SharedScope(params.path, params.every)
        return await check_shared(self._parts, scope, repair=params.repair, report=report)

    async def export(self, params: ExportParams, report: Report) -> ExportResult:
        """Copy files from this disk to a place outside of the mount. Return how many, and what was not copied."""
        target = Path(params.target)
        if target.is_relative_to(self._settings.mountpoint):
            raise InvalidArgument(f"{target} lies in the mount itself; export to a place outside of it")
        return await export(self._parts, params.path, target, force=params.force, report=report)

    async def backup(self, params: BackupParams, report: Report) -> ExportResult:
        """Copy the state folder. Return how many files were copied, and which were not."""
        target = Path(params.target)
        if target.is_relative_to(self._settings.mountpoint):
            raise InvalidArgument(f"{target} lies in the mount itself; back it up to a place outside of it")
        return await backup(self._parts, self._settings.state_dir, target, report=report)


async def check(
    parts: Components, scope: Scope, *, repair: bool, report: Report, repaired: Sequence[Finding] = ()
) -> CheckResult:
    """Look; with `repair` repair what can be, and look again. Return the findings. Raises StateUnusable.

    `repaired` was found and repaired before this could look.
    """
    left = await check_state(parts, scope, report)
    done = list(repaired)
    for _ in range(_ROUNDS if repair else 0):
        put_right = Repair(parts).put_right(left)
        if not put_right:
            break
        done += put_right
        await parts.database.durable()
        left = await check_state(parts, scope, report)
    return result(done, left)


async def check_shared(parts: Components, scope: SharedScope, *, repair: bool, report: Report) -> CheckResult:
    """Read objects of the shared store back; with `repair` put again what can be. Return the findings.

    Raises NotFound, ObjectStoreError; UsageError where there is no store.
    """
    run = SharedCheck(parts, report)
    await run.look(scope)
    if repair:
        await run.repair()
    return result(run.repaired, run.left)


async def export(parts: Components, path: str, target: Path, *, force: bool, report: Report) -> ExportResult:
    """Copy what lies at or below a path to `target`. Raises NotFound, InvalidArgument."""
    run = Export(parts.tree, parts.content, parts.file_reader, force=force, report=report)
    await run_export(parts, run, path, target)
    return export_result(run.files, run.bytes, run.failed)


async def run_export(parts: Components, run: Export, path: str, target: Path) -> None:
    """Do as `export` does by `run`, which has the result. Raises NotFound, InvalidArgument."""
    inode = resolve(parts.tree, path)
    if not await trio.Path(target.parent).is_dir():
        raise InvalidArgument(f"{target.parent} is not a folder: make it first")
    await run.copy(inode, path, target)


async def backup(parts: Components, state_dir: Path, target: Path, *, report: Report) -> ExportResult:
    """Copy the state folder behind `parts`. Raises as `Backup.make` does."""
    run = Backup(parts, state_dir, report)
    await run.make(target)
    return export_result(run.files, run.bytes, run.failed)


def result(repaired: Sequence[Finding], left: Sequence[Finding]) -> CheckResult:
    """Return the result of a check, the repaired findings first."""
    marked = [*((finding, True) for finding in repaired), *((finding, False) for finding in left)]
    return CheckResult(
        count=len(marked),
        repaired=len(repaired),
        findings=tuple(_record(finding, repaired=done) for finding, done in marked[:_FINDINGS_REPORTED]),
    )


def export_result(files: int, size: int, failed: Mapping[str, str]) -> ExportResult:
    """Return the result of a copy; `failed` has the reason by path."""
    leftovers = [Leftover(path=path, reason=reason) for path, reason in failed.items()]
    return ExportResult(files=files, bytes=size, failed_count=len(leftovers), failed=tuple(leftovers[:NAMED]))


def _record(finding: Finding, *, repaired: bool) -> FindingReport:
    return FindingReport(
        kind=finding.kind.value, path=finding.path, what=finding.what, advice=finding.advice, repaired=repaired
    )
