"""How fast a mount works, from two of its answers: pure."""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.cli.console import human_duration, human_files, human_size
from remotefs.control.messages.status import Counters, Status

_MINUTE_S = 60.0


@dataclass(frozen=True)
class Rates:
    """What happened between two answers, in a second or a minute, and what is left to upload.

    `eta_s` is how long that takes at this rate; None while nothing goes up.
    """

    requests_per_minute: float
    operations_per_s: float
    upload_bytes_per_s: float
    download_bytes_per_s: float
    left_files: int
    left_bytes: int
    eta_s: float | None


def rates_between(before: Status, after: Status) -> Rates | None:
    """Return the rates between two answers of one mount; None where it began again meanwhile."""
    old, new = before.counters, after.counters
    seconds = new.uptime_s - old.uptime_s
    if seconds <= 0 or old.since != new.since or before.pid != after.pid:
        return None
    up = (new.uploaded_bytes - old.uploaded_bytes) / seconds
    left = max(after.pending_bytes - sum(upload.sent for upload in after.uploading), 0)
    return Rates(
        requests_per_minute=(_requests(new) - _requests(old)) * _MINUTE_S / seconds,
        operations_per_s=(_operations(new) - _operations(old)) / seconds,
        upload_bytes_per_s=up + (new.store_sent_bytes - old.store_sent_bytes) / seconds,
        download_bytes_per_s=(_received(new) - _received(old)) / seconds,
        left_files=sum(kind.count for kind in after.pending if kind.kind != "delete"),
        left_bytes=left,
        eta_s=left / up if up > 0 else None,
    )


def rate_rows(rates: Rates) -> list[tuple[str, str]]:
    """Return the lines that `status --watch` shows below the state of a mount."""
    up, down = human_size(int(rates.upload_bytes_per_s)), human_size(int(rates.download_bytes_per_s))
    text = (
        f"{rates.requests_per_minute:,.0f} requests a minute, {rates.operations_per_s:,.0f} operations a second, "
        f"{up}/s up, {down}/s down"
    )
    rows = [("rates", text)]
    if rates.left_files:
        eta = f", {human_duration(rates.eta_s)}" if rates.eta_s is not None else ""
        rows.append(("to upload", f"{human_files(rates.left_files)}, {human_size(rates.left_bytes)} to go{eta}"))
    return rows


def _requests(counters: Counters) -> int:
    return sum(one.count for one in counters.requests)


def _operations(counters: Counters) -> int:
    return sum(one.count for one in counters.operations)


def _received(counters: Counters) -> int:
    return counters.downloaded_bytes + counters.store_received_bytes
