"""What the mount asks by itself: listings alone, as often as the settings and the share of the limit allow (A4)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from remotefs.api.budget import GA_LIMIT_PER_MINUTE
from remotefs.config import RefreshConfig
from tests.costs.support import listing_times, published
from tests.mount.support import eventually, mounted
from tests.server_process import ServerProcess, running_server, seed_rows

pytestmark = pytest.mark.mount
# Of a gap between two requests, as the server sees it: the rest is how long it took to be asked.
_NEARLY = 0.9


def poll_gaps(server: ServerProcess, count: int) -> list[float]:
    """Seconds between the next listings."""
    seen = len(listing_times(server))
    eventually(lambda: len(listing_times(server)) > seen + count)
    return [later - earlier for earlier, later in pairwise(listing_times(server)[seen:])]


def test_the_published_figures_are_those_of_the_settings() -> None:
    config, figures = RefreshConfig(), published("Background requests")

    assert figures["a minute without use"] == (60 / config.poll_idle_s,)
    assert figures["a minute of use"] == (60 / config.poll_in_use_s,)
    assert figures["a minute of use"] == (GA_LIMIT_PER_MINUTE * config.budget_fraction,)
    assert figures["the full listing of 100,000 files, once an hour"] == (100_000 / 1000,)
    assert config.walk_every_s == 3600


def test_the_first_listing_takes_a_request_for_a_thousand_files(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", "--log-requests") as server:
        seed_rows(server.root, 2500)
        quiet = {"REMOTEFS_REFRESH_POLL_IN_USE_S": "3600", "REMOTEFS_REFRESH_POLL_IDLE_S": "3600"}
        with mounted(tmp_path, server.url, server.key, settings=quiet) as mount:
            assert len(list(mount.path.iterdir())) == 2500
            assert [request["op"] for request in server.requests()] == ["list"] * 3


def test_an_idle_mount_asks_nothing_but_one_listing_an_interval(tmp_path: Path) -> None:
    settings = {
        "REMOTEFS_REFRESH_POLL_IN_USE_S": "0.01",
        "REMOTEFS_REFRESH_POLL_IDLE_S": "0.5",
        "REMOTEFS_REFRESH_IDLE_AFTER_S": "0.3",
    }
    with (
        running_server(tmp_path / "server", "--log-requests") as server,
        mounted(tmp_path, server.url, server.key, settings=settings) as mount,
    ):
        (mount.path / "f").write_text("in use")
        mount.flush()
        eventually(lambda: is_idle(server))
        before = len(server.requests())
        assert sum(poll_gaps(server, 4)) >= 4 * 0.5 * _NEARLY
        assert {request["op"] for request in server.requests()[before:]} == {"list"}


def is_idle(server: ServerProcess) -> bool:
    """Whether the last two listings are as far apart as those of an idle mount."""
    *_, earlier, later = listing_times(server)
    return later - earlier > 0.5 * _NEARLY


def test_polls_keep_to_their_share_of_the_limit(tmp_path: Path) -> None:
    # 2 % of 6,000 a minute are two a second, whatever the intervals ask for.
    settings = {
        "REMOTEFS_REFRESH_POLL_IN_USE_S": "0.01",
        "REMOTEFS_REFRESH_POLL_IDLE_S": "0.01",
        "REMOTEFS_SERVICE_REQUESTS_PER_MINUTE": "6000",
    }
    with (
        running_server(tmp_path / "server", "--log-requests") as server,
        mounted(tmp_path, server.url, server.key, settings=settings),
    ):
        assert sum(poll_gaps(server, 4)) >= 4 * 0.5 * _NEARLY
