"""The vendor's own SDKs judge the local server: a real server process, a real socket, each SDK in its environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from remotefs.server import Store
from tests.server_process import ServerProcess, environment, running_server, seed_rows

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent.parent / ".envs"
MANY = 2500

pytestmark = pytest.mark.sdk


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    root = tmp_path_factory.mktemp("servers")
    with closing(Store(root / "many")):
        seed_rows(root / "many", MANY)
    with closing(Store(root / "faithful")) as store:
        store.add_generated("plot.csv", b"generated")
    flags = {
        "own": ("--max-file-bytes", "1000000"),
        "many": (),
        "faithful": ("--faithful",),
        "limited": ("--rpm", "20"),
    }
    with ExitStack() as running:
        yield {name: running.enter_context(running_server(root / name, *flags[name])) for name in flags}


@pytest.fixture(scope="module", params=["2.14.0", pytest.param("2.12.0", marks=pytest.mark.long), "0.75.0"])
def seen(request: pytest.FixtureRequest, servers: dict[str, ServerProcess]) -> dict[str, Any]:
    """What one SDK saw."""
    python = ENVIRONMENTS / f"anthropic-{request.param}" / "bin" / "python"
    assert python.exists(), f"the environment of SDK {request.param} is missing: `make test` prepares it"
    places = {name: {"url": server.url, "key": server.key} for name, server in servers.items()}
    judged = subprocess.run(
        [python, HERE / "judge.py"],
        input=json.dumps(places),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
        check=False,
    )
    assert judged.returncode == 0, judged.stderr
    found: dict[str, Any] = json.loads(judged.stdout)
    assert found["version"] == request.param
    return found


def unnamed(seen: dict[str, Any]) -> str:
    """The SDKs of the beta call what has no name `upload`; those after it send no filename."""
    return "unnamed.bin" if seen["ga"] else "upload"


def test_a_path_goes_up_and_comes_down(seen: dict[str, Any]) -> None:
    assert seen["uploads"]["path"] == {
        "filename": "données (1).txt",
        "mime_type": "text/plain",
        "size_bytes": 11,
        "downloadable": True,
        "metadata_is_equal": True,
        "content": "from a path",
    }


@pytest.mark.parametrize("source", ["bytes", "stream"])
def test_bytes_and_streams_without_a_name(seen: dict[str, Any], source: str) -> None:
    found = seen["uploads"][source]
    assert found["filename"] == unnamed(seen)
    assert found["mime_type"] == "application/octet-stream"
    assert found["content"] == {"bytes": "from bytes", "stream": "from a stream"}[source]


def test_a_name_and_a_type_of_ones_own(seen: dict[str, Any]) -> None:
    found = seen["uploads"]["tuple"]
    assert (found["filename"], found["mime_type"], found["content"]) == ("a.json", "application/json", "{}")
    assert seen["uploads"]["large"] == 900_000


def test_auto_pagination_goes_through_everything_once(seen: dict[str, Any]) -> None:
    assert seen["listing"]["all"] == [f"file_seed{number:07}" for number in reversed(range(MANY))]
    assert (seen["listing"]["default_page"], seen["listing"]["first_page"]) == (20, 10)
    assert seen["listing"]["has_next"] is True


def test_delete(seen: dict[str, Any]) -> None:
    assert seen["deleted"]["id_is_equal"]
    assert seen["deleted"]["type"] == "file_deleted"
    for error in (seen["deleted"]["after"], seen["deleted"]["twice"]):
        assert (error["status"], error["type"]) == (404, "not_found_error")
        assert "NotFoundError" in error["is"]
        assert error["request_id_matches"]


def test_an_upload_is_not_downloadable_in_the_faithful_mode(seen: dict[str, Any]) -> None:
    found = seen["not_downloadable"]
    assert found["downloadable"] is False
    assert found["error"]["status"] == 400
    assert "BadRequestError" in found["error"]["is"]
    assert found["error"]["details"] == {"error_code": "file_not_downloadable"}
    assert found["generated"] == "generated"


@pytest.mark.parametrize(
    ("case", "kind", "status", "type_"),
    [
        ("wrong_key", "AuthenticationError", 401, "authentication_error"),
        ("too_large", "RequestTooLargeError", 413, "request_too_large"),
        ("bad_name", "BadRequestError", 400, "invalid_request_error"),
        ("rate_limited", "RateLimitError", 429, "rate_limit_error"),
    ],
)
def test_typed_errors(seen: dict[str, Any], case: str, kind: str, status: int, type_: str) -> None:
    found = seen[case]
    # The name that the newer SDK has for it.
    kind = "ContentTooLargeError" if seen["ga"] and case == "too_large" else kind
    assert (found["status"], found["type"]) == (status, type_)
    assert kind in found["is"]
    assert found["request_id_matches"]


def test_a_rate_limit_says_when_to_come_back(seen: dict[str, Any]) -> None:
    assert 1 <= int(seen["rate_limited"]["retry_after"]) <= 3


def test_what_only_the_ga_shape_has(seen: dict[str, Any]) -> None:
    if not seen["ga"]:
        assert "expiring" not in seen
        return
    assert seen["expiring"]["seconds"] == 3600
    assert seen["by_ids"] == ["file_seed0000009", "file_seed0000007"]
