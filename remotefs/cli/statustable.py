"""A mount's status as rows for a person: pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from remotefs.control.messages import PendingKind, Status

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
UNIT_STEP = 1024


def status_rows(status: Status) -> Iterator[tuple[str, str]]:
    """Name and value of each line; what there is nothing to say of is left out."""
    yield "mount", f"{status.mountpoint}{' (read-only)' if status.read_only else ''}"
    yield "service", status.base_url
    yield "account", _account(status)
    yield "state", status.state_dir
    yield "process", str(status.pid)
    yield "connection", _connection(status)
    yield "files", f"{status.files:,}"
    yield from _lines("pending", [_pending(kind) for kind in status.pending if kind.count] or ["nothing"])
    yield from _lines("failed", [f"{item.path}: {item.reason}" for item in status.failed])
    yield from _lines("damaged", list(status.damaged))
    if status.removals_held:
        yield (
            "held",
            f"{status.removals_held:,} files are missing in the listing: see `remotefs accept-removals --help`",
        )
    if status.trashed:
        yield "trash", f"{status.trashed:,} files, see `remotefs trash list`"
    content = status.content
    yield "content", f"{human_size(content.pinned_bytes)} only here, {human_size(content.evictable_bytes)} cached"
    yield "being written", human_size(content.staging_bytes)
    limit = status.requests.limit_per_minute
    yield "requests", f"{status.requests.used:,} sent, {f'limit {limit:,} a minute' if limit else 'no limit'}"
    yield "last poll", _moment(status.last_poll_at)
    yield "last full listing", _moment(status.last_walk_at)


def human_size(size: int) -> str:
    """Bytes in the largest unit that leaves at least 1 before the point."""
    value = float(size)
    for unit in UNITS[:-1]:
        if value < UNIT_STEP:
            return f"{size:,} bytes" if unit == UNITS[0] else f"{value:.1f} {unit}"
        value /= UNIT_STEP
    return f"{value:,.1f} {UNITS[-1]}"


def human_duration(seconds: float) -> str:
    """Seconds in one unit."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _account(status: Status) -> str:
    if status.organization is None:
        return "not told by the service"
    return status.organization + (f", workspace {status.workspace}" if status.workspace else "")


def _connection(status: Status) -> str:
    state = "online" if status.online else "offline"
    return ", ".join(filter(None, [state, "draining" if status.draining else None, status.trouble]))


def _pending(kind: PendingKind) -> str:
    age = f", the oldest for {human_duration(kind.oldest_age_s)}" if kind.oldest_age_s is not None else ""
    return f"{kind.count:,} {kind.kind}{age}{f': {kind.oldest_reason}' if kind.oldest_reason else ''}"


def _lines(name: str, values: list[str]) -> Iterator[tuple[str, str]]:
    for index, value in enumerate(values):
        yield (name if index == 0 else ""), value


def _moment(at: float | None) -> str:
    if at is None:
        return "never"
    return datetime.fromtimestamp(at, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
