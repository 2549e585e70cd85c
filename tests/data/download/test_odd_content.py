"""Replies to downloads that cannot be: an error for the reader, no wrong byte, and nothing learned for good (R6, S4)."""

from __future__ import annotations

import errno
import os
import random
import tracemalloc
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.data.download.vetting import fault_of
from remotefs.errors import RemotefsError, StaleError
from remotefs.fuse.translate import errno_of
from remotefs.store.records import Origin, Remote
from tests.faults import Action, Call, EditJson, FaultyServer, Reply
from tests.parts import Host, running
from tests.sampling import each_once, sample
from tests.upkeep.support import walks

Server, Clock = FaultyServer, trio.abc.Clock
BODY = random.Random(7).randbytes(300_000)
HTML = b"<html>sign in</html>"
NAMES = ["f.txt", "f.png", "f.bin"]


@dataclass
class Content(Action):
    """Answer a download with this body of that type; `announced` tells its length."""

    body: bytes
    kind: str = "application/octet-stream"
    announced: bool = True
    status: int = 200

    async def __call__(self, call: Call) -> None:
        headers = [(b"content-type", self.kind.encode())]
        if self.announced:
            await call.reply(self.status, headers, self.body)
        else:
            await call.send({"type": "http.response.start", "status": self.status, "headers": headers})
            await call.send({"type": "http.response.body", "body": self.body, "more_body": False})


# Answers that nobody may take for the content, whatever file it is.
IMPOSSIBLE: dict[str, Action] = {
    "nothing": Content(b""), "nothing, unannounced": Content(b"", announced=False), "204": Reply(204, b""),
    "202": Content(b"later", status=202), "a page": Content(HTML, "text/html; charset=utf-8"),
    "a page, unannounced": Content(HTML, "text/html", announced=False),
    "a long page, unannounced": Content(HTML * 20_000, "text/html", announced=False),
    "a long page": Content(HTML * 20_000, "text/html"),
    "parts": Content(b"--x\r\n", "multipart/byteranges; boundary=x", status=206),
}  # fmt: skip
# Of media another length may be true; not of these.
OF_ANOTHER_LENGTH: dict[str, Action] = {
    "short": Content(BODY[:20]), "short, unannounced": Content(BODY[:20], announced=False), "long": Content(BODY + b"!"),
    "long, unannounced": Content(BODY + b"!", announced=False), "json": Content(b'{"error": 1}', "application/json"),
    "text": Content(b"try later", "text/plain"),
}  # fmt: skip
ALL = IMPOSSIBLE | OF_ANOTHER_LENGTH


def theirs(server: Server, name: str, body: bytes = BODY) -> str:
    return server.store.add_generated(name, body).id


def at_once(config: Config, **writeback: bool) -> Config:
    refresh = msgspec.structs.replace(config.refresh, removal_min_age_s=0.0)
    return msgspec.structs.replace(
        config, refresh=refresh, writeback=msgspec.structs.replace(config.writeback, **writeback)
    )


async def _read_or_error(host: Host, name: str) -> bytes | int:
    """What a program gets, which opens again where it is told that the file is another."""
    for _ in range(3):
        try:
            handle = await host.open(name)
            try:
                return await host.fs.files.read(handle.fh, 0, 2 * len(BODY))
            finally:
                await host.close(handle)
        except StaleError:
            continue
        except RemotefsError as error:
            return errno_of(error)[0]
    return errno.ESTALE


@pytest.mark.parametrize(("fault", "name"), each_once(list(ALL), NAMES))
async def test_r6_one_odd_reply_changes_nothing_for_good(
    tmp_path: Path, server: Server, clock: Clock, fault: str, name: str
) -> None:
    theirs(server, name)
    async with running(tmp_path, server) as host:
        await host.walk()
        await host.nursery.start(host.parts.refresh.run)
        server.script.add(ALL[fault], op="content")
        assert await _read_or_error(host, name) in (BODY, errno.EIO)
        assert host.stat(name).size == len(BODY)
        assert await _read_or_error(host, name) == BODY
        await walks(host, 2)
        assert await _read_or_error(host, name) == BODY
    async with running(tmp_path, server) as host:
        assert (host.stat(name).size, await _read_or_error(host, name)) == (len(BODY), BODY)


async def _is_never_believed(folder: Path, server: Server, name: str, fault: Action) -> None:
    """However often the answer comes it is an error, and the file is read as it is once it comes no more."""
    theirs(server, name)
    async with running(folder, server) as host:
        await host.walk()
        rule = server.script.add(fault, op="content", times=None)
        assert [await _read_or_error(host, name) for _ in range(3)] == [errno.EIO] * 3
        await host.walk()
        server.script.remove(rule)
        assert (host.stat(name).size, await _read_or_error(host, name)) == (len(BODY), BODY)


@pytest.mark.parametrize(("fault", "name"), each_once(list(IMPOSSIBLE), NAMES))
async def test_r6_what_cannot_be_is_never_believed_however_often_it_comes(
    tmp_path: Path, server: Server, clock: Clock, fault: str, name: str
) -> None:
    await _is_never_believed(tmp_path, server, name, IMPOSSIBLE[fault])


