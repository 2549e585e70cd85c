"""The marker of a store: an object that says that this is a store of remotefs, and which (X5)."""

from __future__ import annotations

import re
import secrets

import msgspec

from remotefs.errors import ObjectMissing, ObjectStoreUnusable
from remotefs.objects.store import ObjectStore

MARKER_KEY = "store.json"
_FORMAT = 1
_ID_BYTES = 16
_ID = re.compile(r"[0-9a-f]{32}")
# A marker has fewer; what is longer is not read.
_MOST_BYTES = 64 << 10


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """What the marker says: the format of the store, and a random id that tells it from any other."""

    format: int
    store_id: str


async def read_marker(store: ObjectStore) -> Marker | None:
    """Return the marker of a store, None if it has none.

    Raises ObjectStoreUnusable for one that is damaged or of a newer version, else ObjectStoreError.
    """
    data = await _read(store)
    return None if data is None else _marker_of(data, f"{store.url}/{MARKER_KEY}")


async def create_marker(store: ObjectStore) -> Marker:
    """Make a store of a prefix that has no marker, and return the marker that it has then, which may be another's.

    Raises ObjectStoreUnusable for one that is damaged or of a newer version, and for a store that puts over what is
    there when it must not; else ObjectStoreError.
    """
    if await read_marker(store) is None:
        mine = Marker(format=_FORMAT, store_id=secrets.token_hex(_ID_BYTES))
        await store.create(MARKER_KEY, msgspec.json.encode(mine))
    if (data := await _read(store)) is None:
        raise ObjectStoreUnusable(f"{store.url}: the shared store does not keep what is put there")
    kept = _marker_of(data, f"{store.url}/{MARKER_KEY}")
    # Some servers know no put if absent, and say nothing. The same bytes again do no harm there.
    if await store.create(MARKER_KEY, data):
        raise ObjectStoreUnusable(
            f"{store.url}: the shared store knows no put if absent (If-None-Match), so it cannot be shared: use another"
        )
    return kept


async def _read(store: ObjectStore) -> bytes | None:
    """Return the marker's bytes, or so many that it cannot be one; None if there is none."""
    data = b""
    try:
        async with store.stream(MARKER_KEY) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > _MOST_BYTES:
                    break
    except ObjectMissing:
        return None
    return data


def _marker_of(data: bytes, place: str) -> Marker:
    try:
        if len(data) > _MOST_BYTES:
            raise msgspec.DecodeError("too long")
        fields = msgspec.json.decode(data, type=dict[str, object])
        if isinstance(newer := fields.get("format"), int) and newer > _FORMAT:
            raise ObjectStoreUnusable(
                f"{place}: the shared store comes from a newer version of remotefs: update this one"
            )
        marker = msgspec.convert(fields, Marker)
    except msgspec.MsgspecError:
        marker = None
    if marker is None or marker.format != _FORMAT or not _ID.fullmatch(marker.store_id):
        raise ObjectStoreUnusable(f"{place}: the marker of the shared store is damaged: check the address")
    return marker
