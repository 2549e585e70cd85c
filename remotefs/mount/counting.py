"""Gathers the counters of the parts, for `status --json` and for metrics. Each part counts its own, once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from remotefs.control.messages.status import Counters, RequestCount, Timing
from remotefs.counters import BUCKETS_S, Timings
from remotefs.mount.assembly import Components


def counters_of(parts: Components) -> Counters:
    """Return the counters of this moment."""
    traffic, downloads = parts.client.traffic, parts.downloader.statistics()
    link = parts.shared.link
    return Counters(
        since=parts.began_s,
        uptime_s=time.monotonic() - parts.began_monotonic_s,
        requests=tuple(
            RequestCount(kind=kind, status=status, count=count)
            for (kind, status), count in sorted(traffic.requests.items())
        ),
        buckets_s=BUCKETS_S,
        request_times=_timings(traffic.timings),
        operations=_timings(parts.requests.timings),
        errors=dict(sorted(traffic.errors.items())),
        uploaded_bytes=parts.client.uploads.flowed_bytes,
        downloaded_bytes=parts.client.downloads.flowed_bytes,
        store_sent_bytes=link.sent_bytes if link is not None else 0,
        store_received_bytes=link.received_bytes if link is not None else 0,
        cache_hits=downloads.hits,
        cache_misses=downloads.misses,
        cache_hit_bytes=downloads.hit_bytes,
        cache_missed_bytes=downloads.missed_bytes,
        unlogged=parts.access_log.dropped,
    )


def _timings(timings: Mapping[Any, Timings]) -> tuple[Timing, ...]:
    return tuple(
        Timing(name=name, count=one.count, errors=one.errors, seconds=one.seconds, within=one.within())
        for name, one in sorted(timings.items())
    )
