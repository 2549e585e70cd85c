"""Formats the status of a mount as rows for a person: pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from remotefs import __version__
from remotefs.cli.console import human_duration, human_files, human_size
from remotefs.control.messages.status import (
    ExpiringFiles,
    FailedRequest,
    PendingKind,
    Requests,
    SharedUse,
    Status,
    TaskFailed,
    Uploading,
)

# How many of the last errors are shown.
ERRORS_SHOWN = 3


def status_rows(status: Status) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each line; lines without content are left out."""
    yield "mount", f"{status.mountpoint}{' (read-only)' if status.read_only else ''}"
    if status.subdir:
        yield "shows", f"{status.subdir}, a part of the tree; paths below are those of the tree"
    yield "service", status.base_url
    yield "account", _account(status)
    yield "state", status.state_dir
    yield "process", str(status.pid)
    if status.version != __version__:
        yield "version", f"{status.version or 'an older one'}; {__version__} is installed, and the next mount uses it"
    yield "connection", _connection(status)
    yield "files", f"{status.files:,}"
    yield from _lines("pending", [_pending(kind) for kind in status.pending if kind.count] or ["nothing"])
    yield from _lines("renamed", [f"{path}: its files follow" for path in status.renamed])
    yield from _lines("uploading", [_uploading(upload) for upload in status.uploading])
    yield from _lines("failed", [f"{item.path}: {item.reason}" for item in status.failed])
    yield from _lines("damaged", list(status.damaged))
    if status.unwritable:
        yield "not writable", f"{status.unwritable}; reading goes on, changes are refused"
    yield from _lines("went wrong", [_failure(failure) for failure in status.failures[:ERRORS_SHOWN]])
    if status.removals_held:
        held = f"{status.removals_held:,} files are missing in the listing or expired at once"
        yield "held", f"{held}: see `remotefs accept-removals --help`"
    if status.expiring.count:
        yield "expiring", _expiring(status.expiring)
    if status.trashed:
        size = human_size(status.trashed_bytes)
        yield "trash", f"{status.trashed:,} files, {size}, see `remotefs trash list`"
    if status.shared is not None:
        yield from _lines("shared store", _shared(status.shared))
    content = status.content
    yield "pinned", f"{human_size(content.pinned_bytes)} in {content.pinned_files:,} files, which cannot be read back"
    yield "cached", human_size(content.evictable_bytes)
    yield "being written", human_size(content.staging_bytes)
    yield "requests", _requests(status.requests)
    yield from _lines("last errors", [_error(error) for error in status.errors[:ERRORS_SHOWN]])
    yield "last poll", _moment(status.last_poll_at)
    yield "last full listing", _moment(status.last_walk_at)


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


def _expiring(expiring: ExpiringFiles) -> str:
    return f"{human_files(expiring.count)} within a day, the first {expiring.first} at {_moment(expiring.first_at)}"


def _shared(shared: SharedUse) -> list[str]:
    waiting = f", {human_files(shared.waiting_files)} to go" if shared.waiting_files else ""
    state = f"{shared.store}: {human_files(shared.stored_files)}{waiting}"
    trouble = [f"out of reach: {shared.trouble}"] if shared.trouble else []
    return [state, *trouble, *(f"{item.path}: {item.reason}" for item in shared.failed), *_orphans(shared)]


def _orphans(shared: SharedUse) -> Iterator[str]:
    if shared.orphans:
        yield f"{shared.orphans:,} objects of files that are gone, {human_size(shared.orphan_bytes)}"
    if shared.orphans_held:
        yield f"{shared.orphans_held:,} of them would go at once, and stay: see `remotefs accept-removals --help`"
    if shared.orphans_trouble:
        yield f"objects of files that are gone stay: {shared.orphans_trouble}"


def _uploading(upload: Uploading) -> str:
    percent = 100 * upload.sent // upload.size if upload.size else 0
    return f"{upload.path}: {percent} % of {human_size(upload.size)}"


def _requests(requests: Requests) -> str:
    limit = f"limit {requests.limit_per_minute:,} a minute" if requests.limit_per_minute else "no limit"
    refused = f"{requests.rate_limited:,} of them too many" if requests.rate_limited else None
    waiting = f"{requests.waiting:,} wait for their turn" if requests.waiting else None
    paused = f"paused for {human_duration(requests.paused_s)}" if requests.paused_s else None
    return ", ".join(filter(None, [f"{requests.used:,} sent", refused, limit, waiting, paused]))


def _error(error: FailedRequest) -> str:
    known = error.request_id is None or error.request_id in error.message
    return f"{_moment(error.at)}: {error.message}{'' if known else f' (request {error.request_id})'}"


def _failure(failure: TaskFailed) -> str:
    times = "once" if failure.count == 1 else f"{failure.count:,} times, last"
    return f"{failure.task} failed {times} {_moment(failure.at)}: {failure.reason}"


def _lines(name: str, values: list[str]) -> Iterator[tuple[str, str]]:
    for index, value in enumerate(values):
        yield (name if index == 0 else ""), value


def _moment(at: float | None) -> str:
    if at is None:
        return "never"
    return datetime.fromtimestamp(at, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
