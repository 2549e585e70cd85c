"""The oracle itself: it complains of each kind of harm, and of nothing where all is well."""

from __future__ import annotations

import logging

import trio

from remotefs.api.budget import Priority
from tests.fuzz.oracle import Ledger, complaints, recovered, watched
from tests.fuzz.world import World, run_world


def test_every_kind_of_harm_is_a_complaint() -> None:
    async def life(world: World) -> tuple[list[str], list[str]]:
        ledger, store = Ledger(), world.server.store
        theirs = ledger.others_file(store.add_generated("theirs.txt", b"theirs"), b"theirs")
        other = ledger.others_file(store.add_generated("other.txt", b"other"), b"other")
        with watched() as log:
            async with world.mounted() as host:
                await host.walk()
                for path in ("kept.txt", "gone.txt"):
                    await host.write(path, path.encode())
                    ledger.wrote(path, path.encode())
                await recovered(host)
                well = await complaints(host, ledger, log)
                # Somebody destroys and hides files, loses bytes, asks without end, and fails in a way of its own.
                store.delete(theirs.id)
                with host.parts.database.transaction():
                    host.parts.remotes.tombstone(other.id)
                    host.parts.tree.unlink(1, "other.txt", now_ns=0)
                host.unlink("gone.txt")
                logging.getLogger("remotefs.fuzz").error("it failed", exc_info=ValueError("unforeseen"))

                async def ask() -> None:
                    while True:
                        await host.parts.client.list_page(None, priority=Priority.POLL)
                        await trio.sleep(1.0)

                host.nursery.start_soon(ask)
                return well, await complaints(host, ledger, log)

    well, harmed = run_world(life)
    assert not well, well
    kinds = {complaint.partition(":")[0] for complaint in harmed}
    assert kinds >= {"destroyed", "hidden", "lost", "broken", "spins"}, harmed
