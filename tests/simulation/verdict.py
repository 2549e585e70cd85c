"""The judgement: of a machine that has started again, and of the world once all trouble is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from remotefs import names
from remotefs.check.findings import Kind
from remotefs.config import Config
from remotefs.errors import RemotefsError
from remotefs.store.records import ContentState
from remotefs.vfs.policy import NamePolicy
from tests.fuzz.oracle import _all_bytes, _paths, ended, recovered, restless, stuck, untrue
from tests.model.model import Node
from tests.simulation.disk import Persistence
from tests.simulation.history import Entry, Found, History, Shape, brief, disagreement, is_mixture
from tests.simulation.machine import Machine

if TYPE_CHECKING:
    from tests.simulation.world import World

POLICY = NamePolicy(Config().names)
_TRIES, _PAUSE_S = 30, 20.0
# How long it may take until everything has arrived, with every wait that there is, in seconds.
_ARRIVED_S = 400.0
# The longest pause before a close that failed is tried again, and a bit, in seconds.
_CLOSED_S = 70.0
# The log of a database that is copied in time, while little is to be done.
_LOG_BYTES = 300_000
# The time in which the mounts are watched that have nothing to do any more.
_QUIET_S = 200.0


async def judge_start(machine: Machine, tell: Callable[[str], None]) -> list[str]:
    """Compare what a machine has after it has started again with what it may have; go on from there."""
    found = await _found(machine)
    history, how = machine.history, machine.went_down
    allowed: Sequence[Shape]
    versions: Callable[[Node], Sequence[bytes]]
    if how is None:
        allowed, versions = history.shapes[-1:], _as_now
    elif how is Persistence.ALL:
        allowed, versions = history.shapes[machine.first_shape :], _as_killed(machine)
    else:
        allowed, versions = history.shapes, history.versions
    strays = _brought_back(found, allowed, versions) if machine.lost_power else {}
    shape, complaint = _fitting(found, allowed, versions, strays)
    machine.under_way.clear()
    machine.is_naming = False
    if shape is None:
        text = (
            f"lost: machine {machine.number} has another tree than it may have after {how or 'an unmount'}: {complaint}"
        )
        here = {path: len(facts.data or b"") for path, (facts, _) in found.items()}
        tell(f"{text}; it has {here}, and {len(allowed)} trees are possible: {[sorted(one) for one in allowed]}")
        return [text]
    _install(machine, shape, found)
    if how is not Persistence.ALL:
        machine.history = History(machine.model)
    return []


async def _found(machine: Machine) -> dict[str, Found]:
    assert machine.kernel is not None
    for _ in range(_TRIES):
        try:
            below = await machine.kernel.below(f"m{machine.number}")
            return {path: Found(*pair) for path, pair in below.items()}
        except (RemotefsError, OSError) as error:
            machine.tell(f"machine {machine.number} cannot be read yet: {error}")
            await trio.sleep(_PAUSE_S)
    return {}


def _as_now(node: Node) -> Sequence[bytes]:
    return [node.data]


def _as_killed(machine: Machine) -> Callable[[Node], Sequence[bytes]]:
    def versions(node: Node) -> Sequence[bytes]:
        if node not in machine.under_way:
            return [node.data]
        return [machine.under_way[node], *machine.history.versions(node)[-1:], node.data]

    return versions


def _fitting(
    found: Mapping[str, Found],
    allowed: Sequence[Shape],
    versions: Callable[[Node], Sequence[bytes]],
    strays: Mapping[str, Entry],
) -> tuple[Shape | None, str]:
    complaint = ""
    for shape in reversed(allowed):
        nodes = {entry.node for entry in shape.values()}
        whole = {path: entry for path, entry in strays.items() if entry.node not in nodes} | dict(shape)
        wrong = disagreement(found, whole, versions)
        if wrong is None:
            return whole, ""
        complaint = complaint or wrong
    return None, complaint


def _brought_back(
    found: Mapping[str, Found], allowed: Sequence[Shape], versions: Callable[[Node], Sequence[bytes]]
) -> Shape:
    """Return the files whose bytes reached the disk though their rows did not: they come back by their labels."""
    strays: dict[str, Entry] = {}
    for shape in allowed:
        for path, entry in shape.items():
            data = found[path].facts.data if path in found else None
            if data is not None and is_mixture(data, versions(entry.node)):
                strays[path] = entry
    return strays


def _install(machine: Machine, shape: Shape, found: Mapping[str, Found]) -> None:
    """Make the model what was found; the nodes stay."""
    model = machine.model
    model.slots.clear()
    model.root.entries = {}
    for entry in shape.values():
        entry.node.nlink, entry.node.entries = 0, {}
    for path, entry in sorted(shape.items(), key=lambda pair: pair[0].count("/")):
        node = entry.node
        folder, _, name = path.rpartition("/")
        (model._find(folder) if folder else model.root).entries[name] = node
        node.nlink += 1
        node.mode, node.xattrs = entry.mode, dict(entry.xattrs)
        data = found[path].facts.data
        if data is not None and data != node.data:
            before, node.data = node.data, data
            machine.history.changed(node, before)
    machine.history.named()


# -- the end


async def judge_end(world: World) -> list[str]:
    """Let everything arrive, and return what is not as it has to be."""
    found = await _asleep(world)
    for _ in range(2 if len(world.machines) > 1 else 1):
        for machine in world.machines:
            try:
                await recovered(machine.host())
            except AssertionError as error:
                found.append(f"stuck: machine {machine.number}: {error}")
    for machine in world.machines:
        found += [f"machine {machine.number}: {one}" for one in await _of_machine(world, machine)]
    found += _of_service(world) + await _owed(world) + await _unlike(world)
    for machine in world.machines:
        host = machine.host()
        untruths = await untrue(host, service=True)
        # A power cut brings back names whose removal was not synced; `check` says so, and nothing else is to be done.
        found += [
            one for one in untruths if not (machine.lost_power and one.startswith(f"check: {Kind.STRAY_CONTENT}:"))
        ]
        found += await stuck(host, f"probe-{machine.number}")
    found += await restless(world.machines[0].host(), len(world.machines), _QUIET_S)
    for machine in world.machines:
        if (log_bytes := (machine.state / "state.db-wal").stat().st_size) > _LOG_BYTES:
            found.append(f"grows: the log of machine {machine.number} has {log_bytes} bytes")
    return found + ended(world.log)


async def _asleep(world: World) -> list[str]:
    """Find work that does not go on by itself once all trouble is over, and later a person has asked to try again."""
    await trio.sleep(_CLOSED_S)
    found = []
    for machine in world.machines:
        parts = machine.host().parts
        unclosed = [inode.ino for inode in parts.tree.unclosed() if not parts.handles.is_open_for_write(inode.ino)]
        found += [
            f"asleep: machine {machine.number}: inode {ino} was written, and nobody closes it" for ino in unclosed
        ]
    for machine in world.machines:
        await machine.host().parts.drainer.retry(None)
    for _ in range(int(_ARRIVED_S)):
        if not any(machine.host().pending() for machine in world.machines):
            break
        await trio.sleep(1.0)
    for machine in world.machines:
        found += [f"asleep: machine {machine.number}: {intent}" for intent in machine.host().pending()]
        if (renamed := machine.host().parts.store.renames.first()) is not None:
            found.append(f"asleep: machine {machine.number}: files do not follow their folder: {renamed}")
    return found


async def _of_machine(world: World, machine: Machine) -> list[str]:
    """Compare a machine's own files with the model, and what the service has of them."""
    history = machine.history
    history.named()
    wrong = disagreement(await _found(machine), history.moment, _as_now)
    if wrong is not None:
        return [f"lost: {wrong}"]
    found = []
    there = {record.id: record.mime_type for record in world.records()}
    options = machine.host().parts.intents.upload_options
    assert machine.kernel is not None
    for node, paths in machine.model.files():
        inode = await machine.kernel.inode(f"m{machine.number}/{paths[0]}")
        if all(POLICY.never_uploaded(path) for path in paths):
            continue
        if inode.state != ContentState.CLEAN or inode.file_id not in there:
            found.append(f"lost: {paths[0]} is not with the service: state {inode.state}, {inode.file_id}")
        elif (data := world.bytes_of(inode.file_id)) != node.data:
            found.append(f"lost: the service has {brief(data)} of {paths[0]}, not {brief(node.data)}")
        elif (chosen := options.chosen_type(inode.ino)) not in {None, there[inode.file_id]}:
            found.append(f"lost: {paths[0]} is {there[inode.file_id]} at the service, not {chosen}")
    return found