@pytest.mark.parametrize("name", ["f.txt", "f.bin"])
@pytest.mark.parametrize("fault", OF_ANOTHER_LENGTH)
async def test_r6_a_file_that_is_no_media_never_gets_another_length_by_its_content(
    tmp_path: Path, server: Server, clock: Clock, fault: str, name: str
) -> None:
    await _is_never_believed(tmp_path, server, name, OF_ANOTHER_LENGTH[fault])


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("added", [5000, -5000])
async def test_r6_media_has_the_length_that_two_replies_say_and_listings_do_not_take_it_back(
    tmp_path: Path, server: Server, clock: Clock, announced: bool, added: int
) -> None:
    true = BODY + bytes(added) if added > 0 else BODY[:added]
    theirs(server, "f.png")
    server.script.add(Content(true, "image/png", announced), op="content", times=None)
    async with running(tmp_path, server) as host:
        await host.walk()
        assert await _read_or_error(host, "f.png") == true
        await walks(host, 3)
        assert (host.stat("f.png").size, await _read_or_error(host, "f.png")) == (len(true), true)
        # One that the open looks at, perhaps one for its end, a second word, and one that is read.
        assert server.script.count("content") <= (3 if announced else 4)
    async with running(tmp_path, server) as host:
        await walks(host, 2)
        assert (host.stat("f.png").size, await _read_or_error(host, "f.png")) == (len(true), true)


@dataclass
class Endless(Action):
    """Answer a download with a body that does not end before `most` bytes, perhaps packed; count what was taken."""

    most: int
    packed: bool
    sent: int = 0

    async def __call__(self, call: Call) -> None:
        headers = [(b"content-type", b"application/octet-stream")]
        packer = zlib.compressobj(wbits=31)
        if self.packed:
            headers.append((b"content-encoding", b"gzip"))
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
        block = bytes(1 << 20)
        while self.sent < self.most and not call.transport.is_closing():
            piece = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) if self.packed else block
            await call.send({"type": "http.response.body", "body": piece, "more_body": True})
            self.sent += len(block)
        call.abort()


@pytest.mark.parametrize("most", sample(1 << 28, 20 << 30))
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["f.bin", "f.png"])
async def test_r6_a_body_that_does_not_end_is_left_and_none_of_it_is_kept(
    tmp_path: Path, server: Server, clock: Clock, name: str, packed: bool, most: int
) -> None:
    """Unpacked it would be 20 GiB; no file is longer than it was listed by more than the service adds to media."""
    file_id = theirs(server, name)
    async with running(tmp_path, server) as host:
        await host.walk()
        endless = Endless(most, packed)
        rule = server.script.add(endless, op="content", times=None)
        tracemalloc.start()
        try:
            assert await _read_or_error(host, name) == errno.EIO
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()
        received = host.parts.downloader.statistics().bytes_received
        assert received <= 2 << 20, "of the stream that readers share: a piece after its end"
        assert not host.parts.content.has_all(file_id)
        server.script.remove(rule)
        await host.walk()
        assert (host.stat(name).size, await _read_or_error(host, name)) == (len(BODY), BODY)
        # The server runs ahead of what is read by what the sockets hold, of a packed body by a thousand times that.
        assert packed or endless.sent <= rule.hits * (48 << 20)


async def test_r6_two_replies_that_differ_prove_nothing(tmp_path: Path, server: Server, clock: Clock) -> None:
    theirs(server, "f.png")
    async with running(tmp_path, server) as host:
        await host.walk()
        for size in (20, 30):
            server.script.add(Content(BODY[:size]), op="content")
        assert await _read_or_error(host, "f.png") == errno.EIO
        assert (host.stat("f.png").size, await _read_or_error(host, "f.png")) == (len(BODY), BODY)


