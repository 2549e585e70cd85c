from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest


from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import Mounted, mounted

MakeMount = Callable[..., Mounted]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.mount)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def make_mount(tmp_path: Path) -> Iterator[MakeMount]:
    """Mounts of a server, each with a state folder of its own."""
    with ExitStack() as mounts:
        count = 0

        def make(server: FaultyServer, *arguments: object, **options: dict[str, str]) -> Mounted:
            nonlocal count
            count += 1
            return mounts.enter_context(
                mounted(tmp_path / f"mount{count}", server.url, KEY, *arguments, **options)  # type: ignore[arg-type]  # settings
            )

        yield make


@pytest.fixture
def mount(server: FaultyServer, make_mount: MakeMount) -> Mounted:
    return make_mount(server)
