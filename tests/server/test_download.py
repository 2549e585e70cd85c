"""Content: ranges, validators, slow and vanishing readers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.server.ranges import requested_slice
from tests.faults import FaultyServer, faulty_server

CONTENT = bytes(range(200))


@pytest.fixture
def path(server: FaultyServer) -> str:
    return f"/v1/files/{server.store.add_generated('a.bin', CONTENT).id}/content"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", CONTENT[:1]),
        ("bytes=10-19", CONTENT[10:20]),
        ("bytes=190-", CONTENT[190:]),
        ("bytes=190-5000", CONTENT[190:]),
        ("bytes=-7", CONTENT[-7:]),
        ("bytes=-5000", CONTENT),
        ("BYTES = 3 - 4", CONTENT[3:5]),
    ],
)
def test_a_single_range_is_answered_206(client: httpx.Client, path: str, header: str, expected: bytes) -> None:
    reply = client.get(path, headers={"range": header})
    start = CONTENT.index(expected)
    assert reply.status_code == 206
    assert reply.content == expected
    assert reply.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/200"
    assert reply.headers["content-length"] == str(len(expected))


@pytest.mark.parametrize(
    "header", ["bytes=5-4", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=" + "9" * 99]
)
def test_what_is_no_single_range_is_answered_whole(client: httpx.Client, path: str, header: str) -> None:
    reply = client.get(path, headers={"range": header})
    assert (reply.status_code, reply.content) == (200, CONTENT)
    assert "content-range" not in reply.headers


@pytest.mark.parametrize("header", ["bytes=200-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_outside_of_the_file(client: httpx.Client, path: str, header: str) -> None:
    reply = client.get(path, headers={"range": header})
    assert reply.status_code == 416
    assert reply.headers["content-range"] == "bytes */200"
    assert reply.json()["type"] == "error"


def test_if_range(client: httpx.Client, path: str) -> None:
    etag = client.get(path).headers["etag"]
    fresh = client.get(path, headers={"range": "bytes=0-1", "if-range": etag})
    stale = client.get(path, headers={"range": "bytes=0-1", "if-range": '"other"'})
    assert (fresh.status_code, stale.status_code) == (206, 200)


def test_headers_of_a_download(client: httpx.Client, server: FaultyServer) -> None:
    record = server.store.add_generated("größe %.csv", b"1,2")
    headers = client.get(f"/v1/files/{record.id}/content").headers
    assert headers["content-type"] == "text/csv"
    assert headers["content-length"] == "3"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%25.csv"


def test_an_empty_file(client: httpx.Client, server: FaultyServer) -> None:
    path = f"/v1/files/{server.store.add_generated('empty', b'').id}/content"
    assert client.get(path).content == b""
    assert client.get(path, headers={"range": "bytes=0-"}).status_code == 416


def test_no_range(tmp_path: Path) -> None:
    with faulty_server(tmp_path, ranges=False) as server:
        record = server.store.add_generated("a.bin", CONTENT)
        headers = server.headers | {"range": "bytes=1-2"}
        reply = httpx.get(f"{server.url}/v1/files/{record.id}/content", headers=headers)
    assert (reply.status_code, reply.content) == (200, CONTENT)
    assert reply.headers["accept-ranges"] == "none"


def test_a_reader_keeps_what_it_opened_though_the_file_is_deleted(client: httpx.Client, server: FaultyServer) -> None:
    content = bytes(range(256)) * 100_000
    record = server.store.add_generated("a.bin", content)
    with client.stream("GET", f"/v1/files/{record.id}/content") as reply:
        assert client.delete(f"/v1/files/{record.id}").status_code == 200
        assert reply.read() == content


def open_download(server: FaultyServer, file_id: str) -> Iterator[socket.socket]:
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port)) as connection:
        request = f"GET /v1/files/{file_id}/content HTTP/1.1\r\nHost: x\r\nx-api-key: {server.key}\r\n\r\n"
        connection.sendall(request.encode())
        yield connection


def test_readers_that_stop_and_go_do_not_disturb_others(client: httpx.Client, server: FaultyServer) -> None:
    record = server.store.add_generated("a.bin", bytes(30_000_000))
    downloads = [open_download(server, record.id) for _ in range(45)]
    stuck = [next(each) for each in downloads]
    for connection in stuck:
        connection.recv(100)
    assert client.get("/v1/files").status_code == 200
    for each in downloads:
        each.close()
    assert len(client.get(f"/v1/files/{record.id}/content").content) == 30_000_000


def test_a_file_that_is_short_on_the_disk_is_cut_and_never_filled_up(
    client: httpx.Client, server: FaultyServer, tmp_path: Path
) -> None:
    record = server.store.add_generated("a.bin", CONTENT)
    with (tmp_path / "root" / "files" / record.id).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(f"/v1/files/{record.id}/content")
    assert client.get(f"/v1/files/{record.id}").status_code == 200


@given(total=st.integers(0, 50), first=st.integers(0, 60) | st.none(), last=st.integers(0, 60) | st.none())
def test_a_slice_is_what_python_would_cut(total: int, first: int | None, last: int | None) -> None:
    data = bytes(total)
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    part = requested_slice(header, None, '"e"', total)
    if first is None and last is None:
        expected = data
    elif first is None:
        expected = data[max(0, total - (last or 0)) :]
    elif last is not None and last < first:
        expected = data
    else:
        expected = data[first : None if last is None else last + 1]
    assert (part.length if part else 0) == len(expected)
    assert part is None or part.start + part.length <= total
