"""An upload has its effect exactly once, whatever the network does in the middle of it (W2, W4, W6, W9)."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.data.writeback.close_wait import Outcome
from remotefs.errors import RefusedError, StorageQuotaExceeded, TooLarge, TransportError, Unreachable
from remotefs.fuse.translate import errno_of
from remotefs.store.records import Origin
from tests.faults import (
    Action,
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
    faulty_server,
    html_too_large,
)
from tests.parts import FOR_EVER_S, LARGE, running

Server = FaultyServer
Clock = trio.abc.Clock


async def test_a_closed_file_is_with_the_service(tmp_path: Path, server: Server, clock: Clock) -> None:
    """W2."""
    async with running(tmp_path, server) as host:
        await host.write("d.txt", b"hello")
        assert host.remote_bytes("d.txt") == [b"hello"]
        assert (host.xattr("d.txt", "state"), host.xattr("d.txt", "mime_type")) == ("clean", "text/plain")
        assert host.remote("d.txt").origin == Origin.OURS
        assert await host.read("d.txt") == b"hello"


async def test_an_empty_file_goes_up_after_its_grace(tmp_path: Path, server: Server, clock: Clock) -> None:
    """W10."""
    async with running(tmp_path, server) as host:
        await host.write("a", b"")
        assert host.stored() == []
        await host.settled()
        assert host.remote_bytes("a") == [b""]


@pytest.mark.parametrize(
    "fault",
    [
        LostReply(), HalfBody(), WrongLength(10), Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}}"),
        Drop(1 << 30), Drop(0), Raw(b"nonsense"), Reply(500), Reply(504), Reply(503), Reply(529),
        Reply(429, headers={"retry-after": "1"}), Reply(408), Reply(409), EditJson(lambda _: {"id": "../../etc"}),
    ],
    ids=lambda fault: f"{type(fault).__name__}{getattr(fault, 'status', '')}",
)  # fmt: skip
async def test_w6_one_fault_makes_no_duplicate_and_loses_nothing(
    tmp_path: Path, server: Server, clock: Clock, fault: Action
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        rule = server.script.add(fault, op="upload")
        await host.write("a", b"hello")
        await host.settled()
        assert rule.hits == 1
        assert host.remote_bytes("a") == [b"hello"]
        assert host.remote_ids() == {host.id("a")}
        assert await host.read("a") == b"hello"


@pytest.mark.parametrize("fault", [LostReply(), Drop(1 << 20)], ids=["stored", "not stored"])
async def test_w6_a_large_file_survives_a_break(tmp_path: Path, server: Server, clock: Clock, fault: Action) -> None:
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(fault, op="upload")
        await host.write("a", b"z" * LARGE)
        await host.settled()
        assert [len(content) for content in host.remote_bytes("a")] == [LARGE]


async def test_w6_an_adopted_file_counts_as_adopted_and_nothing_is_sent_again(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(LostReply(), op="upload")
        await host.write("a", b"hello")
        await host.settled()
        assert host.remote("a").origin == Origin.ADOPTED
        assert server.script.count("upload") == 1
        host.unlink("a")
        await host.settled()
        assert host.stored() == []


async def test_w6_a_file_whose_time_cannot_be_read_is_found_all_the_same(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        odd = EditJson(lambda page: page | {"data": [entry | {"created_at": "soon"} for entry in page["data"]]})
        server.script.add(odd, op="list", times=None)
        server.script.add(LostReply(), op="upload")
        await host.write("a", b"hello")
        await host.settled()
        assert (server.script.count("upload"), host.remote_bytes("a")) == (1, [b"hello"])


def _odd(**changes: Any) -> EditJson:
    """Change all that a reply tells of files."""

    def edit(body: dict[str, Any]) -> dict[str, Any]:
        return body | ({"data": [entry | changes for entry in body["data"]]} if "data" in body else changes)

    return EditJson(edit)


@pytest.mark.parametrize(
    "changes",
    [{"filename": None}, {"filename": 5}, {"filename": "n" * 600}, {"size_bytes": None}, {"size_bytes": -1},
     {"size_bytes": 1 << 60}, {"filename": "", "size_bytes": None}, {"created_at": "9999-12-31T23:59:59Z"},
     {"filename": None, "created_at": "9999-12-31T23:59:59Z"}],
)  # fmt: skip
async def test_w6_a_file_whose_entry_is_odd_is_asked_for_by_its_id(
    tmp_path: Path, server: Server, clock: Clock, changes: dict[str, Any]
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(_odd(**changes), op="list", times=None)
        server.script.add(LostReply(), op="upload")
        await host.write("a", b"hello")
        await host.settled()
        assert (server.script.count("upload"), host.remote_bytes("a")) == (1, [b"hello"])
        assert host.remote_ids() == {host.id("a")}
        assert server.script.count("metadata") == ("created_at" not in changes or len(changes) > 1)


@pytest.mark.parametrize(
    "changes", [{"filename": None}, {"id": "../../a"}, {"id": None, "filename": 0, "size_bytes": ""}]
)
async def test_w6_while_the_service_cannot_tell_whether_it_has_a_file_it_is_not_sent_again(
    tmp_path: Path, server: Server, clock: Clock, changes: dict[str, Any]
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        odd = [server.script.add(_odd(**changes), op=op, times=None) for op in ("list", "metadata")]
        server.script.add(LostReply(), op="upload")
        await host.write("a", b"hello")
        for tries in range(1, 4):
            await host.until(lambda tries=tries: host.pending()[0].tries >= tries)
            host.make_due()
        assert "cannot be read" in (host.pending()[0].reason or "")
        assert server.script.count("upload") == 1
        for rule in odd:
            server.script.remove(rule)
        await host.settled()
        assert (server.script.count("upload"), host.remote_bytes("a")) == (1, [b"hello"])
        assert host.remote("a").origin == Origin.ADOPTED


@pytest.mark.parametrize(
    ("theirs", "is_gone"), [({"size_bytes": None}, False), ({"filename": None, "size_bytes": None}, True)]
)
async def test_w6_an_odd_entry_of_somebody_else_holds_up_no_upload(
    tmp_path: Path, server: Server, clock: Clock, theirs: dict[str, Any], is_gone: bool
) -> None:
    server.store.add("theirs", b"other", downloadable=False)
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(_odd(**theirs), op="list", times=None)
        server.script.add(Reply(404) if is_gone else _odd(**theirs), op="metadata", times=None)
        # It reads the upload and keeps nothing.
        server.script.add(Drop(1 << 30), op="upload")
        await host.write("a", b"hello")
        await host.settled()
        assert host.remote_bytes("a") == [b"hello"]


async def test_w6_where_a_foreign_file_had_that_name_nothing_is_adopted(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    theirs = server.store.add("a", b"hallo", downloadable=False).id
    async with running(tmp_path, server, durability="local") as host:
        await host.walk()
        server.script.add(LostReply(), op="upload")
        await host.write("a", b"hello")
        await host.settled()
        assert server.script.count("upload") == 2
        assert theirs not in host.remote_ids()  # replaced, as the user asked
        assert host.remote_bytes("a") == [b"hello", b"hello"]  # one for `dedupe`, never removed by itself


async def test_w6_two_candidates_are_none(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(LostReply(), op="upload")
        await host.write("a", b"hello")
        await host.until(lambda: any(intent.reason for intent in host.pending()))
        twin = server.store.add("a", b"hallo", downloadable=False).id
        await host.settled()
        assert twin in host.remote_ids()
        assert host.remote("a").origin == Origin.OURS
        assert server.script.count("upload") == 2


async def test_a_listing_does_not_take_our_own_upload_for_a_foreign_file(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """While its reply is pending a poll may show it already."""
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"hello")
        await held.until_hit()
        assert len(host.stored()) == 1
        await host.walk()
        assert host.ls() == ["a"]
        held.release()
        await host.settled()
        await host.walk()
        assert host.ls() == ["a"]
        assert host.remote("a").origin == Origin.OURS


# -- refusals


@pytest.mark.parametrize(
    ("reply", "kind", "number"),
    [
        (Reply(413), TooLarge, errno.EFBIG),
        (html_too_large(), TooLarge, errno.EFBIG),
        (Reply(400), RefusedError, errno.EINVAL),
        (
            Reply(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "full",
                                                   "details": {"error_code": "storage_quota_exceeded"}}}),
            StorageQuotaExceeded, errno.EDQUOT,
        ),
    ],
    ids=["413", "413 of a proxy", "400", "quota"],
)  # fmt: skip
async def test_w2_close_says_what_the_service_refused_and_drops_nothing(
    tmp_path: Path, server: Server, clock: Clock, reply: Reply, kind: type[Exception], number: int
) -> None:
    async with running(tmp_path, server) as host:
        rule = server.script.add(reply, op="upload", times=None)
        with pytest.raises(kind) as refused:
            await host.write("a", b"hello")
        assert errno_of(refused.value)[0] == number
        assert host.xattr("a", "state").startswith("failed: ")
        assert await host.read("a") == b"hello"
        server.script.remove(rule)
        await host.settled()
        assert host.remote_bytes("a") == [b"hello"]
        assert host.xattr("a", "state") == "clean"


async def test_w2_a_refusal_is_known_to_the_next_mount_which_does_not_send_it_again(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    server.script.add(Reply(413), op="upload", times=None)
    async with running(tmp_path, server, durability="local") as host:
        await host.write("a", b"hello")
        await host.until(lambda: host.xattr("a", "state").startswith("failed"))
        said = host.xattr("a", "state")
        await host.until(lambda: not host.parts.in_flight.under_way)
        host.kill_copy("after")
    sent = server.script.count("upload")
    async with running(tmp_path, server, state="after", durability="local") as host:
        await trio.sleep(30.0)
        assert (server.script.count("upload"), host.xattr("a", "state")) == (sent, said)
        (intent,) = host.pending()
        assert intent.due_ns - host.parts.clock() > 20 * 10**9
        server.script.clear()
        await host.parts.drainer.retry()
        await host.settled()
        assert (host.xattr("a", "state"), host.remote_names()) == ("clean", ["a"])
        host.kill_copy("again")
    async with running(tmp_path, server, state="again") as host:
        assert host.parts.failures.refused_count == 0


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refusal_of_everything_stops_the_queue_until_the_service_takes_again(
    tmp_path: Path, server: Server, clock: Clock, status: int
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(Reply(status), op="upload", times=None)
        await host.write("a", b"1")
        await host.until(lambda: not host.parts.connectivity.is_up)
        await host.write("b", b"2")
        host.make_due()
        await trio.sleep(100)
        assert server.script.count("upload") == 1
        server.script.clear()
        await host.walk()
        await host.settled()
        assert host.remote_names() == ["a", "b"]


# -- changed while it is under way


async def test_w4_a_write_cuts_an_upload_that_is_not_all_sent(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(Hold(), op="upload")
        await host.write("a", b"z" * LARGE)
        await held.until_hit()
        handle = await host.open("a", os.O_WRONLY)
        await host.fs.files.write(handle.fh, 0, b"!")
        await host.until(lambda: len(host.parts.in_flight) == 0)
        held.release()
        assert host.stored() == []
        await host.close(handle)
        await host.settled()
        assert [content[:2] for content in host.remote_bytes("a")] == [b"!z"]


async def test_w4_all_sent_and_then_written_it_binds_as_an_earlier_generation(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"one")
        await held.until_hit()
        await host.write("a", b"two")
        assert host.xattr("a", "state") == "uploading"
        held.release()
        await host.settled()
        assert host.remote_bytes("a") == [b"two"]
        assert await host.read("a") == b"two"
        assert (server.script.count("upload"), server.script.count("delete")) == (2, 1)


async def test_w9_unlinked_before_the_last_byte_the_request_is_cut(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(Hold(), op="upload")
        await host.write("a", b"z" * LARGE)
        await held.until_hit()
        host.unlink("a")
        await host.until(lambda: not host.pending())
        held.release()
        await host.settled()
        assert (host.stored(), server.script.count("delete")) == ([], 0)
        await host.until(lambda: host.parts.staging.scan() == [])


async def test_w9_unlinked_while_the_service_refuses_it_nobody_asks_again(tmp_path: Path, clock: Clock) -> None:
    with faulty_server(tmp_path / "server", max_file_bytes=4) as server:
        async with running(tmp_path, server, durability="local") as host:
            held = server.script.add(HoldReply(), op="upload")
            await host.write("a", b"hello")
            await held.until_hit()
            host.unlink("a")
            held.release()
            await host.until(lambda: len(host.parts.in_flight) == 0)
            assert host.pending() == []
            assert host.parts.writeback.statistics().failed == 0


async def test_w9_unlinked_while_open_and_uploading_it_reads_on(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"hello")
        await held.until_hit()
        handle = await host.open("a")
        host.unlink("a")
        held.release()
        await host.until(lambda: len(host.parts.in_flight) == 0)
        assert await host.fs.files.read(handle.fh, 0, 5) == b"hello"
        assert len(host.stored()) == 1
        await host.close(handle)
        await host.settled()
        assert host.stored() == []


async def test_w9_unlinked_while_open_before_the_last_byte_the_request_is_cut(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(Hold(), op="upload")
        await host.write("a", b"z" * LARGE)
        await held.until_hit()
        handle = await host.open("a")
        host.unlink("a")
        await host.until(lambda: len(host.parts.in_flight) == 0)
        held.release()
        assert (host.pending(), host.stored()) == ([], [])
        assert await host.fs.files.read(handle.fh, LARGE - 5, 5) == b"zzzzz"
        await host.close(handle)
        await host.settled()
        assert (host.stored(), server.script.count("upload"), server.script.count("delete")) == ([], 1, 0)
        await host.parts.sweeper.sweep()
        assert host.parts.staging.scan() == []


async def test_renamed_during_its_upload_it_follows_under_the_new_name(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """W7."""
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"hello")
        await held.until_hit()
        host.rename("a", "b")
        held.release()
        await host.settled()
        assert host.remote_names() == ["b"]
        assert await host.read("b") == b"hello"


async def test_a_rename_of_ours_costs_one_upload_and_one_delete(tmp_path: Path, server: Server, clock: Clock) -> None:
    """A4, W7."""
    async with running(tmp_path, server) as host:
        await host.write("a", b"hello")
        before = host.id("a")
        host.rename("a", "b")
        assert host.id("b") == before
        await host.settled()
        assert (host.remote_names(), host.id("b") != before) == (["b"], True)
        assert (server.script.count("upload"), server.script.count("delete")) == (2, 1)
        assert await host.read("b") == b"hello"


async def test_a_rename_of_an_empty_file_of_ours(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"")
        await host.settled()
        host.rename("a", "b")
        await host.settled()
        assert host.remote_names() == ["b"]


async def test_a_relabel_that_is_written_to_meanwhile_becomes_an_upload(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"hello")
        host.rename("a", "b")
        handle = await host.open("b", os.O_WRONLY)
        await host.fs.files.write(handle.fh, 0, b"J")
        host.make_due()
        await trio.sleep(60)
        assert server.script.count("upload") == 1
        await host.close(handle)
        await host.settled()
        assert host.remote_bytes("b") == [b"Jello"]
        assert host.remote_names() == ["b"]


async def test_removed_when_its_relabel_begins_it_is_gone_without_a_word(
    tmp_path: Path, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"hello")
        ino = host.stat("a").ino
        host.rename("a", "b")
        host.make_due()
        while ino not in host.parts.in_flight:
            await trio.lowlevel.checkpoint()
        host.unlink("b")
        await host.settled()
        assert host.remote_names() == []
        assert caplog.messages == []


async def test_n2_the_name_in_the_reply_counts(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Where the service gives another name our path stays and nothing is sent again."""
    async with running(tmp_path, server) as host:
        server.script.add(EditJson(lambda reply: reply | {"filename": "Changed"}), op="upload")
        await host.write("a", b"hello")
        await host.settled()
        assert (host.remote("a").filename, host.remote("a").asked_name) == ("Changed", "a")
        assert (host.ls(), host.xattr("a", "state"), host.pending()) == (["a"], "clean", [])


