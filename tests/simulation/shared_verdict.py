"""What must hold of machines that share a store, once all trouble is over: one tree, whose bytes all can read (X1-X5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from remotefs import names
from remotefs.data.share.header import decode, header_bytes
from remotefs.errors import RemotefsError
from tests.data.share.test_attributes import tree
from tests.simulation.history import brief
from tests.simulation.machine import Machine
from tests.simulation.verdict import POLICY

if TYPE_CHECKING:
    from tests.simulation.world import World

# Longer than the pause of an upload that the store refused often, in seconds, and than a few polls.
_ARRIVED_S, _POLLED_S = 4000, 120.0


async def judge_shared(world: World) -> list[str]:
    """Let everything reach the store and all machines, and return what is not as it has to be."""
    for _ in range(_ARRIVED_S):
        if not any(_is_waiting(machine) for machine in world.machines):
            break
        await trio.sleep(1.0)
    for machine in world.machines:
        for _ in range(3):
            await machine.host().walk()
            await trio.sleep(30.0)
    await trio.sleep(_POLLED_S)
    found = [
        f"asleep: machine {machine.number}: the store lacks {machine.host().parts.store.shares.waiting(5)}, and "
        f"{machine.host().parts.store.shared_log.dirty(5)} is unpublished"
        for machine in world.machines
        if _is_waiting(machine)
    ]
    local = _local(world) - {None}
    for machine in world.machines[1:]:
        found += _unlike(world.machines[0], machine, local)
    for machine in world.machines:
        found += await _unreadable(world, machine)
    return found + _wrong_objects(world)


def _is_waiting(machine: Machine) -> bool:
    store = machine.host().parts.store
    return bool(store.shares.waiting_count()) or store.shared_log.is_any_dirty()


def _common(machine: Machine) -> dict[str, tuple[object, ...]]:
    """Return the tree that all machines have: files with the service, and what is no file."""
    host, found = machine.host(), {}
    for path, facts in tree(host, own_choices=False).items():
        inode = host.stat(path)
        if not POLICY.never_uploaded(path) and (not inode.is_file or inode.file_id is not None):
            found[path] = (inode.file_id, *facts)
    return found


def _local(world: World) -> set[object]:
    """Return the files that some machine has under a name that stays on it (N6); the others show what went up before."""
    found: set[object] = set()
    for machine in world.machines:
        host = machine.host()
        found |= {host.stat(path).file_id for path in tree(host) if POLICY.never_uploaded(path)}
    return found


def _unlike(one: Machine, other: Machine, local: set[object]) -> list[str]:
    first, second = ({p: f for p, f in _common(each).items() if f[0] not in local} for each in (one, other))
    return [
        f"unlike: {path} is {first.get(path)} on machine {one.number}, {second.get(path)} on machine {other.number}"
        for path in sorted({*first, *second})
        if first.get(path) != second.get(path)
    ]


async def _unreadable(world: World, machine: Machine) -> list[str]:
    """Find files that a machine cannot read, or reads otherwise than the service has them."""
    host, found = machine.host(), []
    there = {record.id for record in world.records() if world.ledger.made_by.get(record.id) is not None}
    for path in _common(machine):
        inode = host.stat(path)
        if not inode.is_file or inode.file_id not in there or not inode.size:
            continue
        try:
            data = await host.read(path)
        except (RemotefsError, OSError) as error:
            found.append(f"unreadable: {path} on machine {machine.number}: {error}")
            continue
        if data != world.bytes_of(inode.file_id):
            found.append(f"wrong bytes: {path} on machine {machine.number} has {brief(data)}")
    return found


def _wrong_objects(world: World) -> list[str]:
    """Find objects that are not what their file is."""
    found = []
    for key, (data, _) in world.objects.kept.items():
        kind, file_id = key.split("/")[-3:-2], key.rpartition("/")[2]
        if kind != ["c"] or file_id not in world.ledger.contents:
            continue
        true = world.ledger.contents[file_id]
        before = header_bytes(len(true))
        try:
            decode(data[:before], len(true))
        except ValueError as error:
            found.append(f"wrong object: {key}: {error}")
        if data[before:] != true:
            found.append(f"wrong object: {names.decode(key)} has other bytes than its file")
    return found
