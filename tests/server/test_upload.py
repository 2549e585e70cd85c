"""Forms of every kind, names, sizes, quota, expiry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults import FaultyServer, faulty_server

BETA = {"anthropic-beta": "files-api-2025-04-14"}
BOUNDARY = "frontier"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(disposition: str, content: bytes, content_type: str | None = None) -> bytes:
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def upload(client: httpx.Client, filename: str, content: bytes = b"x", kind: str = "text/plain") -> httpx.Response:
    return client.post("/v1/files", files={"file": (filename, content, kind)})


def client_of(server: FaultyServer) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers=server.headers)


def stored(root: Path) -> list[str]:
    return [each.name for folder in ("files", "incoming") for each in (root / "root" / folder).iterdir()]


def test_what_was_uploaded_comes_back(client: httpx.Client) -> None:
    content = bytes(range(256)) * 20_000
    made = upload(client, "données.bin", content, "application/x-thing").json()
    assert (made["filename"], made["mime_type"], made["size_bytes"]) == (
        "données.bin", "application/x-thing", len(content)
    )  # fmt: skip
    assert client.get(f"/v1/files/{made['id']}").json() == made
    assert client.get(f"/v1/files/{made['id']}/content").content == content


@pytest.mark.parametrize(
    "content", [b"", b"\r", b"\r\n--", b"\r\n--front", b"\r\n--frontierX\r\n" * 3, b"\n\r\n\r" * 99]
)
def test_content_that_looks_like_a_boundary(client: httpx.Client, content: bytes) -> None:
    made = client.post("/v1/files", content=form(part('name="file"; filename="a"', content)), headers=FORM).json()
    assert client.get(f"/v1/files/{made['id']}/content").content == content


def test_a_chunked_body(client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        body = form(part('name="file"; filename="a.txt"', b"0123456789" * 50_000))
        yield from (body[start : start + 997] for start in range(0, len(body), 997))

    made = client.post("/v1/files", content=pieces(), headers=FORM)
    assert made.json()["size_bytes"] == 500_000
    assert made.request.headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a/b/c.txt", "c.txt"),
        ("/etc/passwd", "passwd"),
        ("../up.txt", "up.txt"),
        ("", "unnamed.txt"),
        ("folder/", "unnamed.txt"),
        ("a%22b", "a%22b"),
        ("x" * 255, "x" * 255),
        ("é" * 255, "é" * 255),
        ("..", ".."),
        (" trailing. ", " trailing. "),
        ("a;b=c.txt", "a;b=c.txt"),
    ],
)
def test_the_name_that_is_kept(client: httpx.Client, sent: str, kept: str) -> None:
    body = form(part(f'name="file"; filename="{sent}"', b"x", "text/plain"))
    assert client.post("/v1/files", content=body, headers=FORM).json()["filename"] == kept


@pytest.mark.parametrize("character", [*"<>:|?*", '\\"', "\\\\", "\\", "\x01", "\x1f", "\t"])
def test_forbidden_characters(client: httpx.Client, character: str) -> None:
    body = form(part(f'name="file"; filename="a{character}b.txt"', b"x", "text/plain"))
    assert client.post("/v1/files", content=body, headers=FORM).status_code == 400


@pytest.mark.parametrize("name", ["x" * 256, "é" * 256])
def test_a_name_that_is_too_long(client: httpx.Client, name: str, tmp_path: Path) -> None:
    assert upload(client, name).status_code == 400
    assert stored(tmp_path) == []


def test_bytes_can_be_the_unit_of_names(tmp_path: Path) -> None:
    with faulty_server(tmp_path, name_unit="bytes") as server, client_of(server) as client:
        assert upload(client, "é" * 127).status_code == 200
        assert upload(client, "é" * 128).status_code == 400


def test_no_filename_at_all(client: httpx.Client) -> None:
    body = form(part('name="file"', b"x", "application/json"))
    assert client.post("/v1/files", content=body, headers=FORM).json()["filename"] == "unnamed.json"


@pytest.mark.parametrize(("name", "kind"), [("a.json", "application/json"), ("a", "application/octet-stream")])
def test_the_type_is_guessed_from_the_name_in_the_ga_shape(client: httpx.Client, name: str, kind: str) -> None:
    body = form(part(f'name="file"; filename="{name}"', b"x"))
    assert client.post("/v1/files", content=body, headers=FORM).json()["mime_type"] == kind
    assert client.post("/v1/files", content=body, headers=FORM | BETA).status_code == 400


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("seconds", "status"), [("3600", 200), ("7776000", 200), ("3599", 400), ("7776001", 400)])
def test_expiry_before_and_after_the_file(client: httpx.Client, first: bool, seconds: str, status: int) -> None:
    parts = [part('name="expires_in_seconds"', seconds.encode()), part('name="file"; filename="a"', b"x")]
    body = form(*(parts if first else reversed(parts)))
    reply = client.post("/v1/files", content=body, headers=FORM)
    assert reply.status_code == status
    assert status == 400 or reply.json()["expires_at"] > reply.json()["created_at"]


@pytest.mark.parametrize("text", ["1e4", "-3600", "3600.5", " 3600", "9" * 500])
def test_an_expiry_that_is_no_number(client: httpx.Client, text: str, tmp_path: Path) -> None:
    body = form(part('name="expires_in_seconds"', text.encode()), part('name="file"; filename="a"', b"x"))
    assert client.post("/v1/files", content=body, headers=FORM).status_code == 400
    assert stored(tmp_path) == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b""),
        (FORM, b"no form at all"),
        (FORM, form(part('name="other"', b"x"))),
        (FORM, form(part('name="file"; filename="a"', b"x"))[:-15]),
        (FORM, form(part('name="file"; filename="a"', b"x"), part('name="file"; filename="b"', b"y"))),
        (FORM, form(part('name="file"; filename="\udcff"'.encode("utf-8", "surrogateescape").decode("latin-1"), b"x"))
         .replace("ÿ".encode(), b"\xff")),
        (FORM, form(part('name="file"; filename="a"', b"x", "text/" + "x" * 300))),
        ({"content-type": "application/json"}, b"{}"),
        ({"content-type": "multipart/form-data"}, form(part('name="file"; filename="a"', b"x"))),
        ({"content-type": f"multipart/form-data; boundary={'b' * 2000}"}, b"x"),
    ],
)  # fmt: skip
def test_malformed_forms_leave_nothing(
    client: httpx.Client, tmp_path: Path, headers: dict[str, str], body: bytes
) -> None:
    assert client.post("/v1/files", content=body, headers=headers).status_code == 400
    assert stored(tmp_path) == []
    assert client.get("/v1/files").json()["data"] == []


def test_other_fields_are_ignored(client: httpx.Client) -> None:
    body = form(part('name="purpose"', b"x" * 100_000), part('name="file"; filename="a"', b"abc"))
    assert client.post("/v1/files", content=body, headers=FORM).json()["size_bytes"] == 3


def test_too_large(tmp_path: Path) -> None:
    with faulty_server(tmp_path / "root", max_file_bytes=3_000_000) as server, client_of(server) as client:
        assert upload(client, "a", bytes(3_000_000)).status_code == 200
        reply = upload(client, "b", bytes(3_000_001))
    assert reply.status_code == 413
    assert reply.json()["error"]["type"] == "request_too_large"
    assert len(stored(tmp_path)) == 1


def test_quota(tmp_path: Path) -> None:
    with faulty_server(tmp_path / "root", quota_bytes=1000) as server, client_of(server) as client:
        first = upload(client, "a", bytes(600)).json()
        refused = upload(client, "b", bytes(401))
        assert len(stored(tmp_path)) == 1
        assert upload(client, "c", bytes(400)).status_code == 200
        client.delete(f"/v1/files/{first['id']}")
        assert upload(client, "b", bytes(401)).status_code == 200
    assert refused.status_code == 400
    assert refused.json()["error"]["details"] == {"error_code": "storage_quota_exceeded"}


def test_empty_files_can_be_refused(tmp_path: Path) -> None:
    with faulty_server(tmp_path / "root", empty_files=False) as server, client_of(server) as client:
        assert upload(client, "a", b"").status_code == 400
        assert upload(client, "a", b"1").status_code == 200


def test_the_same_name_many_times(client: httpx.Client) -> None:
    made = {upload(client, "same.txt").json()["id"] for _ in range(3)}
    assert {each["id"] for each in client.get("/v1/files").json()["data"]} == made


def test_in_the_faithful_mode_an_upload_cannot_be_read_back(tmp_path: Path) -> None:
    with faulty_server(tmp_path / "root", uploads_downloadable=False) as server:
        generated = server.store.add_generated("plot.png", b"png")
        with client_of(server) as client:
            made = upload(client, "a.txt").json()
            reply = client.get(f"/v1/files/{made['id']}/content")
            assert client.get(f"/v1/files/{generated.id}/content").content == b"png"
    assert made["downloadable"] is False
    assert reply.status_code == 400
    expected: dict[str, Any] = {
        "type": "invalid_request_error",
        "message": f"File `{made['id']}` is not downloadable. Only files generated by a tool (for example, the code "
        "execution tool) can be downloaded.",
        "details": {"error_code": "file_not_downloadable"},
    }
    assert reply.json()["error"] == expected


def test_an_expired_file_is_listed_and_has_no_content(client: httpx.Client, server: FaultyServer) -> None:
    expired = server.store.add("old.txt", b"x", downloadable=True, expires_in_s=-1)
    assert [each["id"] for each in client.get("/v1/files").json()["data"]] == [expired.id]
    assert client.get(f"/v1/files/{expired.id}").json()["expires_at"]
    reply = client.get(f"/v1/files/{expired.id}/content")
    assert reply.status_code == 404
    assert reply.json()["error"]["details"] == {"error_code": "file_expired"}
