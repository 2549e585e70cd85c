"""The parts of a mount that work with the shared store; a part of the composition root, apart for its length."""

from __future__ import annotations

import random
from collections.abc import Callable

from remotefs.api.connectivity import Connectivity
from remotefs.api.protocols import IdLister
from remotefs.clocks import ServiceClock
from remotefs.config import Config, SharedConfig
from remotefs.data.kernel import Invalidator, Usage
from remotefs.data.reconcile.applier import Applier
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.data.share.compaction import Compaction
from remotefs.data.share.complete_listings import CompleteListings
from remotefs.data.share.connection import StoreConnection
from remotefs.data.share.contents import SharedContents
from remotefs.data.share.exchange import Exchange
from remotefs.data.share.janitor import Age, Janitor
from remotefs.data.share.last_look import LastLook
from remotefs.data.share.log_objects import LogObjects
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
    assert contents.connection is not None
    logs = LogObjects(store.meta, contents.connection)
    publisher = Publisher(store, logs, records, tree_records, stamps)
    reader = LogReader(store, logs, records, stamps)
    compaction = Compaction(store, logs, publisher)
    applier = Applier(store, tree_records, placer, invalidator, usage)
    return Exchange(
        store.shared_log, contents, publisher, reader, compaction, applier.apply, waiters.notify, wakeup,
        poll_s=poll_s,
    )  # fmt: skip


def build_janitor(
    store: Store,
    contents: SharedContents,
    listings: CompleteListings,
    lister: IdLister,
    connectivity: Connectivity,
    clock: ServiceClock,
    age: Age,
    config: Config,
    *,
    is_reader: bool,
) -> Janitor:
    """Build what deletes the objects of files that are gone; from here on files that go away are kept for it."""
    store.orphans.watch()
    last_look = LastLook(store.remotes, lister)
    return Janitor(
        store, contents, listings, last_look, connectivity, clock, age, config.shared, config.refresh,
        is_reader=is_reader, chance=random.random,
    )  # fmt: skip
