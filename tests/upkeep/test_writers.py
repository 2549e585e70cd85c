"""W8, N3: several writers of the same names. Nothing unreachable, nothing lost, the same view on all in the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs import names
from remotefs.errors import StaleError
from remotefs.store.records import ROOT_INO
from remotefs.vfs.handles import OpenFile
from tests.faults import FaultyServer, faulty_server
from tests.parts import CALM_S, Host
from tests.upkeep.support import add, machine, view, walks

Server, Clock = FaultyServer, trio.abc.Clock


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[FaultyServer]:
    """A service that gives back what was uploaded, so that all can be compared byte for byte."""
    with faulty_server(tmp_path / "server") as server:
        yield server


async def _poll(*hosts: Host, times: int = 2) -> None:
    for _ in range(times):
        for host in hosts:
            await host.parts.listings.poll()


async def test_w8_two_edits_of_one_file_both_survive_and_both_machines_show_the_same(
    tmp_path: Path, shared: FaultyServer, clock: Clock
) -> None:
    async with (
        machine(tmp_path, shared, state="one") as one,
        machine(tmp_path, shared, state="two", working=False, durability="local") as two,
    ):
        await one.write("f.txt", b"first")
        await one.settled()
        await two.walk()
        await two.write("f.txt", b"edit of two")
        await one.write("f.txt", b"edit of one")
        await one.settled()
        await two.start_working()
        await two.settled()
        await _poll(one, two)
        older = f"f [{one.id(one.ls()[0])}].txt"
        assert await view(one) == await view(two) == {"f.txt": b"edit of two", older: b"edit of one"}


async def test_w8_removed_here_and_edited_there_the_edit_survives_on_both(
    tmp_path: Path, shared: FaultyServer, clock: Clock
) -> None:
    add(shared, "kept", b"x")
    add(shared, "f", b"first")
    async with (
        machine(tmp_path, shared, state="one") as one,
        machine(tmp_path, shared, state="two", working=False, durability="local") as two,
    ):
        for host in (one, two):
            await host.walk()
        await two.write("f", b"edited")
        one.unlink("f")
        await one.settled()
        await walks(two)
        await two.start_working()
        await two.settled()
        await _poll(one, two)
        assert await view(one) == await view(two) == {"f": b"edited", "kept": b"x"}


async def test_n3_rm_does_not_bring_another_f_at_once(tmp_path: Path, shared: FaultyServer, clock: Clock) -> None:
    old = add(shared, "d/f", b"old")
    add(shared, "d/f", b"new")
    async with machine(tmp_path, shared) as host:
        await host.walk()
        fh = host.fs.namespace.opendir(host.stat("d").ino)
        host.unlink("d/f")
        await host.settled()
        await _poll(host, times=3)
        assert host.ls("d") == [f"f [{old}]"]
        host.fs.namespace.releasedir(fh)
        assert host.ls("d") == [f"f [{old}]"]
        await _poll(host, times=1)
        assert host.ls("d") == ["f"]
        assert await host.read("d/f") == b"old"


async def test_n3_rm_r_ends_while_polls_go_on(tmp_path: Path, shared: FaultyServer, clock: Clock) -> None:
    for name in ("a", "b"):
        for number in range(5):
            add(shared, f"d/{name}", bytes([number]))
    async with machine(tmp_path, shared) as host:
        await host.walk()
        spaces, folder = host.fs.namespace, host.stat("d").ino
        fh = spaces.opendir(folder)
        removed = 0
        for entry in list(spaces.readdir(fh, 2)):
            spaces.unlink(folder, entry.name.encode())
            removed += 1
            await host.parts.listings.poll()
        assert (removed, list(spaces.readdir(fh, 2))) == (10, [])
        spaces.releasedir(fh)
        spaces.rmdir(ROOT_INO, b"d")
        await host.settled()
        await _poll(host)
        assert (host.ls(), host.remote_names()) == ([], [])


NAMES = ("f", "g.txt", "d/f")


@dataclass(frozen=True)
class Step:
    """What one of the writers does. `who`: 0 and 1 are machines, 2 a script with the API alone."""

    who: int
    verb: str
    name: str
    other: str = "f"


STEPS = st.lists(
    st.builds(
        Step, st.integers(0, 2),
        st.sampled_from(["write", "write", "append", "begin", "end", "unlink", "rename", "poll", "promote_to_content"]),
        st.sampled_from(NAMES), st.sampled_from(NAMES),
    ),
    min_size=4, max_size=14,
)  # fmt: skip


@dataclass
class Writers:
    """Two machines and a script, and which contents nobody has given up knowingly."""

    hosts: list[Host]
    server: FaultyServer
    written: int = 0
    alive: set[bytes] = field(default_factory=set)
    # What a machine has written and not closed yet.
    begun: dict[int, OpenFile] = field(default_factory=dict)

    async def carry_out(self, step: Step) -> None:
        if step.who == 2:
            self._script(step)
            return
        host = self.hosts[step.who]
        if step.verb == "poll":
            await host.parts.listings.poll()
        elif step.verb == "promote_to_content":
            await self.end(step.who)
            await host.settled()
        elif step.verb == "end":
            await self.end(step.who)
        elif step.verb in {"write", "begin"}:
            await self.end(step.who)
            await self._given_up(host, step.name)
            _folder(host, step.name)
            self.begun[step.who] = handle = await host.open(step.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            await host.fs.files.write(handle.fh, 0, self._content())
            if step.verb == "write":
                await self.end(step.who)
        elif _has(host, step.name) and step.verb == "append":
            await self._append(host, step.name)
        elif _has(host, step.name) and step.verb == "unlink":
            await self._given_up(host, step.name)
            host.unlink(step.name)
        elif _has(host, step.name) and step.verb == "rename" and step.name != step.other:
            await self._given_up(host, step.other)
            _folder(host, step.other)
            host.rename(step.name, step.other)

    async def end(self, who: int) -> None:
        """Close what a machine has begun."""
        if handle := self.begun.pop(who, None):
            await self.hosts[who].close(handle)

    async def _append(self, host: Host, path: str) -> None:
        with suppress(StaleError):  # it is gone at the service, and its bytes are not here
            before = await host.read(path)
            await self._given_up(host, path)
            handle = await host.open(path, os.O_WRONLY)
            await host.fs.files.write(handle.fh, len(before), b"+")
            self.alive.add(before + b"+")
            await host.close(handle)

    def _script(self, step: Step) -> None:
        store = self.server.store
        remote = names.remote_name(step.name)
        mine = [record for record in self.hosts[0].stored() if record.filename == remote]
        if step.verb == "write":
            store.add(remote, self._content(), downloadable=True)
        elif step.verb == "unlink" and mine:
            self.alive -= set(self.hosts[0].remote_bytes(remote)[:1])
            store.delete(mine[0].id)

    async def _given_up(self, host: Host, path: str) -> None:
        """A person who replaces or removes a file gives up what they see there."""
        if _has(host, path):
            inode = host.stat(path)
            there = inode.file_id is None or inode.file_id in host.remote_ids() or inode.staged_gen is not None
            self.alive.discard(await host.read(path) if there else b"")

    def _content(self) -> bytes:
        self.written += 1
        content = b"content %d" % self.written
        self.alive.add(content)
        return content


def _play(steps: list[Step]) -> None:
    trio.run(_story, steps, clock=trio.testing.MockClock(autojump_threshold=CALM_S))


@given(STEPS)
@settings(max_examples=5, deadline=None)
def test_w8_whatever_they_do_nothing_is_lost_and_all_see_the_same(steps: list[Step]) -> None:
    _play(steps)


@pytest.mark.long
@pytest.mark.timeout(1200)
@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_w8_whatever_they_do_for_long(steps: list[Step]) -> None:
    _play(steps)


async def _story(steps: list[Step]) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(faulty_server(folder / "server"))
        add(server, "anchor", b"anchor")
        hosts = [await stack.enter_async_context(machine(folder, server, state=f"m{n}")) for n in range(2)]
        writers = Writers(hosts, server)
        for host in hosts:
            await host.walk()
        for step in steps:
            await writers.carry_out(step)
        for who in range(len(hosts)):
            await writers.end(who)
        for host in hosts:
            await host.settled()
        await _poll(*hosts)
        views = [await view(host) for host in hosts]
        stored = sorted(content for name in set(hosts[0].remote_names()) for content in hosts[0].remote_bytes(name))
        for seen in views:
            assert sorted(map(bytes, seen.values())) == stored
        assert writers.alive <= set(stored)
        if not any(step.verb == "rename" for step in steps):
            assert views[0] == views[1]


def _has(host: Host, path: str) -> bool:
    inode = host.parts.tree.resolve(path)
    return inode is not None and inode.is_file


def _folder(host: Host, path: str) -> None:
    folder = path.rpartition("/")[0]
    if folder and host.parts.tree.resolve(folder) is None:
        host.mkdir(folder)
