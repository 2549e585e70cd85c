"""The marker: which store it is, and whether it may be used."""

from __future__ import annotations

import json

import pytest
import trio

from remotefs.errors import ObjectStoreUnusable
from remotefs.objects.marker import Marker, create_marker, read_marker
from remotefs.objects.store import ObjectStore
from tests.objects.conftest import Place

GOOD = {"format": 1, "store_id": "0123456789abcdef" * 2}
DAMAGED = [
    b"", b"{", b"[]", b"null", b"\xff", b"{}", json.dumps({**GOOD, "format": 0}).encode(), json.dumps({**GOOD, "format": True}).encode(),
    json.dumps({**GOOD, "format": "1"}).encode(), json.dumps({**GOOD, "store_id": ""}).encode(), json.dumps({**GOOD, "store_id": "../x"}).encode(),
    json.dumps({**GOOD, "store_id": 7}).encode(), json.dumps(GOOD).encode() + b" " * 70_000, json.dumps(GOOD).encode()[:-1],
]  # fmt: skip
NO_CREATE = pytest.mark.beside("rclone", "it takes no notice of If-None-Match")


async def put(store: ObjectStore, data: bytes) -> None:
    await store.put("store.json", lambda: [data], len(data))


@NO_CREATE
async def test_a_store_has_one_marker_for_ever(place: Place, store: ObjectStore) -> None:
    assert await read_marker(store) is None
    made = await create_marker(store)
    assert made.format == 1
    assert await create_marker(place.open()) == await read_marker(place.open()) == made


@NO_CREATE
async def test_machines_that_make_a_store_at_one_time_agree(place: Place, store: ObjectStore) -> None:
    found: list[Marker] = []

    async def make() -> None:
        found.append(await create_marker(place.open()))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(make)
    assert len(found) == 8
    assert set(found) == {await read_marker(store)}


@NO_CREATE
async def test_two_stores_have_two_markers(tmp_path_factory: pytest.TempPathFactory) -> None:
    stores = [ObjectStore.open(f"file://{tmp_path_factory.mktemp('store')}") for _ in range(2)]
    one, other = [await create_marker(store) for store in stores]
    assert one != other


@pytest.mark.parametrize("data", DAMAGED)
async def test_a_damaged_marker_is_refused(store: ObjectStore, data: bytes) -> None:
    await put(store, data)
    for call in (read_marker, create_marker):
        with pytest.raises(ObjectStoreUnusable, match=r"store\.json: the marker of the shared store is damaged"):
            await call(store)


async def test_a_newer_marker_is_refused_and_kept(store: ObjectStore) -> None:
    data = json.dumps({"format": 2, "store_id": ["new"], "more": 1}).encode()
    await put(store, data)
    for call in (read_marker, create_marker):
        with pytest.raises(ObjectStoreUnusable, match="comes from a newer version of remotefs"):
            await call(store)
    assert await store.get("store.json") == data


async def test_a_marker_may_have_more_fields(store: ObjectStore) -> None:
    await put(store, json.dumps({**GOOD, "made_by": "x"}).encode())
    assert await read_marker(store) == Marker(format=1, store_id=str(GOOD["store_id"]))


@pytest.mark.parametrize("place", [pytest.param("rclone", marks=pytest.mark.store)], indirect=True)
async def test_a_server_without_put_if_absent_is_refused(store: ObjectStore) -> None:
    with pytest.raises(ObjectStoreUnusable, match="knows no put if absent"):
        await create_marker(store)