async def test_n2_a_long_path_goes_under_a_short_unique_name(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        host.mkdir("d" * 200)
        await host.write(f"{'d' * 200}/{'f' * 200}.txt", b"hello")
        (name,) = host.remote_names()
        assert len(name.encode()) <= 255
        await host.walk()
        assert host.ls("d" * 200) == ["f" * 200 + ".txt"]


async def test_a_size_that_the_service_tells_wrong_is_not_taken_over(
    tmp_path: Path, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, server) as host:
        server.script.add(EditJson(lambda reply: reply | {"size_bytes": 99}), op="upload")
        await host.write("a", b"hello")
        assert host.stat("a").size == 5
        assert await host.read("a") == b"hello"
        assert "5 bytes were sent, and the reply is about a file of 99" in caplog.text


# -- after a crash


@pytest.mark.parametrize("stored", [True, False], ids=["it arrived", "it did not"])
async def test_a_kill_after_the_attempt_began_is_resolved_at_the_next_start(
    tmp_path: Path, server: Server, clock: Clock, stored: bool
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply() if stored else Hold(), op="upload")
        await host.write("a", b"z" * (100 if stored else LARGE))
        await held.until_hit()
        host.kill_copy("after")
    server.script.clear()
    async with running(tmp_path, server, state="after") as host:
        (intent,) = host.pending()
        assert intent.attempt is not None
        await host.settled()
        assert len(host.remote_bytes("a")) == 1
        assert server.script.count("upload") == (1 if stored else 2)
        assert host.remote_ids() == {host.id("a")}
        assert await host.read("a") == host.remote_bytes("a")[0]


async def test_a_file_that_was_unlinked_before_the_kill_is_found_and_deleted(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """W9: its upload had arrived, the reply had not."""
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"hello")
        await held.until_hit()
        host.unlink("a")
        host.kill_copy("after")
    server.script.clear()
    async with running(tmp_path, server, state="after") as host:
        await host.settled()
        assert (host.ls(), host.stored()) == ([], [])


async def test_an_attempt_of_an_unlinked_file_that_did_not_arrive_leaves_nothing(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(Drop(1 << 30), op="upload")
        await host.write("a", b"hello")
        await host.until(lambda: any(intent.reason for intent in host.pending()))
        host.unlink("a")
        await host.settled()
        assert (host.ls(), host.stored(), server.script.count("upload")) == ([], [], 1)


# -- waiting (W2)


async def test_w2_close_waits_no_longer_than_told(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, close_wait_s=10.0) as host:
        held = server.script.add(HoldReply(), op="upload")
        began = trio.current_time()
        await host.write("a", b"hello")
        assert trio.current_time() - began >= 10
        assert host.xattr("a", "state") == "uploading"
        held.release()
        await host.settled()


async def test_w2_strict_says_eio_when_time_is_up(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, close_wait_s=10.0, durability="strict") as host:
        held = server.script.add(HoldReply(), op="upload")
        with pytest.raises(TransportError, match="stays pending") as late:
            await host.write("a", b"hello")
        assert errno_of(late.value)[0] == errno.EIO
        held.release()
        await host.settled()
        assert host.remote_bytes("a") == [b"hello"]


async def test_w2_out_of_reach_close_does_not_wait_at_all(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        host.parts.connectivity.down(Unreachable("no route"))
        # A wait would last until the file is with the service.
        await host.write("a", b"hello")
        assert host.xattr("a", "state") == "pending"
        await host.walk()
        await host.settled()
        assert host.remote_names() == ["a"]


async def test_w2_a_wait_ends_when_the_service_goes_out_of_reach(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        held = server.script.add(HoldReply(), op="upload")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.write, "a", b"hello")
            await held.until_hit()
            host.parts.connectivity.down(Unreachable("no route"))
        assert host.xattr("a", "state") == "uploading"
        held.release()
        await host.settled()


async def test_two_who_wait_for_one_file_are_both_told(tmp_path: Path, server: Server, clock: Clock) -> None:
    outcomes = []

    async def wait() -> None:
        outcomes.append(await host.parts.close_wait.wait(host.stat("a").ino, FOR_EVER_S))

    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"hello")
        await held.until_hit()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.sleep(1)
            assert outcomes == []
            held.release()
        assert outcomes == [Outcome.DONE, Outcome.DONE]
