"""A state folder at work without a mount: for `put` and `get`, where no process has it mounted.

It works as a mount does, but for the kernel and for removals: recovery first, the same journal, the same read-back of
a lost reply. What is not done at the end goes on with the next command or mount.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

import msgspec
import trio

from remotefs.control.messages.base import Report
from remotefs.errors import LocalError, ObjectStoreError, RemotefsError
from remotefs.mount.assembly import Components, assemble
from remotefs.mount.greeting import Greeting
from remotefs.mount.opening import opened_database, put_away, save_notes
from remotefs.mount.settings import MountSettings

# Without a mount nothing else lists on, and the command shows how far it is.
_FIRST_LISTING_S = 3600.0
# A command that needs the service waits longer for its first answer than a mount does.
_GREETING_S = 30.0
# The shortest time between two questions while no answer has come.
_ASK_EVERY_S = 1.0


@asynccontextmanager
async def working_parts(settings: MountSettings, report: Report, *, sends: bool) -> AsyncIterator[Components]:
    """Yield the parts of a state folder whose lock is held; with `sends` pending uploads are sent meanwhile.

    Raises StateUnusable, AccountError, RefusedError; TransportError when the service was never listed.
    """
    settings = patient(settings)
    async with recovered_parts(settings, report) as (parts, nursery):
        greeting = Greeting(parts, settings.config.refresh, report)
        await (greeting.greet_service(_GREETING_S) if sends else greeting.catch_up(_GREETING_S))
        await _start(parts, nursery, sends=sends)
        yield parts


@asynccontextmanager
async def recovered_parts(settings: MountSettings, report: Report) -> AsyncIterator[tuple[Components, trio.Nursery]]:
    """Yield the parts of a state folder whose lock is held, and the nursery of their tasks; the service is not asked.

    They can read files, from the shared store too. Raises StateUnusable, AccountError, UsageError.
    """
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with opened_database(settings.state_dir, report) as database:
        parts = assemble(settings, database)
        parts.guard.check_address()
        try:
            async with parts.client, trio.open_nursery() as nursery:
                await nursery.start(parts.downloader.run)
                await parts.recovery.run()
                with suppress(LocalError):
                    parts.timekeeper.note()
                if (connection := parts.shared.connection) is not None:
                    nursery.start_soon(parts.supervisor.keep, "looking at the shared store", connection.run)
                yield parts, nursery
                nursery.cancel_scope.cancel()
        finally:
            with suppress(LocalError):
                await put_away(parts)


async def _start(parts: Components, nursery: trio.Nursery, *, sends: bool) -> None:
    keep = parts.supervisor.keep
    nursery.start_soon(keep, "keeping the log of the database short", parts.database.run_checkpoints)
    nursery.start_soon(keep, "recording changes of others", parts.event_recorder.run)
    nursery.start_soon(keep, "saving sizes and times", partial(save_notes, parts))
    nursery.start_soon(keep, "asking whether the service is there", parts.reconnect.run)
    nursery.start_soon(keep, "asking who answers", partial(_ask_while_down, parts))
    if sends:
        parts.mandate.leave_removals(parts.journal)
        await nursery.start(parts.writeback.run)
        if parts.shared.is_configured:
            nursery.start_soon(keep, "putting files into the shared store", parts.sharer.run)
            nursery.start_soon(keep, "exchanging attributes with other machines", parts.exchange.run)
    elif parts.shared.is_configured:
        # Files are fetched with the modes and times that other machines have given them, if the store is there.
        with suppress(ObjectStoreError):
            await parts.exchange.take_in()


async def _ask_while_down(parts: Components) -> None:
    """Ask whenever the connection is down for another reason than that no answer came, which `Reconnect` looks after.

    In a mount the listings find out that it is up again.
    """
    connectivity = parts.connectivity
    while True:
        if connectivity.is_up or connectivity.suspended is not None or connectivity.unanswered is not None:
            await connectivity.changed()
            continue
        await trio.sleep(max(_ASK_EVERY_S, connectivity.retry_s))
        with suppress(RemotefsError):  # `watch` has noted it
            await connectivity.watch(parts.ask_service)


def patient(settings: MountSettings) -> MountSettings:
    """Return settings for a command, which can wait: no program freezes meanwhile."""
    config = settings.config
    service = msgspec.structs.replace(config.service, read_wait_s=config.service.io_timeout_s)
    refresh = msgspec.structs.replace(
        config.refresh, first_listing_wait_s=max(_FIRST_LISTING_S, config.refresh.first_listing_wait_s)
    )
    return replace(settings, config=msgspec.structs.replace(config, service=service, refresh=refresh))
