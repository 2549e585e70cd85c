"""SeaweedFS in trouble: killed, stopped, with the wrong key, and without the bucket."""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio

from remotefs.errors import ObjectStoreDenied, ObjectStoreError, ObjectStoreUnreachable, ObjectStoreUnusable
from remotefs.objects.backend import PART_BYTES
from remotefs.objects.marker import create_marker, read_marker
from remotefs.objects.store import ObjectStore
from tests.objects.servers import BUCKET, READER, WRITER, WRONG, Key, SeaweedFS, Server, running

pytestmark = pytest.mark.store
# Two tries of 10 s each, and what a busy machine adds.
_PATIENCE_S = 35
_SECRETS = [WRITER.secret, READER.secret, WRONG.secret]
SignIn = Callable[[Server, Key], None]


async def put(store: ObjectStore, key: str, data: bytes) -> None:
    await store.put(key, lambda: [data], len(data))


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A server that may be killed."""
    with running(SeaweedFS(tmp_path_factory.mktemp("mortal"))) as server:
        yield server


def calls(store: ObjectStore) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "get": lambda: store.get("c/x"),
        "put": lambda: put(store, "c/y", b"1"),
        "create": lambda: store.create("c/y", b"1"),
        "size_of": lambda: store.size_of("c/x"),
        "delete": lambda: store.delete(["c/x"]),
        "copy": lambda: store.copy("c/x", "c/y"),
        "list": lambda: anext(store.list("c")),
    }


async def test_a_wrong_key_is_denied_without_a_secret_in_the_message(seaweedfs: SeaweedFS, sign_in: SignIn) -> None:
    for key in (WRONG, Key(WRITER.id, WRONG.secret)):
        sign_in(seaweedfs, key)
        for call in calls(ObjectStore.open(f"s3://{BUCKET}/wrong")).values():
            with pytest.raises(ObjectStoreDenied, match="check its credentials") as caught:
                await call()
            assert not any(secret in str(caught.value) for secret in _SECRETS)


async def test_a_reader_reads_and_nothing_else(seaweedfs: SeaweedFS, sign_in: SignIn) -> None:
    sign_in(seaweedfs, WRITER)
    writer = ObjectStore.open(f"s3://{BUCKET}/rights")
    marker = await create_marker(writer)
    await put(writer, "c/x", b"1")
    sign_in(seaweedfs, READER)
    reader = ObjectStore.open(f"s3://{BUCKET}/rights")
    assert await read_marker(reader) == marker
    assert await reader.get("c/x") == b"1"
    assert [entry.key async for page in reader.list("c") for entry in page] == ["c/x"]
    for name in ("put", "create", "delete", "copy"):
        with pytest.raises(ObjectStoreDenied):
            await calls(reader)[name]()
    assert [entry.key async for page in writer.list("") for entry in page] == ["c/x", "store.json"]


async def test_a_missing_bucket_is_told_by_what_reads(seaweedfs: SeaweedFS, sign_in: SignIn) -> None:
    """An administrator's key makes a bucket by a put, so only reading is tried, and with the reader's key."""
    sign_in(seaweedfs, WRITER)
    store = ObjectStore.open("s3://absent-bucket/a")
    with pytest.raises(ObjectStoreUnusable, match="there is no such bucket"):
        await read_marker(store)
    with pytest.raises(ObjectStoreUnusable):
        await anext(store.list(""))
    assert await store.size_of("c/x") is None
    sign_in(seaweedfs, READER)
    with pytest.raises(ObjectStoreError):
        await put(ObjectStore.open("s3://absent-bucket/a"), "c/x", b"1")


@pytest.mark.timeout(400)
async def test_a_killed_server_has_what_it_acknowledged(mortal: SeaweedFS, sign_in: SignIn) -> None:
    sign_in(mortal, WRITER)
    store = ObjectStore.open(f"s3://{BUCKET}/killed")
    acknowledged: dict[str, int] = {}
    tried: dict[str, int] = {}

    async def write(writer: int, round_number: int) -> None:
        size = 64 << 10 if writer else PART_BYTES + 12_345
        with pytest.raises(ObjectStoreUnreachable):
            for number in range(1_000):
                key = f"c/{writer}/{round_number}-{number:04}"
                tried[key] = size
                await put(store, key, bytes([writer + 1]) * size)
                acknowledged[key] = size
                if len(acknowledged) >= wanted:
                    enough.set()

    for round_number in range(2):
        wanted, enough = len(acknowledged) + 30, trio.Event()
        async with trio.open_nursery() as nursery:
            for writer in range(3):
                nursery.start_soon(write, writer, round_number)
            await enough.wait()
            mortal.kill()
        await trio.to_thread.run_sync(mortal.start)
    listed = {entry.key: entry.size async for page in store.list("c") for entry in page}
    assert {key: listed.get(key) for key in acknowledged} == acknowledged
    # What was not acknowledged is there whole, or not at all.
    assert {key: size for key, size in listed.items() if tried[key] != size} == {}
    for key in listed:
        assert await store.get(key) == bytes([int(key.split("/")[1]) + 1]) * tried[key]


@pytest.mark.timeout(400)
async def test_a_server_that_hangs_is_out_of_reach_and_back_again(mortal: SeaweedFS, sign_in: SignIn) -> None:
    sign_in(mortal, WRITER)
    store = ObjectStore.open(f"s3://{BUCKET}/hung")
    await put(store, "c/x", bytes(3 << 20))
    took: dict[str, float] = {}

    async def ask(name: str, call: Callable[[], Awaitable[object]]) -> None:
        begun = time.monotonic()
        with pytest.raises(ObjectStoreUnreachable):
            await call()
        took[name] = time.monotonic() - begun

    async with store.stream("c/x") as pieces:
        await anext(pieces)
        mortal.signal(signal.SIGSTOP)
        try:
            with trio.move_on_after(1) as scope:
                await store.get("c/x")
            assert scope.cancelled_caught
            async with trio.open_nursery() as nursery:
                for name, call in calls(store).items():
                    nursery.start_soon(ask, name, call)
        finally:
            mortal.signal(signal.SIGCONT)
    print({name: round(seconds, 1) for name, seconds in took.items()})
    assert max(took.values()) < _PATIENCE_S
    assert await store.size_of("c/x") == 3 << 20
