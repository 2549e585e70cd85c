"""Both kinds of cursor, their limits, and order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.faults import FaultyServer
from tests.server_process import seed_rows

BETA = {"anthropic-beta": "files-api-2025-04-14"}
MANAGED = {"anthropic-beta": "managed-agents-2026-04-01"}
COUNT = 47


@pytest.fixture
def seeded(server: FaultyServer, tmp_path: Any) -> FaultyServer:
    seed_rows(tmp_path / "root", COUNT)
    return server


def newest_first() -> list[str]:
    return [f"file_seed{number:07}" for number in reversed(range(COUNT))]


def ids(page: dict[str, Any]) -> list[str]:
    return [each["id"] for each in page["data"]]


def pages(client: httpx.Client, limit: int, **headers: str) -> Iterator[dict[str, Any]]:
    parameters: dict[str, Any] = {"limit": limit}
    while True:
        page = client.get("/v1/files", params=parameters, headers=headers).json()
        yield page
        if page["next_page"] is None:
            return
        assert page["next_page"].startswith("page_")
        parameters["page"] = page["next_page"]


@pytest.mark.usefixtures("seeded")
def test_twenty_unless_told(client: httpx.Client) -> None:
    assert ids(client.get("/v1/files").json()) == newest_first()[:20]


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("limit", [1, 7, COUNT - 1, COUNT, COUNT + 1, 1000])
def test_pages_go_through_everything_once(client: httpx.Client, limit: int) -> None:
    found = list(pages(client, limit))
    assert [each for page in found for each in ids(page)] == newest_first()
    assert all(page["data"] for page in found)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("headers", [BETA, MANAGED])
def test_after_id_goes_through_everything_once(client: httpx.Client, headers: dict[str, str]) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/files", params={"limit": 10, **cursor}, headers=headers).json()
        seen += ids(page)
        assert (page["first_id"], page["last_id"]) == (ids(page)[0], ids(page)[-1])
        if not page["has_more"]:
            break
        cursor = {"after_id": page["last_id"]}
    assert seen == newest_first()


@pytest.mark.usefixtures("seeded")
def test_before_id_gives_the_ones_next_to_it_newest_first(client: httpx.Client) -> None:
    order = newest_first()
    page = client.get("/v1/files", params={"before_id": order[10], "limit": 4}, headers=BETA).json()
    assert ids(page) == order[6:10]
    assert page["has_more"]
    page = client.get("/v1/files", params={"before_id": order[3], "limit": 4}, headers=BETA).json()
    assert ids(page) == order[:3]
    assert not page["has_more"]


@pytest.mark.usefixtures("server")
def test_an_empty_list(client: httpx.Client) -> None:
    assert client.get("/v1/files").json() == {"data": [], "next_page": None}
    empty = {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert client.get("/v1/files", headers=BETA).json() == empty


@pytest.mark.usefixtures("seeded")
def test_ids_are_looked_up_and_unknown_ones_left_out(client: httpx.Client) -> None:
    wanted = [newest_first()[3], "file_no", newest_first()[1]]
    page = client.get("/v1/files", params=[("ids[]", each) for each in wanted]).json()
    assert ids(page) == [newest_first()[1], newest_first()[3]]
    assert page["next_page"] is None


@pytest.mark.usefixtures("seeded")
def test_a_hundred_ids_at_most(client: httpx.Client) -> None:
    def asked(count: int) -> int:
        return client.get("/v1/files", params=[("ids[]", f"file_{number}") for number in range(count)]).status_code

    assert (asked(100), asked(101)) == (200, 400)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("before_id=file_seed0000001", {}),
        ("after_id=file_seed0000001", {}),
        ("page=page_x&ids[]=file_1", {}),
        ("page=page_x&ids[]=file_1", MANAGED),
        ("page=page_x&after_id=file_seed0000001", MANAGED),
        ("before_id=file_seed0000001&after_id=file_seed0000001", BETA),
        ("page=page_x", BETA),
        ("ids[]=file_1", BETA),
        ("page=page_x", {}),
        ("page=page_", {}),
        ("page=MQ", {}),
        ("page=page_%C3%A9", {}),
        ("after_id=file_no", BETA),
        ("limit=0", {}),
        ("limit=1001", {}),
        ("limit=-1", {}),
        ("limit=ten", {}),
        ("limit=", {}),
        ("limit=99999999999999999999", BETA),
        ("limit=000000001999999", BETA),
        ("limit=" + "1" * 5000, {}),
        # 99999999999999999999.file_x
        ("page=page_OTk5OTk5OTk5OTk5OTk5OTk5OTkuZmlsZV94", {}),
    ],
)
@pytest.mark.usefixtures("seeded")
def test_400(client: httpx.Client, query: str, headers: dict[str, str]) -> None:
    reply = client.get(f"/v1/files?{query}", headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_files_of_one_moment_are_told_apart_by_id(client: httpx.Client, server: FaultyServer, tmp_path: Any) -> None:
    seed_rows(tmp_path / "root", COUNT, created_us=1_700_000_000_000_000)
    assert [each for page in pages(client, 5) for each in ids(page)] == newest_first()


def test_a_page_goes_on_though_its_last_file_was_deleted(client: httpx.Client, seeded: FaultyServer) -> None:
    first = client.get("/v1/files", params={"limit": 5}).json()
    client.delete(f"/v1/files/{ids(first)[-1]}")
    second = client.get("/v1/files", params={"limit": 5, "page": first["next_page"]}).json()
    assert ids(second) == newest_first()[5:10]


def test_newest_first_also_within_one_tick_of_the_clock(client: httpx.Client, server: FaultyServer) -> None:
    made = [server.store.add_generated("same.txt", b"").id for _ in range(5)]
    page = client.get("/v1/files").json()
    assert ids(page) == made[::-1]
    assert len({each["created_at"] for each in page["data"]}) == 5
