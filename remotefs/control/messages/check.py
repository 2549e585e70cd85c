"""The whole of a mount, looked at or copied out: `check`, `export`, `backup`."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Leftover, Message


class CheckParams(Message, frozen=True, kw_only=True):
    """Compare the parts of the mount with each other; with `service` also with one listing.

    `read` all pinned content; `repair` what can be.
    """

    service: bool = True
    read: bool = True
    repair: bool = False


class CheckSharedParams(Message, frozen=True, kw_only=True):
    """Read back the objects of the files at or below `path` that this machine has put into the shared store.

    With `every` those of others, too; `repair` puts again what can be.
    """

    path: str = ""
    every: bool = False
    repair: bool = False


class FindingReport(Message, frozen=True, kw_only=True):
    """Something that is wrong, and what to do about it; `repaired` when that was done."""

    kind: str
    path: str
    what: str
    advice: str
    repaired: bool = False


class CheckResult(Message, frozen=True, kw_only=True):
    """How many findings there are, the first of them in full, and how many of all were put right."""

    count: int
    repaired: int = 0
    findings: tuple[FindingReport, ...] = ()


class ExportParams(Message, frozen=True, kw_only=True):
    """Copy what lies at or below `path` to `target`, an absolute path outside of the mount; `force` overwrites."""

    path: str
    target: str
    force: bool = False


class ExportResult(Message, frozen=True, kw_only=True):
    """`files` of `bytes` were copied; `failed` were not, the first of them by name."""

    files: int
    bytes: int
    failed_count: int = 0
    failed: tuple[Leftover, ...] = ()


class BackupParams(Message, frozen=True):
    """Copy the state folder to `target`, an absolute path of a folder that is new or empty."""

    target: str


CHECK = Endpoint("check", CheckParams, CheckResult)
CHECK_SHARED = Endpoint("check-shared", CheckSharedParams, CheckResult)
EXPORT = Endpoint("export", ExportParams, ExportResult)
BACKUP = Endpoint("backup", BackupParams, ExportResult)
