"""Requests per action, counted in the log of the server: docs/requests.md is the expectation (A4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.costs.actions import ACTIONS, missing
from tests.costs.scene import Cost, Scene, workshop
from tests.costs.support import published

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def make_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Scene]]:
    with workshop(tmp_path_factory.mktemp("costs")) as make:
        yield make


def expected() -> dict[str, Cost]:
    """What the document says: uploads, downloads and deletes of each action, then their sum."""
    table = published("What an action costs")
    assert all(total == sum(parts) for *parts, total in table.values())
    return {name: Cost(*map(int, parts)) for name, (*parts, _) in table.items()}


def test_the_document_has_every_action_and_no_other() -> None:
    assert list(expected()) == list(ACTIONS)


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_costs_what_the_document_says(name: str, make_scene: Callable[[str], Scene]) -> None:
    if program := missing(name):
        pytest.skip(f"{program} is not installed")
    scene = make_scene(f"action {list(ACTIONS).index(name)}")
    assert scene.cost_of(ACTIONS[name](scene)) == expected()[name]
