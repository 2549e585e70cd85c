"""The state of a mount as metrics for Prometheus (H5): pure, from the record that `status` shows.

Only a mount that serves metrics loads this module, and with it prometheus-client. Labels take few values: the kind of a
request, its status, an operation, the class of an error. No path, no name and no id is in any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from remotefs import __version__
from remotefs.control.messages.status import Counters, SharedUse, Status, Timing
from remotefs.store.records import IntentKind

_PREFIX = "remotefs_"


def exposition(accept: str, status: Status) -> tuple[bytes, str]:
    """Return the metrics as text, in the format that an Accept header asks for, and its content type."""
    encode, content_type = choose_encoder(accept)
    return encode(_Snapshot(status)), content_type


class _Snapshot(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """Return the families of all metrics."""
        yield from families(self._status)
        # Memory, processor, open files of this process.
        yield from ProcessCollector(registry=None).collect()


def families(status: Status) -> Iterator[Metric]:
    """Yield the metrics of a mount."""
    yield _gauge("build_info", "The version that runs, as a label.", 1, {"version": __version__})
    yield _gauge("start_time_seconds", "When the mount began, in seconds since the epoch.", status.counters.since)
    yield from _state(status)
    yield from _queue(status)
    yield from _local(status)
    yield from _service(status)
    yield from _kernel(status.counters)


def _state(status: Status) -> Iterator[Metric]:
    yield _gauge("online", "Whether the service answers.", status.online)
    yield _gauge("writable", "Whether changes can be written down on this disk.", status.unwritable is None)
    yield _gauge("draining", "Whether the mount is about to end.", status.draining)
    yield _gauge("files", "Files of the service that are known.", status.files)
    yield _gauge("failing_tasks", "Tasks of the mount that have failed and were begun again.", len(status.failures))
    held = "Files that are missing or expired at once, and wait for `remotefs accept-removals`."
    yield _gauge("held_removals", held, status.removals_held)
    yield _gauge("expiring_files", "Files that expire within a day.", status.expiring.count)
    yield _gauge("damaged_files", "Files whose only bytes were found damaged.", len(status.damaged))
    polled, walked = status.last_poll_at or 0, status.last_walk_at or 0
    yield _gauge("last_poll_timestamp_seconds", "When the newest files were last listed.", polled)
    yield _gauge("last_full_listing_timestamp_seconds", "When all files were last listed.", walked)


def _queue(status: Status) -> Iterator[Metric]:
    by_kind = {kind.kind: kind for kind in status.pending}
    changes, oldest = {}, {}
    for kind in IntentKind:
        pending = by_kind.get(kind)
        changes[kind.value] = pending.count if pending else 0
        oldest[kind.value] = (pending.oldest_age_s if pending else None) or 0.0
    yield _gauges("pending_changes", "Changes that the service does not have yet.", "kind", changes)
    yield _gauges("oldest_pending_seconds", "How long the oldest pending change has waited.", "kind", oldest)
    yield _gauge("pending_bytes", "Bytes of the files that are to be uploaded.", status.pending_bytes)
    yield _gauge("uploads_running", "Uploads under way.", len(status.uploading))
    yield _gauge("failed_changes", "Pending changes that have failed at least once, 20 at most.", len(status.failed))


def _local(status: Status) -> Iterator[Metric]:
    content = status.content
    text = "Bytes on this disk: pinned ones exist nowhere else, cached ones can be fetched again."
    kept = {"pinned": content.pinned_bytes, "cached": content.evictable_bytes, "staged": content.staging_bytes}
    yield _gauges("content_bytes", text, "kind", kept)
    yield _gauge("pinned_files", "Files whose bytes exist only on this disk.", content.pinned_files)
    yield _gauge("trash_files", "Files in the local trash.", status.trashed)
    yield _gauge("trash_bytes", "Bytes in the local trash.", status.trashed_bytes)
    shared = status.shared or SharedUse(store="")
    text = "Objects in the shared store whose files are gone."
    yield _gauge("shared_orphans", text, shared.orphans)
    yield _gauge("shared_orphan_bytes", "The bytes of these objects.", shared.orphan_bytes)
    text = "Objects whose files are gone, and that wait for `remotefs accept-removals`."
    yield _gauge("held_shared_orphans", text, shared.orphans_held)
    counters = status.counters
    reads = {"hit": counters.cache_hits, "miss": counters.cache_misses}
    text = "Reads that this disk answered, and those that needed the service."
    yield _counters("content_reads", text, "result", reads)
    size = {"hit": counters.cache_hit_bytes, "miss": counters.cache_missed_bytes}
    yield _counters("content_read_bytes", "The bytes of these reads.", "result", size)


def _service(status: Status) -> Iterator[Metric]:
    counters, requests = status.counters, status.requests
    sent = CounterMetricFamily(
        _PREFIX + "requests",
        "Requests to the service by kind and HTTP status; none: no reply.",
        labels=["kind", "status"],
    )
    for one in counters.requests:
        sent.add_metric([one.kind, str(one.status) if one.status else "none"], one.count)
    yield sent
    yield _histogram(
        "request_duration_seconds", "From a request to the head of its reply.", "kind", counters, counters.request_times
    )
    text = "Attempts at a request that failed, by the class of the error."
    yield _counters("request_errors", text, "error", counters.errors)
    yield _counter(
        "uploaded_bytes", "Bytes of files that were sent, repeated attempts included.", counters.uploaded_bytes
    )
    yield _counter("downloaded_bytes", "Bytes of files that were received.", counters.downloaded_bytes)
    yield _counter(
        "store_sent_bytes", "Bytes that were sent to the shared store, repeated attempts included.",
        counters.store_sent_bytes,
    )  # fmt: skip
    text = "Bytes that were received from the shared store."
    yield _counter("store_received_bytes", text, counters.store_received_bytes)
    yield _counter("rate_limited_requests", "Requests that the service refused as too many.", requests.rate_limited)
    limit = requests.limit_per_minute
    text = "Requests that may be sent in a minute; 0: no limit."
    yield _gauge("request_limit_per_minute", text, limit or 0)
    yield _gauge("waiting_requests", "Requests that wait for their turn in the request budget.", requests.waiting)
    yield _gauge("request_pause_seconds", "How long the service has asked to pause from now on.", requests.paused_s)


def _kernel(counters: Counters) -> Iterator[Metric]:
    text = "How long requests of the kernel took, by operation."
    yield _histogram("operation_duration_seconds", text, "operation", counters, counters.operations)
    errors = {operation.name: operation.errors for operation in counters.operations}
    text = "Requests of the kernel that were answered with an error."
    yield _counters("operation_errors", text, "operation", errors)


def _histogram(name: str, text: str, label: str, counters: Counters, timings: Iterable[Timing]) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, text, labels=[label])
    for one in timings:
        buckets = [(str(end_s), float(count)) for end_s, count in zip(counters.buckets_s, one.within, strict=True)]
        family.add_metric([one.name], [*buckets, ("+Inf", float(one.count))], sum_value=one.seconds)
    return family


def _gauge(name: str, text: str, value: float, labels: dict[str, str] | None = None) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=list(labels or ()))
    family.add_metric(list((labels or {}).values()), float(value))
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(GaugeMetricFamily(_PREFIX + name, text, labels=[label]), values)


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(CounterMetricFamily(_PREFIX + name, text, labels=[label]), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for value_of_label, value in values.items():
        family.add_metric([value_of_label], value)
    return family
