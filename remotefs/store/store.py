"""The owners of all tables in one record, for code that works with several of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from remotefs.clocks import Machine, SteadyClock
from remotefs.store.database import Database
from remotefs.store.journal import Journal
from remotefs.store.meta import Meta
from remotefs.store.orphans import Orphans
from remotefs.store.remotes import Remotes
from remotefs.store.renames import Renames
from remotefs.store.shared_log import SharedLog
from remotefs.store.shares import Shares
from remotefs.store.tree import Tree
from remotefs.store.xattrs import Xattrs


@dataclass(frozen=True)
class Store:
    """The tables of one database. A transaction of `database` covers all of them."""

    database: Database
    tree: Tree
    xattrs: Xattrs
    journal: Journal
    remotes: Remotes
    renames: Renames
    shares: Shares
    shared_log: SharedLog
    orphans: Orphans
    meta: Meta
    # The clock of `remote.known_ns`: when the row of a remote file was added.
    steady: SteadyClock

    @classmethod
    def of(cls, database: Database, *, root_uid: int, root_gid: int, machine: Machine | None = None) -> Self:
        """Return the owners for an open database. Makes the root directory if there is none."""
        tree = Tree(database, root_uid=root_uid, root_gid=root_gid)
        meta = Meta(database)
        steady = SteadyClock(machine or Machine(), meta.facts.steady)
        remotes, renames, shares = Remotes(database, steady), Renames(database), Shares(database)
        store = cls(
            database, tree, Xattrs(database, tree), Journal(database), remotes, renames, shares, SharedLog(database),
            Orphans(database), meta, steady,
        )  # fmt: skip
        if steady.is_anew:
            store.set_back()
        return store

    def set_back(self) -> None:
        """Bring the times that are kept back to a steady clock that has gone back: they would never come."""
        now_ns = self.steady()
        with self.database.transaction():
            self.journal.set_back(now_ns)
            self.remotes.set_back(now_ns)
            self.meta.record(
                steady=self.steady.mark(), service_clock=None, aged_to=None, walked_ns=0,
                listed_ns=min(self.meta.facts.listed_ns, now_ns),
            )  # fmt: skip
