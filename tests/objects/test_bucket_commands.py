"""The commands that read a bucket back, empty it and recover from it, on SeaweedFS (X1)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from remotefs.cli.exit_status import sole_error
from remotefs.config import Config, SharedConfig
from remotefs.errors import NotReadable, ObjectStoreUnusable
from remotefs.mount.check.shared_objects import SharedScope
from remotefs.mount.commands.check import check_shared
from remotefs.mount.recover.session import RecoverRequest, recover
from remotefs.mount.settings import MountSettings
from remotefs.objects.store import ObjectStore
from tests.data.share.test_unshare import unshare
from tests.faults import FaultyServer, faulty_server
from tests.objects.servers import BUCKET, READER, WRITER, Key, SeaweedFS, Server
from tests.parts import running
from tests.transfers.support import no_display, quietly, state_settings

pytestmark = pytest.mark.store
SignIn = Callable[[Server, Key], None]
_LARGE = os.urandom(20_000_000)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as server:
        yield server


async def test_a_bucket_is_read_back_and_recovered_from_and_files_are_taken_out(
    tmp_path: Path, service: FaultyServer, seaweedfs: SeaweedFS, sign_in: SignIn
) -> None:
    sign_in(seaweedfs, WRITER)
    url = f"s3://{BUCKET}/commands"

    def shared(config: Config) -> Config:
        return msgspec.structs.replace(config, shared=SharedConfig(store=url))

    async def recovered(name: str, *, without_service: bool) -> dict[str, str]:
        chosen = state_settings(tmp_path, service, "temporary")
        settings = MountSettings(chosen.mountpoint, chosen.state_dir, shared(chosen.config), chosen.options)
        try:
            done = await recover(RecoverRequest(tmp_path / name, without_service), settings, quietly, no_display)
        except BaseExceptionGroup as errors:
            raise sole_error(errors) from None
        finally:
            shutil.rmtree(chosen.state_dir)
        return {file.path: file.outcome.value for file in done}

    with pytest.raises(ObjectStoreUnusable, match="no shared store here"):
        await recovered("nothing", without_service=True)
    async with running(tmp_path, service, state="one", change=shared) as one:
        one.mkdir("empty")
        await one.write("large", _LARGE)
        await one.write("d", b"small")
        one.link("d", "hard")
        await one.until(lambda: not one.parts.shared.is_any_awaited())
        whole = await check_shared(one.parts, SharedScope(), repair=False, report=quietly)
        assert whole.findings == ()
        key = one.parts.shared.key_of(one.id("large"))
        objects = ObjectStore.open(url)
        await objects.put(key, lambda: [b"something else"], 14)
        damaged = await check_shared(one.parts, SharedScope(), repair=True, report=quietly)
        assert (damaged.count, damaged.repaired) == (1, 1)
        ids = {path: one.id(path) for path in ("large", "d")}
        # A machine that may only read brings all back.
        sign_in(seaweedfs, READER)
        assert await recovered("out", without_service=False) == {"large": "fetched", "d": "fetched"}
        assert (tmp_path / "out/large").read_bytes() == _LARGE
        assert (tmp_path / "out/hard").samefile(tmp_path / "out/d")
        assert await recovered("by id", without_service=True) == {
            f"by-id/{ids['large']}": "fetched",
            "d": "fetched",
        }
        assert sorted(os.listdir(tmp_path / "by id")) == ["by-id", "d", "empty", "hard"]
        async with running(tmp_path, service, state="two", change=shared) as two:
            await two.walk()
            assert (await unshare(one)).files == 2
            with pytest.raises(NotReadable):
                await two.read("large")
        assert await one.read("large") == _LARGE
        assert await recovered("empty", without_service=True) == {}
