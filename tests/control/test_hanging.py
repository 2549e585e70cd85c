"""Commands answer while the network hangs and a thousand uploads wait: that is when they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.control.client import ControlClient
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.cache import (
    CACHE_CLEAR,
    CACHE_INFO,
    CACHE_TRIM,
    UNPIN,
    ClearParams,
    TrimParams,
    UnpinParams,
)
from remotefs.control.messages.check import CHECK, EXPORT, CheckParams, ExportParams
from remotefs.control.messages.mount import TAKEOVER, UMOUNT, UmountParams
from remotefs.control.messages.paths import PATHS, PathsParams
from remotefs.control.messages.status import FLUSH, RETRY, STATUS, FlushParams, PathParams
from remotefs.control.messages.trash import TRASH_LIST
from remotefs.control.server import ControlServer
from tests.commands import commands
from tests.faults import Action, Call, FaultyServer
from tests.parts import Host, running, server, settings
from tests.sampling import sample

__all__ = ["server"]


@dataclass
class Hang(Action):
    """Never answer; once the test is over close the connection, nothing carried out."""

    async def __call__(self, call: Call) -> None:
        call.rule.mark_arrived()
        await call.rule.released()
        call.abort()


@asynccontextmanager
async def stuck(folder: Path, server: FaultyServer, uploads: int) -> AsyncIterator[tuple[Host, ControlClient]]:
    """A mount whose requests are never answered, and its control socket."""
    async with running(folder, server, durability="local") as host:
        held = server.script.add(Hang(), times=None)
        for number in range(uploads):
            await host.write(f"f{number:04}", b"x")
        host.make_due()
        await held.until_hit()
        socket = settings(host.state_dir, server.url).socket
        await host.nursery.start(ControlServer(socket, commands(host).all()).run)
        yield host, ControlClient(socket)
        server.script.clear()


async def call(client: ControlClient, *args: Any) -> Any:
    return await trio.to_thread.run_sync(partial(client.call, *args, timeout_s=60.0))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("uploads", sample(200, 1000))
async def test_no_command_waits_for_the_network(tmp_path: Path, server: FaultyServer, uploads: int) -> None:
    """Each returns although no request ever does: the server holds all of them until the test is over."""
    async with stuck(tmp_path, server, uploads) as (host, client):
        before = server.script.count()
        status = await call(client, STATUS, Nothing())
        assert sum(kind.count for kind in status.pending) == uploads
        assert [upload.size for upload in status.uploading] == [1] * len(status.uploading)
        assert status.uploading
        assert status.content.staging_bytes == uploads
        # One by one, for each answers alone.
        target = str(tmp_path / "out")
        for endpoint, params in (
            (RETRY, PathParams()), (PATHS, PathsParams(("file_x",))), (TRASH_LIST, Nothing()), (CACHE_INFO, Nothing()),
            (CACHE_TRIM, TrimParams(0)), (CACHE_CLEAR, ClearParams(pinned_too=True)), (UNPIN, UnpinParams(path="")),
            (EXPORT, ExportParams(path="f0000", target=target)), (TAKEOVER, Nothing()),
        ):  # fmt: skip
            await call(client, endpoint, params)
        assert (await call(client, CHECK, CheckParams(service=False))).findings == ()
        # With no time given even what waits for the service only says what is left.
        assert (await call(client, FLUSH, FlushParams(timeout_s=0.0))).left == uploads
        assert (await call(client, UMOUNT, UmountParams(timeout_s=0.0))).left == uploads
        assert await trio.Path(target).read_bytes() == b"x"
        assert server.script.count() - before <= host.parts.writeback.statistics().running
