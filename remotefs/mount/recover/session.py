"""`remotefs recover` from its request to what became of each file. Loads all of a mount."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from remotefs.api.budget import Priority
from remotefs.control.messages.base import Listing, Notice, Report
from remotefs.errors import ObjectStoreUnusable, RefusedError, TransportError
from remotefs.mount.assembly import Components
from remotefs.mount.recover.restoration import Restoration
from remotefs.mount.recover.store_listing import choose_account, list_store
from remotefs.mount.settings import MountSettings
from remotefs.mount.transfers.put import Stage
from remotefs.mount.transfers.records import Transferred
from remotefs.mount.without_kernel import patient, recovered_parts
from remotefs.objects.marker import read_marker
from remotefs.objects.store import ObjectStore

# A name that another entry has is free once that one has got its own.
_APPLIED_TIMES = 2


class RecoverRequest(NamedTuple):
    """Where to recover to; without the service the account of the store to read, None for the only one."""

    destination: Path
    without_service: bool = False
    account: str | None = None


async def recover(request: RecoverRequest, settings: MountSettings, report: Report, stage: Stage) -> list[Transferred]:
    """Recover by an empty state folder whose lock is held; its settings name the store. Sends and changes nothing.

    Return what became of each file. Raises UsageError, ObjectStoreError, OSError; TransportError, RefusedError,
    AccountError where the service cannot be listed.
    """
    store_id = await _store_id(settings.config.shared.store)
    async with recovered_parts(patient(settings), report) as (parts, _):
        # Known from here on: a connection makes no new store of a place that loses its marker now.
        parts.meta.record(shared_store=store_id)
        if request.without_service:
            await _fill_from_store(parts, request.account, report)
        else:
            await _fill_from_service(parts, report)
        with stage("recovering") as show:
            return await Restoration(parts, request.destination).run(show)


async def _store_id(url: str) -> str:
    """Return the id of the store at an address. Raises ObjectStoreError, also where there is none: none is made."""
    marker = await read_marker(ObjectStore.open(url))
    if marker is None:
        raise ObjectStoreUnusable(f"{url}: there is no shared store here, for it has no store.json: check the address")
    return marker.store_id


async def _fill_from_service(parts: Components, report: Report) -> None:
    try:
        await parts.connectivity.watch(
            lambda: parts.listings.walk(
                priority=Priority.FIRST_LISTING, report=lambda files: report(Listing(files=files))
            )
        )
    except (TransportError, RefusedError):
        report(Notice(text="the service cannot be listed; --without-service recovers from the store alone"))
        raise
    await _apply_records(parts)


async def _fill_from_store(parts: Components, account: str | None, report: Report) -> None:
    connection = parts.shared.connection
    assert connection is not None
    account = await choose_account(connection, account)
    parts.meta.record(shared_account=account)
    # The records come first: they tell which of several files has a path.
    await parts.exchange.take_in()
    await list_store(parts, connection, account, report)
    await _apply_records(parts)


async def _apply_records(parts: Components) -> None:
    for _ in range(_APPLIED_TIMES):
        await parts.exchange.take_in()
