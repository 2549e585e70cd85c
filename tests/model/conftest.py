from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.harness import Portal, portal


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The modes of what is made are compared."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for servers and state: in memory where that can be, for nothing here is about power cuts."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("scratch")
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def loop() -> Iterator[Portal]:
    with portal() as running:
        yield running
