"""The commands that look at the whole of a mount, or get its bytes out: check, export and backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from remotefs.check.findings import Finding
from remotefs.control.messages.base import Command, Leftover, Notice, Report
from remotefs.control.messages.check import (
    BACKUP,
    CHECK,
    EXPORT,
    BackupParams,
    CheckParams,
    CheckResult,
    ExportParams,
    ExportResult,
    FindingTold,
)
from remotefs.errors import InvalidArgument
from remotefs.mount.assembly import Components
from remotefs.mount.backup import Backup
from remotefs.mount.check.inspection import Say, Scope, check_state
from remotefs.mount.check.repair import Repair
from remotefs.mount.commands.status import NAMED
from remotefs.mount.commands.trash import resolve
from remotefs.mount.export import Export
from remotefs.mount.settings import MountSettings

# What one repair uncovers the next may put right.
_ROUNDS = 3
_FINDINGS_TOLD = 1000


class Care:
    """One method a command."""

    def __init__(self, settings: MountSettings, parts: Components) -> None:
        self._settings = settings
        self._parts = parts

    def all(self) -> list[Command]:
        """Each command with its endpoint."""
        return [CHECK.bind(self.check), EXPORT.bind(self.export), BACKUP.bind(self.backup)]

    async def check(self, params: CheckParams, report: Report) -> CheckResult:
        """Compare everything with everything."""
        scope = Scope(working=True, service=params.service, read=params.read)
        return await check(self._parts, scope, repair=params.repair, say=lambda text: report(Notice(text=text)))

    async def export(self, params: ExportParams, report: Report) -> ExportResult:
        """Copy out what is here."""
        target = Path(params.target)
        if target.is_relative_to(self._settings.mountpoint):
            raise InvalidArgument(f"{target} lies in the mount itself; export to a place outside of it")
        return await export(
            self._parts, params.path, target, force=params.force, say=lambda text: report(Notice(text=text))
        )

    async def backup(self, params: BackupParams, report: Report) -> ExportResult:
        """Copy the state folder."""
        target = Path(params.target)
        if target.is_relative_to(self._settings.mountpoint):
            raise InvalidArgument(f"{target} lies in the mount itself; back it up to a place outside of it")
        return await backup(self._parts, self._settings.state_dir, target, say=lambda text: report(Notice(text=text)))


async def check(
    parts: Components, scope: Scope, *, repair: bool, say: Say, repaired: Sequence[Finding] = ()
) -> CheckResult:
    """Look; with `repair` put right what can be, and look again. Raises StateUnusable.

    `repaired` was found, and put right, before this could look.
    """
    left = await check_state(parts, scope, say)
    done = list(repaired)
    for _ in range(_ROUNDS if repair else 0):
        put_right = Repair(parts).put_right(left)
        if not put_right:
            break
        done += put_right
        await parts.database.durable()
        left = await check_state(parts, scope, say)
    return result(done, left)


async def export(parts: Components, path: str, target: Path, *, force: bool, say: Say) -> ExportResult:
    """Copy one path out. Raises NotFound, InvalidArgument."""
    inode = resolve(parts, path)
    if not await trio.Path(target.parent).is_dir():
        raise InvalidArgument(f"{target.parent} is no folder: make it first")
    run = Export(parts, force=force, say=say)
    await run.copy(inode, path, target)
    return export_result(run.files, run.bytes, run.failed)


async def backup(parts: Components, state_dir: Path, target: Path, *, say: Say) -> ExportResult:
    """Copy the state folder behind `parts`. Raises as `Backup.make` does."""
    run = Backup(parts, state_dir, say)
    await run.make(target)
    return export_result(run.files, run.bytes, run.failed)


def result(repaired: Sequence[Finding], left: Sequence[Finding]) -> CheckResult:
    """Return what a check tells of findings, those first that were put right."""
    told = [*((finding, True) for finding in repaired), *((finding, False) for finding in left)]
    return CheckResult(
        count=len(told),
        repaired=len(repaired),
        findings=tuple(_told(finding, repaired=done) for finding, done in told[:_FINDINGS_TOLD]),
    )


def export_result(files: int, size: int, failed: Mapping[str, str]) -> ExportResult:
    """Return what an export tells; `failed` by path, with the reason."""
    leftovers = [Leftover(path=path, reason=reason) for path, reason in failed.items()]
    return ExportResult(files=files, bytes=size, failed_count=len(leftovers), failed=tuple(leftovers[:NAMED]))


def _told(finding: Finding, *, repaired: bool) -> FindingTold:
    return FindingTold(
        kind=finding.kind.value, path=finding.path, what=finding.what, advice=finding.advice, repaired=repaired
    )
