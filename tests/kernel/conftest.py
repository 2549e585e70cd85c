from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kernel.probe import Probe, mount_fusectl


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.mount)
            item.add_marker(pytest.mark.root("what the kernel does, by a probe that belongs to root"))


@pytest.fixture(scope="module")
def shared_probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    mount_fusectl()
    probe = Probe(tmp_path_factory.mktemp("probe"), options=["allow_other"])
    try:
        yield probe
    finally:
        probe.close()


@pytest.fixture
def probe(shared_probe: Probe) -> Iterator[Probe]:
    """The mount of this module with default options; names in it are other tests' too, so use fresh ones."""
    with shared_probe.watched():
        yield shared_probe


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Probe]]:
    """Mount a probe of one's own, with other settings or empty."""
    mount_fusectl()
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(**config: object) -> Probe:
            probe = Probe(tmp_path / str(next(numbers)), **config)
            stack.callback(probe.close)
            return stack.enter_context(probe.watched())

        yield start
