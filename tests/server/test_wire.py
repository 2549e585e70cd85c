"""Headers, keys, error envelopes and shapes, off the wire."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.faults import FaultyServer, faulty_server

BETA = "files-api-2025-04-14"
MANAGED = "managed-agents-2026-04-01"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "sk-test-key"},
        {"authorization": "Bearer sk-test-key"},
        {"x-api-key": "wrong", "authorization": "bearer sk-test-key"},
    ],
)
def test_either_header_carries_the_key(server: FaultyServer, headers: dict[str, str]) -> None:
    assert httpx.get(server.url + "/v1/files", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Basic sk-test-key"}])
def test_without_the_key_401(server: FaultyServer, headers: dict[str, str]) -> None:
    reply = httpx.get(server.url + "/v1/files", headers=headers)
    assert reply.status_code == 401
    assert reply.json()["error"]["type"] == "authentication_error"


def test_a_refused_upload_is_read_to_its_end_so_that_the_answer_arrives(server: FaultyServer) -> None:
    content = bytes(20_000_000)
    reply = httpx.post(server.url + "/v1/files", files={"file": ("a.bin", content)}, timeout=30)
    assert reply.status_code == 401


def test_every_reply_says_whose_it_is_and_has_an_id(client: httpx.Client, server: FaultyServer) -> None:
    replies = [client.get("/v1/files"), client.get("/v1/files/file_no"), httpx.get(server.url + "/elsewhere")]
    assert [reply.status_code for reply in replies] == [200, 404, 401]
    assert {reply.headers["anthropic-organization-id"] for reply in replies} == {server.store.organization_id}
    assert len({reply.headers["request-id"] for reply in replies}) == 3


def test_the_organization_outlives_the_server(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        with faulty_server(tmp_path) as server:
            seen.add(httpx.get(server.url + "/v1/files").headers["anthropic-organization-id"])
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/files/file_no", 404, "not_found_error"),
        ("GET", "/v1/files/file_no/content", 404, "not_found_error"),
        ("DELETE", "/v1/files/file_no", 404, "not_found_error"),
        ("GET", "/v2/files", 404, "not_found_error"),
        ("PUT", "/v1/files", 405, "invalid_request_error"),
        ("POST", "/v1/files", 400, "invalid_request_error"),
    ],
)
def test_errors_come_in_the_envelope(client: httpx.Client, method: str, path: str, status: int, kind: str) -> None:
    reply = client.request(method, path)
    body = reply.json()
    assert reply.status_code == status
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["error"]["message"]
    assert body["request_id"] == reply.headers["request-id"]


def test_a_failure_of_the_server_is_a_500_in_the_envelope(
    client: httpx.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(tmp_path / "root" / "files.db")) as connection, connection:
        connection.execute("ALTER TABLE files RENAME TO elsewhere")
    reply = client.get("/v1/files")
    assert (reply.status_code, reply.json()["error"]["type"]) == (500, "api_error")
    assert "elsewhere" not in reply.text
    assert reply.headers["request-id"] in caplog.text
    assert "sk-test-key" not in caplog.text


def test_there_is_no_head(client: httpx.Client) -> None:
    assert client.head("/v1/files").status_code == 405


def test_beta_in_the_query_is_ignored(client: httpx.Client) -> None:
    assert client.get("/v1/files?beta=true").json() == {"data": [], "next_page": None}


@pytest.mark.parametrize(
    ("betas", "keys", "has_expiry"),
    [
        ([], {"data", "next_page"}, True),
        (["other-beta"], {"data", "next_page"}, True),
        ([BETA], {"data", "has_more", "first_id", "last_id"}, False),
        ([f"other-beta, {BETA}"], {"data", "has_more", "first_id", "last_id"}, False),
        ([MANAGED, BETA], {"data", "has_more", "first_id", "last_id"}, False),
        ([MANAGED], {"data", "has_more", "first_id", "last_id", "next_page"}, True),
    ],
)
def test_the_beta_header_chooses_the_shape(
    client: httpx.Client, server: FaultyServer, betas: list[str], keys: set[str], has_expiry: bool
) -> None:
    server.store.add_generated("plot.png", b"png")
    page = client.get("/v1/files", headers=[("anthropic-beta", beta) for beta in betas]).json()
    assert set(page) == keys
    assert ("expires_at" in page["data"][0]) == has_expiry


def test_a_file_object_has_what_the_reference_says(client: httpx.Client, server: FaultyServer) -> None:
    record = server.store.add_generated("plot.png", b"\x89PNG", session_id="session_1")
    shown = client.get(f"/v1/files/{record.id}").json()
    assert re.fullmatch(r"file_[1-9A-HJ-NP-Za-km-z]{24}", shown.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", shown.pop("created_at"))
    assert shown == {
        "type": "file",
        "filename": "plot.png",
        "mime_type": "image/png",
        "size_bytes": 4,
        "downloadable": True,
        "expires_at": None,
        "scope": {"type": "session", "id": "session_1"},
    }


def test_scope_is_omitted_when_there_is_none(client: httpx.Client, server: FaultyServer) -> None:
    record = server.store.add_generated("plot.png", b"")
    assert "scope" not in client.get(f"/v1/files/{record.id}").json()


def test_deleting_is_final(client: httpx.Client, server: FaultyServer) -> None:
    record = server.store.add_generated("plot.png", b"png")
    assert client.delete(f"/v1/files/{record.id}").json() == {"id": record.id, "type": "file_deleted"}
    assert client.delete(f"/v1/files/{record.id}").status_code == 404
    assert client.get(f"/v1/files/{record.id}").status_code == 404
    assert client.get("/v1/files").json()["data"] == []
