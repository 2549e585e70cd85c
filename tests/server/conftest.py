"""A real server for the tests of this folder, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from remotefs.server import Store
from tests.faults import FaultyServer, faulty_server

BETA = {"anthropic-beta": "files-api-2025-04-14"}
MANAGED = {"anthropic-beta": "managed-agents-2026-04-01"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    """A server on a real socket, without faults unless a test scripts some."""
    with faulty_server(tmp_path / "root") as running:
        yield running


@pytest.fixture
def client(server: FaultyServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=server.headers) as http:
        yield http


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store without a server."""
    opened = Store(tmp_path / "store")
    try:
        yield opened
    finally:
        opened.close()
