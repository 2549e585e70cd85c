"""What running mounts say of themselves, or that they are dead or hang: pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from remotefs.cli.console import human_duration, human_files
from remotefs.cli.doctor.findings import Finding, ok, problem, warning
from remotefs.control.messages.status import Status
from remotefs.errors import RemotefsError

# Pending changes of this age are worth a look.
OLD_S = 600.0
# How many files of a mount are named.
NAMED = 3


def judge(mountpoint: Path, answer: Status | RemotefsError) -> Iterator[Finding]:
    """Yield what is to say of a mount."""
    if isinstance(answer, RemotefsError):
        yield problem("mount", f"{mountpoint}: {answer}", f"`remotefs umount {mountpoint}` clears it away")
        return
    state = "online" if answer.online else "offline"
    found = f"{mountpoint}: {state}, {human_files(answer.files)}, {_pending(answer)}"
    if answer.online:
        yield ok("mount", found)
    else:
        why = answer.trouble or "no reason told"
        yield warning("mount", f"{found}: {why}", "changes wait and are sent by themselves; see the lines below")
    yield from _troubles(mountpoint, answer)


def _pending(status: Status) -> str:
    count = sum(kind.count for kind in status.pending)
    oldest = max((kind.oldest_age_s or 0.0 for kind in status.pending), default=0.0)
    if not count:
        return "nothing pending"
    return f"{count:,} changes pending" + (f", the oldest for {human_duration(oldest)}" if oldest > OLD_S else "")


def _troubles(mountpoint: Path, status: Status) -> Iterator[Finding]:
    if status.unwritable:
        found = f"{mountpoint}: changes are refused: {status.unwritable}"
        yield problem("mount", found, f"make room on the disk of {status.state_dir}, or see its log")
    for item in status.failed[:NAMED]:
        yield warning("mount", f"{mountpoint}: {item.path} waits: {item.reason}", "`remotefs retry` tries it again now")
    for path in status.damaged[:NAMED]:
        yield problem("mount", f"{mountpoint}: {path} is damaged on this disk", "see `remotefs check`; write it again")
    for failure in status.failures[:NAMED]:
        found = f"{mountpoint}: {failure.task} failed {failure.count:,} times: {failure.reason}"
        yield warning("mount", found, "please report it, with `remotefs doctor --bundle`")
    if status.shared is not None and status.shared.orphans_held:
        found = f"{mountpoint}: {status.shared.orphans_held:,} objects of files that are gone stay in the shared store"
        yield warning("mount", found, "see `remotefs accept-removals --help`")
    if status.removals_held:
        found = f"{mountpoint}: {human_files(status.removals_held)} missing in the listing are kept here"
        yield warning("mount", found, "see `remotefs accept-removals --help`")
