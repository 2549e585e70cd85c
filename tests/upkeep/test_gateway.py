"""What a gateway of the same wire leaves open is settled by its listings: a 404 in another envelope proves nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.errors import RemotefsError
from tests.faults import LostReply
from tests.gateway import gateway
from tests.parts import running

Clock = trio.abc.Clock


def hasty(config: Config) -> Config:
    """A listing may lack a file at once."""
    return msgspec.structs.replace(config, refresh=msgspec.structs.replace(config.refresh, removal_min_age_s=0.0))


@pytest.mark.parametrize("ids", [False, True])
async def test_a_delete_whose_reply_was_lost_ends_once_listings_lack_the_file(
    tmp_path: Path, clock: Clock, ids: bool
) -> None:
    with gateway(tmp_path / "server", ids=ids) as server:
        async with running(tmp_path, server, change=hasty) as host:
            await host.write("a", b"1")
            await host.settled()
            server.script.add(LostReply(), op="delete")
            host.unlink("a")
            await host.until(lambda: server.script.count("delete") == 2)
            assert host.pending()
            for _ in range(2):
                await host.walk()
            await host.settled()
            assert server.script.count("delete") <= 3


@pytest.mark.parametrize("ids", [False, True])
async def test_a_file_that_others_removed_stays_until_listings_lack_it(tmp_path: Path, clock: Clock, ids: bool) -> None:
    with gateway(tmp_path / "server", ids=ids) as server:
        gone = server.store.add_generated("gone", b"bytes")
        server.store.add_generated("here", b"bytes")
        async with running(tmp_path, server, change=hasty) as host:
            await host.walk()
            server.store.delete(gone.id)
            with pytest.raises(RemotefsError):
                await host.read("gone")
            assert host.ls() == ["gone", "here"]
            for _ in range(2):
                await host.walk()
            assert host.ls() == ["here"]
            assert await host.read("here") == b"bytes"
