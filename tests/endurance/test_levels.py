"""What comes and goes leaves nothing behind in the memory of a mount, however long it lives."""

from __future__ import annotations

import gc
import os
import types
from collections import Counter, deque
from collections.abc import Collection, Iterator
from pathlib import Path

import cachetools
import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.errors import RemotefsError
from remotefs.mount.assembly import Components
from remotefs.supervision import Supervisor
from tests.faults import FaultyServer, Reply
from tests.mount.support import remote
from tests.parts import Host, clock, running, server

__all__ = ["clock", "server"]

ROUNDS = 3
FILES = 2
# What grows to a bound of its own, and no further: 256 folders; pairs of the heap (see tests/data/content/test_store.py).
BOUNDED = {"Adoption._named", "ContentIndex._by_age", "ContentIndex._by_age[]"}
# A file that the listing's length is not believed of is looked at before it is read (R6).
MEDIA = "clip.mp4"

Server, Clock = FaultyServer, trio.abc.Clock


def containers(parts: Components) -> Counter[str]:
    """How many things each container holds that a part of the mount has, by its attribute; bounded caches aside."""
    sizes: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: deque[tuple[str, object]] = deque([("parts", parts)])
    while waiting:
        name, thing = waiting.popleft()
        if id(thing) in seen or isinstance(thing, type | types.ModuleType | cachetools.Cache | trio.Nursery):
            continue
        seen.add(id(thing))
        if isinstance(thing, deque) and thing.maxlen is not None:
            continue
        if isinstance(thing, dict | list | set | frozenset | tuple | deque):
            sizes[name] += len(thing)
        waiting.extend(_children(name, thing))
    return sizes


def rows(host: Host) -> dict[str, int]:
    """How many rows each table has, SQLite's own aside."""
    database = host.parts.database
    tables = [name for (name,) in database.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
    own = [name for name in tables if not name.startswith("sqlite_")]
    return {name: database.all(f"SELECT count(*) FROM {name}")[0][0] for name in own}


def files(host: Host) -> Counter[str]:
    """How many files each folder of the state has, those by a part of an id together, but not what is in the trash."""
    found = (path.relative_to(host.state_dir).parts[0] for path in host.state_dir.rglob("*") if path.is_file())
    return Counter(name for name in found if name != "trash")


def _children(name: str, thing: object) -> Iterator[tuple[str, object]]:
    if isinstance(thing, dict):
        yield from ((f"{name}[]", value) for value in thing.values())
    elif isinstance(thing, list | set | frozenset | tuple | deque):
        yield from ((f"{name}[]", value) for value in thing)
    elif isinstance(thing, types.MethodType):
        yield f"{name}.__self__", thing.__self__
    elif isinstance(thing, types.FunctionType):
        for cell in thing.__closure__ or ():
            yield f"{name}()", cell.cell_contents
    elif isinstance(thing, BaseException) or type(thing).__module__.partition(".")[0] == "remotefs":
        for attribute, value in vars(thing).items() if hasattr(thing, "__dict__") else ():
            yield f"{type(thing).__name__}.{attribute}", value
        for attribute in getattr(type(thing), "__slots__", ()):
            if hasattr(thing, attribute):
                yield f"{type(thing).__name__}.{attribute}", getattr(thing, attribute)


async def come_and_go(host: Host, number: int) -> None:
    """A round in the life of a mount: everything that it makes has gone at its end."""
    server = host.server
    host.mkdir("folder")
    for each in range(FILES):
        await host.write(f"folder/{number}-{each}", os.urandom(5000))
        # Written over while it waits or is sent, renamed, linked, emptied.
        await host.write(f"folder/{number}-{each}", os.urandom(3000))
        host.rename(f"folder/{number}-{each}", f"folder/{number}-{each}.renamed")
        host.link(f"folder/{number}-{each}.renamed", f"folder/{number}-{each}.linked")
    await host.write("folder/empty", b"")
    host.rename("folder", "moved")
    await host.settled()
    refused = server.script.add(Reply(400), op="upload", times=FILES)
    for each in range(FILES):
        with pytest.raises(RemotefsError):
            await host.write(f"moved/{number}-{each}.refused", b"x")
    server.script.remove(refused)
    theirs = [server.store.add_generated(remote(f"theirs/{number}-{n}"), b"theirs" * 1000) for n in range(FILES)]
    theirs += [server.store.add_generated(remote(f"theirs/{number}-{n}-{MEDIA}"), b"media" * 100) for n in range(FILES)]
    # The same name twice: a conflict copy.
    theirs += [server.store.add_generated(remote(f"theirs/{number}-0"), b"again")]
    await host.walk()
    for name in host.ls("theirs"):
        await host.read(f"theirs/{name}")
    for name in host.ls("moved"):
        host.unlink(f"moved/{name}")
    host.fs.namespace.rmdir(1, b"moved")
    for record in theirs:
        server.store.delete(record.id)
    for _ in range(3):
        await host.walk()
    # What tidies up now and then has its turn.
    await trio.sleep(60)
    await host.settled()


def _at_once(config: Config) -> Config:
    """A file that became known just now counts as missing, too."""
    return msgspec.structs.replace(config, refresh=msgspec.structs.replace(config.refresh, removal_min_age_s=0.0))


async def test_what_comes_and_goes_leaves_nothing_in_memory(tmp_path: Path, server: Server, clock: Clock) -> None:
    # An empty listing would be held to be a mistake (S1).
    server.store.add_generated("stays", b"")
    async with running(tmp_path, server, change=_at_once) as host:
        host.nursery.start_soon(host.parts.summing.run)
        host.nursery.start_soon(host.parts.event_recorder.run)
        await host.walk()
        await come_and_go(host, 0)
        assert host.ls() == ["stays"]
        before, rows_before, files_before = containers(host.parts), rows(host), files(host)
        for number in range(1, 1 + ROUNDS):
            await come_and_go(host, number)
        gc.collect()
        after = containers(host.parts)
        grown = {
            name: (before[name], size)
            for name, size in after.items()
            if size - before[name] >= ROUNDS and name not in BOUNDED
        }
        assert grown == {}, grown
        assert (rows(host), files(host)) == (rows_before, files_before)


def test_failures_of_many_tasks_do_not_pile_up_and_those_that_go_on_are_kept() -> None:
    supervisor = Supervisor()
    for number in range(1000):
        supervisor.note(f"upload of {number}", ValueError("a mistake"))
        supervisor.note("listing", OSError("no room"))
    told = supervisor.failures()
    assert len(told) <= 100
    assert (told[0].task, told[0].count, told[1].task) == ("listing", 1000, "upload of 999")


def test_the_look_at_containers_sees_one_that_grows() -> None:
    """Of a part within a part, too."""

    class Part:
        __module__ = "remotefs.part"

        def __init__(self) -> None:
            self.inner: Collection[object] = {"a": [1, 2, 3]}

    parts = Components()
    parts.tree = Part()  # type: ignore[assignment]
    assert containers(parts)["Part.inner"] == 1
    assert containers(parts)["Part.inner[]"] == 3
