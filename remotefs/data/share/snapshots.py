"""When the log of this machine gets a snapshot, and when what a snapshot stands for goes. Pure.

    none ─ more than 64 segments ─► newest ─ there is no next base ─► next base ─ a week ─► base ─► what is older goes

Times are those that `Facts.aged_ns` counts: they pass only while all clocks agree that they do.
"""

from __future__ import annotations

from msgspec.structs import replace

from remotefs.clocks import DAY_NS
from remotefs.store.meta import Facts, Snapshots

# A log with more segments than this since its last snapshot gets another one; one with any, after a day.
MOST_SEGMENTS = 64
# Longer than any reader is in the middle of a log.
KEPT_NS = 7 * DAY_NS


def is_snapshot_due(facts: Facts) -> bool:
    """Return whether a snapshot of all segments is worth its bytes."""
    snapshots = facts.shared_snapshots
    if snapshots.newest is None:
        return facts.shared_sequence > MOST_SEGMENTS
    news = facts.shared_sequence - 1 - snapshots.newest
    return news > MOST_SEGMENTS or (news > 0 and facts.aged_ns - snapshots.newest_ns >= DAY_NS)


def with_snapshot(snapshots: Snapshots, sequence: int, now_ns: int) -> Snapshots:
    """Return what is so after a snapshot was put."""
    after = replace(snapshots, newest=sequence, newest_ns=now_ns)
    return after if snapshots.next_base is not None else replace(after, next_base=sequence, next_base_ns=now_ns)


def without_any(snapshots: Snapshots) -> Snapshots:
    """Return what is so after a snapshot turned out to be damaged: the log begins where it did, and needs a new one."""
    return replace(snapshots, newest=None, next_base=None)


def is_base_due(facts: Facts) -> bool:
    """Return whether the log may begin with its next base, which everybody who needs it can have read."""
    snapshots = facts.shared_snapshots
    return snapshots.next_base is not None and facts.aged_ns - snapshots.next_base_ns >= KEPT_NS


def with_base(snapshots: Snapshots, now_ns: int) -> Snapshots:
    """Return what is so once the log begins with its next base; a newer snapshot is the one after it."""
    is_newer = snapshots.newest != snapshots.next_base
    return replace(
        snapshots, base=snapshots.next_base, removal_ns=now_ns, next_base=snapshots.newest if is_newer else None,
        next_base_ns=snapshots.newest_ns,
    )  # fmt: skip


def is_removal_due(facts: Facts) -> bool:
    """Return whether what lies before the base is to be removed now."""
    removal_ns = facts.shared_snapshots.removal_ns
    return removal_ns is not None and facts.aged_ns >= removal_ns


def with_removal(snapshots: Snapshots, removal_ns: int | None) -> Snapshots:
    """Return what is so after a removal; `removal_ns`: when it is tried again, None if nothing is left."""
    return replace(snapshots, removal_ns=removal_ns)
