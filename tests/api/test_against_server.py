"""The client and the local server, on a real socket: neither shares code with the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from remotefs.api.budget import Budget, Priority
from remotefs.api.client import Client
from remotefs.api.upload import BytesSource, FileSource
from remotefs.config import MIB, Secret, Shape
from remotefs.errors import (
    AmbiguousOutcome,
    AuthenticationFailed,
    BadRequest,
    NotDownloadable,
    RemoteNotFound,
    ReplyBroken,
    TooLarge,
)
from tests.api.support import URGENT, settings
from tests.faults import CutBody, FaultyServer, HalfBody, LostReply, html_too_large, repeated_cursor, serve_faulty


def connect(server: FaultyServer, shape: Shape = "ga", budget: Budget | None = None) -> Client:
    config = settings(base_url=server.url, api_key=Secret(server.key), shape=shape)
    return Client(config, budget or Budget(None), chance=lambda: 0.0)


@pytest.mark.parametrize("shape", ["ga", "beta", "auto"])
async def test_the_five_operations(shape: Shape, tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    path = tmp_path / "a"
    path.write_bytes(content)
    async with serve_faulty(tmp_path / "server") as server, connect(server, shape) as client:
        source = FileSource(path, len(content), "application/x-test")
        made = await client.upload("Grüße & Küsse.bin", source, priority=URGENT)
        assert (made.filename, made.size_bytes, made.mime_type) == (
            "Grüße & Küsse.bin",
            len(content),
            "application/x-test",
        )
        assert await client.metadata(made.id, priority=URGENT) == made
        assert (await client.list_page(None, priority=URGENT)).files == (made,)
        assert await client.list_ids([made.id, "file_none"], priority=URGENT) == (made,)
        async with client.download(made.id, offset=1_000_000, length=5000, priority=URGENT) as body:
            assert (body.offset, body.total_bytes, body.ranges) == (1_000_000, len(content), True)
            assert b"".join([piece async for piece in body]) == content[1_000_000:1_005_000]
        await client.delete(made.id, priority=URGENT)
        with pytest.raises(RemoteNotFound):
            await client.delete(made.id, priority=URGENT)
        assert client.account is not None


@pytest.mark.parametrize("shape", ["ga", "beta"])
async def test_a_walk_sees_every_file_once(shape: Shape, tmp_path: Path) -> None:
    async with serve_faulty(tmp_path) as server, connect(server, shape) as client:
        made = [(await client.upload(f"{n}", BytesSource(b"x"), priority=URGENT)).id for n in range(25)]
        pages = [page async for page in client.pages(priority=URGENT, limit=7)]
    assert [file.id for page in pages for file in page.files] == made[::-1]
    assert [len(page.files) for page in pages] == [7, 7, 7, 4]


async def test_refusals_keep_their_facts(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path, uploads_downloadable=False, max_file_bytes=MIB) as server:
        async with connect(server) as client:
            made = await client.upload("a", BytesSource(b"1"), priority=URGENT)
            with pytest.raises(NotDownloadable) as refused:
                async with client.download(made.id, priority=URGENT):
                    pass
            assert (refused.value.status, refused.value.error_code) == (400, "file_not_downloadable")
            assert refused.value.request_id
            with pytest.raises(BadRequest):
                await client.upload("a<b", BytesSource(b"1"), priority=URGENT)
            with pytest.raises(TooLarge):
                await client.upload("a", BytesSource(bytes(2 * MIB)), priority=URGENT)
        async with Client(settings(base_url=server.url), Budget(None)) as stranger:
            with pytest.raises(AuthenticationFailed):
                await stranger.list_page(None, priority=URGENT)


async def test_a_server_with_a_limit_is_obeyed_once_it_is_known(tmp_path: Path) -> None:
    budget = Budget(None)
    async with serve_faulty(tmp_path, requests_per_minute=600) as server, connect(server, "ga", budget) as client:
        for _ in range(64):
            await client.list_page(None, priority=Priority.POLL)
    assert budget.limit_per_minute == pytest.approx(600)
    assert budget.statistics().rate_limited == 0


async def test_faults_become_what_they_are(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path) as server, connect(server) as client:
        made = await client.upload("a", BytesSource(bytes(MIB)), priority=URGENT)
        await client.upload("b", BytesSource(b"2"), priority=URGENT)
        server.script.add(html_too_large(), op="upload")
        with pytest.raises(TooLarge, match="HTML page"):
            await client.upload("c", BytesSource(b"3"), priority=URGENT)
        server.script.clear()
        server.script.add(LostReply(), op="upload")
        with pytest.raises(AmbiguousOutcome):
            await client.upload("d", BytesSource(b"4"), priority=URGENT)
        server.script.add(CutBody(1000), op="content")
        with pytest.raises(ReplyBroken):
            async with client.download(made.id, priority=URGENT) as body:
                _ = [piece async for piece in body]
        server.script.add(repeated_cursor(), op="list", times=None)
        with pytest.raises(ReplyBroken, match="repeats"):
            _ = [page async for page in client.pages(priority=URGENT, limit=1)]
        server.script.clear()
        server.script.add(HalfBody(), op="list", times=1)
        assert len((await client.list_page(None, priority=URGENT)).files) == 3
