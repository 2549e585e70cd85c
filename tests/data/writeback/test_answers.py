"""Replies to an upload that cannot be: nothing is bound, nothing is lost, nothing of others is touched (W6, S3)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.data.writeback.answers import Shipment, fault_of
from remotefs.store.records import Origin, Remote
from tests.faults import EditJson, FaultyServer, HoldReply, Reply
from tests.parts import Host, listed, running
from tests.upkeep.support import add, walks

Server, Clock = FaultyServer, trio.abc.Clock
SENT = Shipment(ino=7, name="a", size=5, generation=1, digest="d")
BEFORE = Remote("file_1", "a", 5, "text/plain", 1, None, downloadable=False, origin=Origin.OURS, ino=7, digest="d")


def test_a_new_id_of_the_right_size_is_no_fault_whatever_its_name() -> None:
    assert fault_of(SENT, listed("file_1", "a", size=5), None) is None
    assert fault_of(SENT, listed("file_1", "unnamed.bin", size=5), None) is None


@pytest.mark.parametrize("size", [0, 4, 6])
def test_another_size_is_a_fault(size: int) -> None:
    assert "5 bytes were sent" in (fault_of(SENT, listed("file_1", "a", size=size), None) or "")


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (BEFORE._replace(origin=Origin.FOREIGN), "of somebody else"),
        (BEFORE._replace(origin=Origin.FOREIGN, ino=None), "of somebody else"),
        (BEFORE._replace(tombstoned=1, ino=None), "removed or replaced here"),
        (BEFORE._replace(ino=8), "another file of this mount"),
        (BEFORE._replace(ino=None), "another file of this mount"),
        (BEFORE._replace(digest="of other bytes"), "as it was before"),
        (BEFORE._replace(digest=None), "as it was before"),
        (BEFORE._replace(filename="b"), "as it was before"),
        (BEFORE._replace(origin=Origin.ADOPTED, size=4), "as it was before"),
    ],
)
def test_an_id_that_is_known_is_a_fault(known: Remote, words: str) -> None:
    assert words in (fault_of(SENT, listed("file_1", "a", size=5), known) or "")


@pytest.mark.parametrize(
    "known", [BEFORE, BEFORE._replace(origin=Origin.ADOPTED), BEFORE._replace(filename="x", asked="a")]
)
def test_the_same_answer_once_more_is_none(known: Remote) -> None:
    assert fault_of(SENT, listed("file_1", "a", size=5), known) is None


def test_what_is_adopted_has_to_be_unknown() -> None:
    assert fault_of(SENT, listed("file_1", "a", size=5), BEFORE) is None
    adopted = Shipment(SENT.ino, SENT.name, SENT.size, SENT.generation, "")
    assert fault_of(adopted, listed("file_1", "a", size=5), BEFORE._replace(digest="")) is not None


# -- through a mount

Edit = Callable[[dict[str, Any]], dict[str, Any]]


async def _prepared(host: Host) -> dict[str, str]:
    """Ids that are known here, by what they are."""
    theirs = add(host.server, "theirs", b"THEIR")
    await host.walk()
    await host.write("a", b"older")
    await host.write("other", b"other")
    await host.write("gone", b"gone!")
    await host.settled()
    gone = host.id("gone")
    host.unlink("gone")
    await host.settled()
    return {"theirs": theirs, "the same": host.id("a"), "another of ours": host.id("other"), "gone": gone}


async def _not_taken(host: Host, rows: dict[str, Remote | None], deletes: int) -> None:
    """The wrong answer has changed nothing."""
    assert await host.read("a") == b"newer"
    assert (await host.read("theirs"), await host.read("other")) == (b"THEIR", b"other")
    assert {id_: host.parts.remotes.find(id_) for id_ in rows} == rows
    assert host.server.script.count("delete") == deletes
    intent = host.intent("a")
    assert intent is not None
    assert "it is kept here" in (intent.reason or "")


@pytest.mark.parametrize("which", ["theirs", "the same", "another of ours", "gone"])
async def test_w6_a_reply_with_a_known_id_is_not_taken_and_the_file_is_found(
    tmp_path: Path, server: Server, clock: Clock, which: str
) -> None:
    """The service has made a file of it; only the answer is of another, as from a cache."""
    async with running(tmp_path, server, durability="local") as host:
        ids = await _prepared(host)
        rows = {id_: host.parts.remotes.find(id_) for id_ in ids.values()}
        deletes, sent = server.script.count("delete"), server.script.count("upload")
        rule = server.script.add(EditJson(lambda reply: reply | {"id": ids[which]}), op="upload")
        await host.write("a", b"newer")
        await host.until(lambda: rule.hits == 1 and len(host.parts.in_flight) == 0)
        await _not_taken(host, rows, deletes)
        await host.settled()
        assert host.remote_bytes("a") == [b"newer"]
        assert (host.remote("a").origin, server.script.count("upload") - sent) == (Origin.ADOPTED, 1)
        await walks(host, 2)
        assert await host.read("a") == b"newer"
        assert await host.read("theirs") == b"THEIR"


@pytest.mark.parametrize("which", ["theirs", "the same", "another of ours", "gone"])
async def test_w6_where_a_gateway_stores_it_under_a_known_id_it_stays_pending_and_says_why(
    tmp_path: Path, server: Server, clock: Clock, which: str
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        ids = await _prepared(host)
        rows = {id_: host.parts.remotes.find(id_) for id_ in ids.values()}
        deletes, sent = server.script.count("delete"), server.script.count("upload")
        body = {"id": ids[which], "type": "file", "filename": "a", "mime_type": "text/plain", "size_bytes": 5}
        body |= {"created_at": "2026-01-01T00:00:00Z", "downloadable": False, "expires_at": None}
        rule = server.script.add(Reply(200, body), op="upload", times=None)
        await host.write("a", b"newer")
        await host.until(lambda: rule.hits == 1 and len(host.parts.in_flight) == 0)
        host.make_due()
        await host.until(lambda: rule.hits == 2 and len(host.parts.in_flight) == 0)
        await _not_taken(host, rows, deletes)
        assert which != "theirs" or "of somebody else" in (host.pending()[0].reason or "")
        server.script.remove(rule)
        await host.settled()
        assert host.remote_bytes("a") == [b"newer"]
        assert server.script.count("upload") - sent == 3


@pytest.mark.parametrize("size", [0, 3, 500])
async def test_w6_a_reply_of_another_size_is_not_taken(tmp_path: Path, server: Server, clock: Clock, size: int) -> None:
    async with running(tmp_path, server, durability="local") as host:
        ids = await _prepared(host)
        rows = {id_: host.parts.remotes.find(id_) for id_ in ids.values()}
        deletes = server.script.count("delete")
        rule = server.script.add(EditJson(lambda reply: reply | {"size_bytes": size}), op="upload")
        await host.write("a", b"newer")
        await host.until(lambda: rule.hits == 1 and len(host.parts.in_flight) == 0)
        await _not_taken(host, rows, deletes)
        await host.settled()
        assert host.remote_bytes("a") == [b"newer"]


async def test_w6_the_same_answer_to_the_same_bytes_is_taken_once_more(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """Of a gateway that knows what it has stored already; the first reply was still on its way."""
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"hello")
        await held.until_hit()
        await host.write("a", b"hello", os.O_WRONLY)
        [first] = host.stored()
        server.script.add(EditJson(lambda reply: reply | {"id": first.id}), op="upload")
        held.release()
        await host.settled()
        assert (host.id("a"), host.xattr("a", "state")) == (first.id, "clean")
        assert server.script.count("delete") == 0
        assert await host.read("a") == b"hello"
