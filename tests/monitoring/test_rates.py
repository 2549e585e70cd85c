"""What `status --watch` shows of two answers of a mount."""

from __future__ import annotations

from typing import Any

from remotefs.cli.commands.status_rates import rate_rows, rates_between
from remotefs.control.messages.status import Counters, PendingKind, RequestCount, Status, Timing, Uploading


def answer(uptime_s: float, requests: int, up: int, **fields: Any) -> Status:
    counters = Counters(
        since=5.0,
        uptime_s=uptime_s,
        requests=(RequestCount(kind="list", status=200, count=requests),),
        operations=(Timing(name="read", count=10 * requests, errors=0, seconds=1.0, within=()),),
        uploaded_bytes=up,
        downloaded_bytes=2 * up,
    )
    known = {"mountpoint": "/m", "state_dir": "/s", "base_url": "http://x", "pid": 1, "online": True}
    return Status(counters=fields.pop("counters", counters), **(known | fields))


LEFT = {
    "pending": (PendingKind(kind="upload", count=3), PendingKind(kind="delete", count=9)),
    "pending_bytes": 12 << 20,
    "uploading": (Uploading(path="a", size=8 << 20, sent=2 << 20),),
}


def test_rates_are_of_the_time_between_the_answers_and_say_how_long_the_rest_takes() -> None:
    rates = rates_between(answer(10.0, 100, 0), answer(14.0, 120, 1 << 20, **LEFT))
    assert rates is not None
    assert (rates.requests_per_minute, rates.operations_per_s) == (300.0, 50.0)
    assert (rates.upload_bytes_per_s, rates.download_bytes_per_s) == (1 << 18, 1 << 19)
    assert (rates.left_files, rates.left_bytes, rates.eta_s) == (3, 10 << 20, 40.0)
    text = "\n".join(f"{name}: {value}" for name, value in rate_rows(rates))
    assert "300 requests a minute, 50 operations a second, 256.0 KiB/s up, 512.0 KiB/s down" in text
    assert "to upload: 3 files, 10.0 MiB to go, 40 s" in text


def test_while_nothing_goes_up_nobody_knows_how_long_the_rest_takes() -> None:
    rates = rates_between(answer(10.0, 100, 0), answer(14.0, 120, 0, **LEFT))
    assert rates is not None
    assert rates.eta_s is None
    assert rate_rows(rates)[-1] == ("to upload", "3 files, 10.0 MiB to go")


def test_a_mount_that_began_again_has_no_rates() -> None:
    assert rates_between(answer(900.0, 100, 7), answer(1.0, 1, 0)) is None
    assert rates_between(answer(1.0, 1, 0), answer(1.0, 1, 0)) is None