async def test_r6_a_later_reply_of_the_listed_length_takes_a_learned_one_back(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """One is enough, for the listing says the same."""
    file_id = theirs(server, "f.png")
    async with running(tmp_path, server) as host:
        await host.walk()
        rule = server.script.add(Content(BODY[:20]), op="content", times=None)
        assert await _read_or_error(host, "f.png") == BODY[:20]
        server.script.remove(rule)
        host.parts.content.remove(file_id)
    async with running(tmp_path, server) as host:
        assert await _read_or_error(host, "f.png") == BODY
        row = host.parts.remotes.find(file_id)
        assert row is not None
        assert (row.size, row.listed_size) == (len(BODY), None)


# -- listings


@pytest.mark.parametrize(("wrong", "name"), each_once([0, 20, len(BODY) + 1, 1 << 40], NAMES))
async def test_r6_a_wrong_length_in_the_state_is_healed_by_listings(
    tmp_path: Path, server: Server, clock: Clock, wrong: int, name: str
) -> None:
    """As older versions left it, with the content that they took for it."""
    file_id = theirs(server, name)
    async with running(tmp_path, server) as host:
        await host.walk()
        host.parts.remotes.resize(file_id, wrong, listed_size=None)
        host.parts.tree.update(host.stat(name).ino, size=wrong)
        if wrong < len(BODY):
            host.parts.content.put(file_id, wrong, 0, BODY[:wrong])
    async with running(tmp_path, server) as host:
        await walks(host, 2 if wrong > len(BODY) else 1)
        assert (host.stat(name).size, await _read_or_error(host, name)) == (len(BODY), BODY)


@pytest.mark.parametrize("said", [0, 20])
async def test_s4_one_odd_listing_truncates_nothing(tmp_path: Path, server: Server, clock: Clock, said: int) -> None:
    theirs(server, "f.txt")
    async with running(tmp_path, server) as host:
        await host.walk()
        shorter = EditJson(lambda page: page | {"data": [file | {"size_bytes": said} for file in page["data"]]})
        server.script.add(shorter, op="list")
        await host.walk()
        assert host.stat("f.txt").size == len(BODY)
        await host.walk()
        server.script.add(shorter, op="list")
        await host.walk()
        assert (host.stat("f.txt").size, await _read_or_error(host, "f.txt")) == (len(BODY), BODY)


async def test_s4_what_was_sent_from_here_is_as_long_as_it_was_sent(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("mine", b"hello")
        await host.settled()
        for size in (0, 99):
            said = EditJson(lambda page, size=size: page | {"data": [f | {"size_bytes": size} for f in page["data"]]})
            rule = server.script.add(said, op="list", times=None)
            await walks(host, 3)
            server.script.remove(rule)
            assert (host.stat("mine").size, await host.read("mine")) == (5, b"hello")


async def test_metadata_heals_what_a_reader_has_stumbled_on(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Before the next listing: only the row here was wrong."""
    file_id = theirs(server, "f.txt")
    async with running(tmp_path, server) as host:
        await host.walk()
        await host.nursery.start(host.parts.refresh.run)
        host.parts.remotes.resize(file_id, 20, listed_size=None)
        host.parts.tree.update(host.stat("f.txt").ino, size=20)
        server.script.add(Reply(500), op="list", times=None)
        assert await _read_or_error(host, "f.txt") == errno.EIO
        await host.until(lambda: host.stat("f.txt").size == len(BODY))
        assert await _read_or_error(host, "f.txt") == BODY


# -- writing


@pytest.mark.parametrize(("fault", "name"), each_once(list(ALL), NAMES))
async def test_w8_an_append_after_an_odd_reply_never_loses_what_was_there(
    tmp_path: Path, server: Server, clock: Clock, fault: str, name: str
) -> None:
    """With `replace_downloadable` the original goes once the edit is there."""
    theirs(server, name)
    change = partial(at_once, replace_downloadable=True)
    async with running(tmp_path, server, change=change) as host:
        await host.walk()
        server.script.add(ALL[fault], op="content", times=2)
        written = False
        for _ in range(4):
            try:
                handle = await host.open(name, os.O_WRONLY | os.O_APPEND)
            except RemotefsError:
                continue
            try:
                await host.fs.files.write(handle.fh, host.stat(name).size, b" and more")
                written = True
            except RemotefsError:
                pass
            await host.close(handle)
            if written:
                break
        await host.settled()
        assert written
        assert host.remote_bytes(name) == [BODY + b" and more"]


# -- the decision


def file(name: str, mime_type: str, size: int = 300) -> Remote:
    return Remote("file_1", name, size, mime_type, 1, None, downloadable=True, origin=Origin.FOREIGN)


@pytest.mark.parametrize(
    ("remote", "total", "kind", "may_be"),
    [
        (file("a.txt", "text/plain"), 300, "text/html", True),
        (file("a.txt", "text/plain"), 20, "text/html", False),
        (file("a.txt", "text/plain"), None, "text/html", False),
        (file("a.html", "text/html"), None, "text/html; charset=utf-8", True),
        (file("a.HTML", "text/plain"), None, "text/html", True),
        (file("a.xhtml", "application/octet-stream"), None, "application/xhtml+xml", True),
        (file("a.png", "image/png"), None, "image/png", True),
        (file("a.png", "image/png"), None, "application/octet-stream", True),
        (file("a.png", "image/png"), None, None, True),
        (file("a.png", "image/png"), 310, "application/json", False),
        (file("a.png", "image/png"), 310, "text/plain", False),
        (file("a.svg", "image/svg+xml"), 310, "text/xml", True),
        (file("a.json", "application/json"), None, "application/json", True),
        (file("a.txt", "text/plain"), None, "application/json", True),
        (file("a.txt", "text/plain"), 0, "text/plain", False),
        (file("a.txt", "text/plain", 0), 0, "text/plain", True),
        (file("a.png", "image/png")._replace(listed_size=280), 280, "text/html", True),
    ],
)
def test_what_can_be_the_content_of_a_file(remote: Remote, total: int | None, kind: str | None, may_be: bool) -> None:
    assert (fault_of(remote, total, kind) is None) is may_be
