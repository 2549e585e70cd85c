"""The scripted faults do to a client what they say."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
import trio

from tests.faults import (
    CutBody,
    Drop,
    EditJson,
    FaultyServer,
    HalfBody,
    Hold,
    HoldReply,
    LostReply,
    Raw,
    Reply,
    WrongLength,
    html_too_large,
    repeated_cursor,
    serve_faulty,
)


def upload(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/files", files={"file": ("a.txt", b"abc")})


def read_into(pieces: list[bytes], reply: httpx.Response) -> None:
    for piece in reply.iter_raw():
        pieces.append(piece)  # noqa: PERF402 -- `extend` would keep nothing when the reply is cut


def test_half_json(client: httpx.Client, server: FaultyServer) -> None:
    server.script.add(HalfBody(), op="list")
    with pytest.raises(ValueError, match=r"."):
        client.get("/v1/files").json()
    assert client.get("/v1/files").json()["data"] == []


def test_a_repeated_cursor(client: httpx.Client, server: FaultyServer) -> None:
    for name in ("a", "b", "c"):
        server.store.add_generated(name, b"")
    server.script.add(repeated_cursor(), op="list", times=None)
    first = client.get("/v1/files", params={"limit": 1}).json()
    second = client.get("/v1/files", params={"limit": 1, "page": first["next_page"]}).json()
    assert first["data"] != second["data"]
    assert first["next_page"] == second["next_page"]


def test_edited_json(client: httpx.Client, server: FaultyServer) -> None:
    server.script.add(EditJson(lambda page: page | {"data": "hostile"}), op="list")
    assert client.get("/v1/files").json()["data"] == "hostile"


def test_statuses_and_html(client: httpx.Client, server: FaultyServer) -> None:
    server.script.add(html_too_large(), op="upload")
    server.script.add(Reply(529, headers={"retry-after-ms": "20"}), op="upload", times=2)
    server.script.add(Reply(503, {"a": 1}), op="upload")
    replies = [upload(client) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [413, 529, 529, 503, 200]
    assert replies[0].text.startswith("<html>")
    assert replies[1].json()["error"]["type"] == "overloaded_error"
    assert replies[1].headers["retry-after-ms"] == "20"
    assert len(client.get("/v1/files").json()["data"]) == 1


def test_only_the_nth_that_fulfils_the_condition(client: httpx.Client, server: FaultyServer) -> None:
    rule = server.script.add(Reply(500), nth=2, when=lambda request: "limit=7" in request.query)
    sizes = [7, 8, 7, 7]
    statuses = [client.get("/v1/files", params={"limit": size}).status_code for size in sizes]
    assert statuses == [200, 200, 500, 200]
    assert rule.hits == 1


@pytest.mark.parametrize("count", [0, 1, 1_500_000, 2_999_999])
def test_a_body_that_is_cut(client: httpx.Client, server: FaultyServer, count: int) -> None:
    record = server.store.add_generated("a.bin", bytes(3_000_000))
    server.script.add(CutBody(count), op="content")
    received: list[bytes] = []
    with client.stream("GET", f"/v1/files/{record.id}/content") as reply, pytest.raises(httpx.RemoteProtocolError):
        read_into(received, reply)
    assert reply.headers["content-length"] == "3000000"
    assert sum(map(len, received)) == count


@pytest.mark.parametrize(
    "action", [LostReply(), Drop(), Drop(after_request_bytes=1), Raw(b""), Raw(b"no HTTP\r\n\r\n")]
)
def test_no_answer(client: httpx.Client, server: FaultyServer, action: object) -> None:
    server.script.add(action, op="upload")  # type: ignore[arg-type]  # one of the actions
    with pytest.raises(httpx.TransportError):
        upload(client)
    carried_out = len(client.get("/v1/files").json()["data"])
    assert carried_out == (1 if isinstance(action, LostReply) else 0)


def test_a_wrong_length(client: httpx.Client, server: FaultyServer) -> None:
    server.script.add(WrongLength(+1), op="list")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/v1/files")
    server.script.add(WrongLength(-1), op="list")
    assert client.get("/v1/files").text == '{"data":[],"next_page":null'


@pytest.mark.parametrize("action", [Hold(), HoldReply(), Hold(after_bytes=10)])
def test_a_request_is_held_until_released(client: httpx.Client, server: FaultyServer, action: object) -> None:
    rule = server.script.add(action, op="list")  # type: ignore[arg-type]  # one of the actions
    replies: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: replies.append(client.get("/v1/files")))
    thread.start()
    rule.wait_until_hit()
    assert replies == []
    rule.release()
    thread.join()
    assert replies[0].json() == {"data": [], "next_page": None}


def test_the_script_can_be_cleared_while_a_request_is_held(client: httpx.Client, server: FaultyServer) -> None:
    rule = server.script.add(Hold(), times=None)
    replies: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: replies.append(client.get("/v1/files")))
    thread.start()
    rule.wait_until_hit()
    server.script.clear()
    thread.join()
    assert [reply.status_code for reply in (*replies, client.get("/v1/files"))] == [200, 200]


def test_requests_are_counted_by_operation(client: httpx.Client, server: FaultyServer) -> None:
    made = upload(client).json()["id"]
    client.get(f"/v1/files/{made}/content")
    client.get(f"/v1/files/{made}")
    client.delete(f"/v1/files/{made}")
    client.get("/other")
    assert [request.op for request in server.script.requests()] == [
        "upload", "content", "metadata", "delete", "other"
    ]  # fmt: skip
    assert server.script.count("upload") == 1


async def test_from_trio(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path) as server, trio.open_nursery() as nursery:
        rule = server.script.add(Hold(), op="list")
        async with httpx.AsyncClient(base_url=server.url, headers=server.headers) as client:

            async def ask() -> None:
                assert (await client.get("/v1/files")).status_code == 200

            nursery.start_soon(ask)
            await rule.until_hit()
            rule.release()
            while nursery.child_tasks:
                await trio.lowlevel.checkpoint()
