"""Commands on the state folder of a mount that is not running; synchronous, for the command line."""

from __future__ import annotations

from pathlib import Path

import trio

from remotefs.config import Config
from remotefs.control.care import CheckResult, ExportResult
from remotefs.mount import care
from remotefs.mount.checkup import Say, Scope, idle_parts


def check(state_dir: Path, config: Config, *, repair: bool, read: bool, say: Say) -> CheckResult:
    """As the mount's command; with `repair` what a crash left is put in order first, as at the start of a mount.

    Raises StateLocked while a mount uses it, NotFound, StateUnusable.
    """

    async def run() -> CheckResult:
        async with idle_parts(state_dir, config) as parts:
            if repair:
                await parts.recovery.run()
            return await care.check(parts, Scope(read=read), repair=repair, say=say)

    return trio.run(run)


def export(state_dir: Path, config: Config, path: str, target: Path, *, force: bool, say: Say) -> ExportResult:
    """As the mount's command. Raises as `check` does, and NotFound for the path."""

    async def run() -> ExportResult:
        async with idle_parts(state_dir, config) as parts:
            return await care.export(parts, path, target, force=force, say=say)

    return trio.run(run)