def _of_service(world: World) -> list[str]:
    """Find files at the service that no machine has, with one writer and a listing that does not lag."""
    if any(event[1] == "lag" for event in world.life.events):
        return []
    bound = {
        record.id
        for record in world.records()
        for machine in world.machines
        if machine.parts is not None and any(inode.nlink > 0 for inode in machine.parts.tree.holders(record.id))
    }
    return [
        f"twice: the service has {names.decode(record.filename)} as {record.id}, which no machine has"
        for record in world.records()
        if record.id not in bound and world.ledger.made_by.get(record.id) is not None
    ]


async def _owed(world: World) -> list[str]:
    """Find contents that a user may rely on, and that are nowhere."""
    owed = world.ledger.owed()
    if not owed:
        return []
    kept = {world.bytes_of(record.id) for record in world.records()}
    for machine in world.machines:
        kept |= {data for data in await _all_bytes(machine.host()) if data is not None}
    return [
        f"lost: {path} of machine {number}: {brief(data)} is nowhere"
        for data, (number, path) in owed.items()
        if data not in kept
    ]


async def _unlike(world: World) -> list[str]:
    """Compare what the machines show of the files that are with the service."""
    shown = [_shown(machine) for machine in world.machines]
    aliases = {path for paths, theirs in shown for path in theirs}
    found = []
    for (one, _), machine in zip(shown[1:], world.machines[1:], strict=True):
        first = shown[0][0]
        for file_id in sorted({*one, *first}):
            here, there = first.get(file_id), one.get(file_id)
            if here != there and not {_plain(here), _plain(there)} & {_plain(alias) for alias in aliases}:
                found.append(f"unlike: machine 0 has {file_id} as {here}, machine {machine.number} as {there}")
    return found


def _shown(machine: Machine) -> tuple[dict[str, str], set[str]]:
    """Return the path of each id, and the paths that are aliases here or stand in for a name that one of them has."""
    host = machine.host()
    paths: dict[str, str] = {}
    aliases: set[str] = set()
    for path in _paths(host):
        inode = host.stat(path)
        if inode.file_id is None:
            continue
        remote = host.parts.remotes.find(inode.file_id)
        if inode.file_id in paths or remote is None:
            continue
        paths[inode.file_id] = path
        if names.decode(remote.filename) != _plain(path):
            aliases |= {path, names.decode(remote.filename) or remote.filename}
    return paths, aliases


def _plain(path: str | None) -> str | None:
    """Return the path without the id of a conflict copy (N3)."""
    if path is None or " [file_" not in path:
        return path
    stem, _, rest = path.partition(" [file_")
    return stem + rest.partition("]")[2]
