from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remotefs.store.database import Database
from remotefs.store.journal import Journal
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "state.db")
    yield opened
    opened.close()


@pytest.fixture
def tree(database: Database) -> Tree:
    return Tree(database, root_uid=1000, root_gid=100)


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


@pytest.fixture
def remotes(database: Database) -> Remotes:
    return Remotes(database)
