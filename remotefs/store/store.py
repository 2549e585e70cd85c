"""The tables of a mount, each with its one owner, for whoever works with several of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from remotefs.clocks import Machine, SteadyClock
from remotefs.store.database import Database
from remotefs.store.journal import Journal
from remotefs.store.meta import Meta
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree


@dataclass(frozen=True)
class Store:
    """What one database holds; a transaction of `database` spans all of it."""

    database: Database
    tree: Tree
    journal: Journal
    remotes: Remotes
    meta: Meta
    # The clock that the rows' times of becoming known are by.
    steady: SteadyClock

    @classmethod
    def of(cls, database: Database, *, root_uid: int, root_gid: int, machine: Machine | None = None) -> Self:
        """The owners of an open database; makes the root directory where there is none."""
        tree = Tree(database, root_uid=root_uid, root_gid=root_gid)
        meta = Meta(database)
        steady = SteadyClock(machine or Machine(), meta.facts.steady)
        return cls(database, tree, Journal(database), Remotes(database, steady), meta, steady)
