"""The parts of a mount that work with the shared store; a part of the composition root, apart for its length."""

from __future__ import annotations

from collections.abc import Callable

from remotefs.clocks import ServiceClock
from remotefs.config import SharedConfig
from remotefs.data.kernel import Invalidator, Usage
from remotefs.data.reconcile.applier import Applier
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.data.share.connection import StoreConnection
from remotefs.data.share.contents import SharedContents
from remotefs.data.share.exchange import Exchange
from remotefs.data.share.log_reader import LogReader
from remotefs.data.share.publisher import Publisher
from remotefs.data.share.shared_records import SharedRecords
from remotefs.data.share.stamps import HybridClock
from remotefs.data.share.tree_records import TreeRecords
from remotefs.data.writeback.waiters import Waiters
from remotefs.objects.link import Link
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup


def shared_contents(
    store: Store, config: SharedConfig, clock: ServiceClock, waiters: Waiters, link: Link
) -> SharedContents:
    """Build what knows the bytes in the store. Raises UsageError for an address that cannot be used here."""
    connection = StoreConnection(config.store, store.meta, waiters.notify, link) if config.store else None
    return SharedContents(store, connection, clock.now_ns)


def build_exchange(
    store: Store,
    contents: SharedContents,
    clock: ServiceClock,
    placer: TreePlacer,
    invalidator: Invalidator,
    usage: Usage,
    waiters: Waiters,
    poll_s: Callable[[], float],
) -> Exchange:
    """Build what exchanges attributes with other machines; from here on changes are marked for it."""
    wakeup = Wakeup()
    store.shared_log.watch(wakeup.set)
    records, tree_records = SharedRecords(store.database, store.shared_log), TreeRecords(store)
    stamps = HybridClock(clock.now_ns, store.meta.facts.shared_hlc)
    publisher = Publisher(store, contents, records, tree_records, stamps)
    reader = LogReader(store, contents, records, stamps)
    applier = Applier(store, tree_records, placer, invalidator, usage)
    return Exchange(
        store.shared_log, contents, publisher, reader, applier.apply, waiters.notify, wakeup,
        poll_s=poll_s,
    )  # fmt: skip
