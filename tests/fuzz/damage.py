"""Damaged state: a bit, a cut, a missing or an older file anywhere in the state folder, at any moment of a life.

    python -m tests.fuzz.damage                    lists the moments, and how many cases each has
    python -m tests.fuzz.damage 'CASE'             repeats a case, as a failing test prints it
    python -m tests.fuzz.damage MOMENT [FROM [STEP]]

A case is a moment, a file and what happens to it. Then a mount starts, as `remotefs mount` does; where it refuses, what
it advises is done: `export` and `check --repair`. All that was acknowledged, and whose bytes are whole somewhere in the
folder, has to be found again; damaged bytes are neither shown nor sent as good; nothing is deleted at the service that
nobody gave up; and `check` tells what is wrong.
"""

from __future__ import annotations

import atexit
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import pytest
import trio

from remotefs.check.findings import Kind
from remotefs.cli.exit_status import leaves_of
from remotefs.data.content.labels import ATTRIBUTE
from remotefs.errors import NotReadable, RemotefsError, StateUnusable
from remotefs.mount import offline
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.mount.commands.check import check
from remotefs.server.queries import ListQuery
from remotefs.server.records import FileRecord
from remotefs.store.copies import copies_of
from remotefs.store.database import Database
from remotefs.store.rescue import damage, is_missing, rebuild
from tests import parts
from tests.fuzz.calls import guarded_run
from tests.fuzz.calls_lives import as_configured
from tests.fuzz.damage_life import Keeper, Moment, live, virtual_time
from tests.fuzz.oracle import counted, watched
from tests.fuzz.service import serving
from tests.fuzz.world import World, run_world
from tests.parts import Host

_PAGE = 1024
# The places of a file at which a bit is turned or a page is made zeros, in parts of its length.
_FEW = (0.0, 0.5, 0.999)
_MANY = (*(number / 24 for number in range(24)), 0.999)
_CUTS = ("0", "1", "half", "-1")
_MOST_STEPS = 15_000
# Files of rows: what they say of the names of files may be lost with them.
_ROWS = ("state.db", "copies/")
# Files that no byte of a user depends on.
_NOTHING = ("reserve", "state.db-shm", "lock")
_WHOLE_FOLDERS = ("staging", "content", "trash", "copies", "state")


@dataclass(frozen=True)
class Case:
    """At a moment, what happens to a file or a folder of the state folder."""

    moment: str
    role: str
    damage: str

    def __str__(self) -> str:
        return f"{self.moment}|{self.role}|{self.damage}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """Return the case that `str` wrote."""
        return cls(*text.split("|"))


def _flip(path: Path, part: float) -> None:
    with path.open("r+b") as file:
        offset = int(part * path.stat().st_size)
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ (1 << offset % 8)]))


def _zero(path: Path, part: float) -> None:
    with path.open("r+b") as file:
        size = path.stat().st_size
        offset = int(part * size) // _PAGE * _PAGE
        file.seek(offset)
        file.write(bytes(min(_PAGE, size - offset)))


def _cut(path: Path, where: str) -> None:
    size = path.stat().st_size
    os.truncate(path, {"0": 0, "1": 1, "half": size // 2, "-1": size - 1}[where])


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\xff" * 100)


# What is done to a file, by the first word of a damage; its second word says where.
_WAYS: dict[str, Callable[[Path, str], None]] = {
    "flip": lambda path, where: _flip(path, float(where)),
    "zero": lambda path, where: _zero(path, float(where)),
    "cut": _cut,
    "grow": lambda path, _: _grow(path),
    "remove": lambda path, _: path.unlink(),
    "unlabelled": lambda path, _: os.removexattr(path, ATTRIBUTE),
}


def do(moment: Moment, state: Path, case: Case, moments: dict[str, Moment]) -> None:
    """Damage a copy of a state folder. Times of files stay as they were: a disk that rots does not tell."""
    kind, _, where = case.damage.partition(":")
    if case.role in _WHOLE_FOLDERS:
        path = state if case.role == "state" else state / case.role
        shutil.rmtree(path)
        if kind == "older":
            earlier = moments[where].state
            shutil.copytree(earlier if case.role == "state" else earlier / case.role, path)
        return
    path = state / moment.roles[case.role]
    if kind == "older":
        shutil.copy2(moments[where].state / moments[where].roles[case.role], path)
        return
    status = path.stat()
    _WAYS[kind](path, where)
    if path.exists():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cases_of(moment: Moment, earlier: list[Moment]) -> Iterator[Case]:
    """Yield all cases of a moment."""
    for role, inside in moment.roles.items():
        path = moment.state / inside
        if role in _NOTHING:
            yield from (Case(moment.name, role, what) for what in ("remove", "cut:0", "flip:0.5"))
            continue
        is_rows = role.startswith(_ROWS)
        ways = [f"flip:{part:.3f}" for part in (_MANY if is_rows else _FEW)]
        ways += [f"zero:{part:.3f}" for part in (_MANY if is_rows else (0.0, 0.5))]
        ways += [f"cut:{where}" for where in _CUTS] + ["grow", "remove"]
        ways += ["unlabelled"] * (ATTRIBUTE in os.listxattr(path))
        for before in earlier:
            other = before.roles.get(role)
            if other is not None and (before.state / other).read_bytes() != path.read_bytes():
                ways.append(f"older:{before.name}")
        yield from (Case(moment.name, role, way) for way in ways)
    for folder in _WHOLE_FOLDERS:
        if folder != "state" and (moment.state / folder).is_dir():
            yield Case(moment.name, folder, "remove")
        for before in earlier:
            if folder == "state" or ((before.state / folder).is_dir() and (moment.state / folder).is_dir()):
                yield Case(moment.name, folder, f"older:{before.name}")


@cache
def moments() -> dict[str, Moment]:
    """Return the moments of a life, lived once in this process."""
    folder = Path(tempfile.mkdtemp(prefix="remotefs-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    keeper = Keeper(folder)
    with watched():
        run_world(partial(_lived, keeper))
    return {moment.name: moment for moment in keeper.moments}


async def _lived(keeper: Keeper, world: World) -> None:
    with virtual_time(world), pytest.MonkeyPatch.context() as patch:
        # The same ids each time, so that the same rows lie in the same pages.
        patch.setattr(secrets, "choice", random.Random(1).choice)
        await live(world, keeper)


def all_cases(name: str) -> list[Case]:
    """Return all cases of a moment by its name."""
    names = list(moments())
    earlier = [moments()[before] for before in names[: names.index(name)]]
    return list(cases_of(moments()[name], earlier))


# -- a case


@dataclass
class _Found:
    """What can be had of a damaged state folder, and where: contents by path, and those that lie beside."""

    shown: dict[str, bytes | Exception] = field(default_factory=dict)
    beside: set[bytes] = field(default_factory=set)

    def everything(self) -> set[bytes]:
        """Return all contents."""
        return {one for one in self.shown.values() if isinstance(one, bytes)} | self.beside


class _Opened(Database):
    """A database as a mount opens it: what an earlier mount left without an end is looked at first."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if self.was_left_open and (found := damage(path, quick=True)):
            self.close()
            raise StateUnusable(f"{path} is damaged: {found[0]}")


def run(case: Case) -> list[str]:
    """Return what is wrong after the damage of a case; nothing when all is well."""
    moments()
    outcome = guarded_run(lambda: run_world(_Run(case).live), seed=2)
    return outcome if isinstance(outcome, list) else [outcome]


class _Run:
    """One case."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._moment = moments()[case.moment]
        self._complaints: list[str] = []
        self._found = _Found()
        # Contents that lie in the damaged folder as they are, and with those that can be downloaded.
        self._here: set[bytes] = set()
        self._whole: set[bytes] = set()

    async def live(self, world: World) -> list[str]:
        """Damage, start, rescue where that is advised, and judge."""
        place, moment = world.folder / "case", self._moment
        shutil.copytree(moment.state, place / "state")
        shutil.copytree(moment.server, place / "server")
        do(moment, place / "state", self._case, moments())
        world.clock.now_s = moment.now_s + 60.0
        with watched() as log, pytest.MonkeyPatch.context() as patch:
            log.addFilter(lambda record: not record.name.startswith("remotefs.server"))
            patch.setattr(parts, "Database", _Opened)
            now_s: Callable[[], float] = lambda: inner.true_s  # noqa: E731 - the world is made with it
            async with serving(place / "server", now_s, uploads_downloadable=False) as server:
                inner = World(place, world.clock, server)
                before = {record.id for record in _stored(inner)}
                self._here = _bytes_in(place / "state")
                self._whole = self._here | {_blob(inner, one.id) for one in _stored(inner) if one.downloadable}
                with virtual_time(inner):
                    await self._survive(inner)
                self._judge_service(inner, before)
            self._complaints += [f"broken: {text}" for text in log.unforeseen()]
        return list(dict.fromkeys(self._complaints))

    async def _survive(self, world: World) -> None:
        state = world.folder / "state"
        if is_missing(state / "state.db") and (copies := copies_of(state / "state.db")):
            await trio.to_thread.run_sync(rebuild, state / "state.db", copies)
        try:
            async with self._mounted(world) as host:
                trouble = await self._judge(host)
            if trouble is None:
                return
            # Damage that only shows in use: then the errors have to say what to do.
            if "check --repair" not in trouble:
                self._complaints.append(f"the mount fails in use, and does not say what to do: {trouble}")
        except _Refused as refusal:
            trouble = str(refusal)
        await self._rescue(world, trouble)
        try:
            async with self._mounted(world) as host:
                if (trouble := await self._judge(host)) is not None:
                    self._complaints.append(f"after a repair it does not go on: {trouble}")
        except _Refused as refusal:
            self._complaints.append(f"after a repair it still does not start: {refusal}")

    async def _rescue(self, world: World, refusal: str) -> None:
        """Do what the refusal advises."""
        state, target = world.folder / "state", world.folder / "export"
        config = parts.settings(state, world.server.url).config
        try:
            export = partial(offline.export, state, config, "", target, force=True, report=lambda _: None)
            await trio.to_thread.run_sync(export)
            looking = partial(offline.check, state, config, repair=False, read=True, report=lambda _: None)
            if not (await trio.to_thread.run_sync(looking)).count:
                self._complaints.append(f"check finds nothing, and the mount refuses: {refusal}")
            mending = partial(offline.check, state, config, repair=True, read=True, report=lambda _: None)
            await trio.to_thread.run_sync(mending)
        except (RemotefsError, OSError) as error:
            self._complaints.append(f"rescue fails: {error!r}; the mount refuses: {refusal}")
        exported = {path.read_bytes() for path in target.rglob("*") if path.is_file()} if target.is_dir() else set()
        missing = ({*self._moment.promised.values()} - {b""}) & self._here - exported
        self._complaints += [f"not exported, and whole: {self._name(one)}" for one in missing]

    @asynccontextmanager
    async def _mounted(self, world: World) -> AsyncIterator[Host]:
        has_begun = False
        try:
            async with world.mounted(change=as_configured, tasks=False) as host:
                has_begun = True
                yield host
        except Exception as error:
            leaves = list(leaves_of(error))
            if has_begun or not all(isinstance(leaf, RemotefsError | OSError) for leaf in leaves):
                self._complaints.append(f"the mount {'died' if has_begun else 'does not start'}: {leaves!r}")
            if not has_begun:
                raise _Refused("; ".join(map(str, leaves))) from error

    # -- judging

    async def _judge(self, host: Host) -> str | None:
        """Judge a mount; return why the database cannot be used, if that is so."""
        with counted(_MOST_STEPS) as steps:
            try:
                await self._settle(host)
                await self._look(host)
                await self._judge_check(host)
                if self._expected() & self._whole - self._found.everything():
                    await self._repair(host)
                self._judge_contents()
            except StateUnusable as error:
                return str(error)
            except (RemotefsError, OSError, AssertionError) as error:
                self._complaints.append(f"the mount does not go on: {error!r}")
        if steps.count > _MOST_STEPS:
            self._complaints.append(f"spins: {steps.busiest()}")
        return None

    async def _settle(self, host: Host) -> None:
        """Give the mount the time to bring in order what it can: what is damaged stays pending."""
        for _ in range(2):
            for _ in range(80):
                if not host.pending():
                    break
                host.make_due()
                await trio.sleep(1.0)
            await host.parts.promoter.finish()
            await host.walk()
            await trio.sleep(40.0)

    async def _repair(self, host: Host) -> None:
        """`remotefs check --repair` on the mount, and what is there then."""
        await check(host.parts, Scope(working=True, service=True), repair=True, report=lambda _: None)
        await self._settle(host)
        await self._look(host)

    async def _look(self, host: Host) -> None:
        for path in _paths(host):
            try:
                self._found.shown[path] = await host.read(path)
            except (RemotefsError, OSError) as error:
                self._found.shown[path] = error
        bytes_of = host.parts.trash.bytes_of
        self._found.beside |= {bytes_of(entry.number).read_bytes() for entry in host.parts.trash.entries()}

    def _judge_contents(self) -> None:
        moment, found = self._moment, self._found.everything()
        for data in self._expected() & self._whole - found:
            self._complaints.append(f"lost: {self._name(data)}, which is whole")
        for path, one in self._found.shown.items():
            if not isinstance(one, bytes):
                continue
            if one not in moment.versions and not self._is_untellable():
                self._complaints.append(f"shown though damaged: {path}: {one[:16]!r} of {len(one)} bytes")
            expected = moment.promised.get(path)
            if expected and one != expected and not self._may_differ():
                self._complaints.append(f"other bytes: {path} shows {len(one)} bytes, not {len(expected)}")
        if self._is_about_rows() or self._case.role in _WHOLE_FOLDERS:
            return
        for path, data in moment.promised.items():
            if self._case.role.endswith(".pinned") and data in found:
                continue  # nothing vouches for these bytes any more: they may lie in the trash
            if data in self._whole and self._found.shown.get(path) != data:
                self._complaints.append(f"not at its place: {path} shows {self._found.shown.get(path)!r:.200}")

    async def _judge_check(self, host: Host) -> None:
        findings = await check_state(host.parts, Scope(working=True, service=True))
        damaged = [one for one in findings if one.kind is Kind.DATABASE]
        if damaged:
            raise StateUnusable(f"{damaged[0].what}; {damaged[0].advice}")
        about = {finding.path for finding in findings}
        for path, one in self._found.shown.items():
            expected = self._moment.promised.get(path)
            is_wrong = (isinstance(one, Exception) and not isinstance(one, NotReadable)) or (
                expected is not None and one != expected and not self._may_differ()
            )
            if is_wrong and path not in about:
                self._complaints.append(f"check says nothing of {path}, which shows {one!r:.120}")
        broken = {path for path, one in self._found.shown.items() if isinstance(one, Exception) and path != "theirs"}
        if not broken:
            self._complaints += [f"check: {one.kind}: {one.path}: {one.what}" for one in findings]

    def _judge_service(self, world: World, before: set[str]) -> None:
        moment = self._moment
        stored = {record.id: _blob(world, record.id) for record in _stored(world)}
        contents = set(stored.values())
        for file_id in before - stored.keys() - moment.unlinked:
            path = moment.replaced.get(file_id)
            if path is None or (moment.promised.get(path) not in contents and not self._is_untellable()):
                self._complaints.append(f"destroyed: {file_id} is deleted, which {path or 'nobody'} replaces")
        for file_id, data in stored.items():
            if file_id not in before and data not in moment.versions and not self._is_untellable():
                self._complaints.append(f"sent though damaged: {len(data)} bytes {data[:16]!r}")

    # -- what may be

    def _expected(self) -> set[bytes]:
        return ({*self._moment.promised.values()} | self._moment.kept) - {b""}

    def _is_about_rows(self) -> bool:
        return self._case.role.startswith("state.db")

    def _may_differ(self) -> bool:
        """Return whether an older state may show an older version of a file."""
        # A power cut may take a staged file that is still open, and nothing in it was acknowledged.
        is_gone = self._case.damage == "remove" and (self._case.moment, self._case.role) in _OPEN
        return is_gone or self._is_about_rows() or self._case.role in _WHOLE_FOLDERS or self._is_untellable()

    def _is_untellable(self) -> bool:
        """Return whether nothing can tell that the bytes are damaged: they were written, and never summed.

        A file that is open, or was closed a moment ago, has no sums yet; of an open one the length may be older.
        """
        place = (self._case.moment, self._case.role)
        if not self._case.role.startswith("staging/") or place in _SUMMED:
            return False
        is_shorter = self._case.damage.startswith("cut") or self._case.damage == "remove"
        return not is_shorter or place in _OPEN

    def _name(self, data: bytes) -> str:
        paths = [path for path, one in self._moment.promised.items() if one == data]
        return f"{', '.join(paths) or 'what is in the trash'} ({len(data)} bytes)"


# Staged files that went up, and so have a sum; and the one that is open when the mount is killed.
_SUMMED = {("sent", "staging/11-1"), ("copied", "staging/14-1"), ("copied", "staging/7-3")}
_OPEN = {("written", "staging/12-1"), ("sent", "staging/12-1")}


class _Refused(Exception):
    """The mount did not start, and says why."""


def _stored(world: World) -> list[FileRecord]:
    return list(world.server.store.list(ListQuery(limit=1000)).records)


def _blob(world: World, file_id: str) -> bytes:
    return (world.folder / "server" / "files" / file_id).read_bytes()


def _bytes_in(state: Path) -> set[bytes]:
    found = {path.read_bytes() for path in (state / "staging").glob("*") if path.is_file()}
    found |= {path.read_bytes() for path in (state / "content").glob("*/*") if "." not in path.name}
    return found | {path.read_bytes() for path in (state / "trash").glob("*") if path.name.isdigit()}


def _paths(host: Host, folder: str = "") -> list[str]:
    found = []
    for name in host.ls(folder):
        path = f"{folder}/{name}" if folder else name
        found += _paths(host, path) if host.stat(path).is_dir else [path]
    return found


def main(words: list[str]) -> int:
    """Obey the command line."""
    match words:
        case []:
            for name in moments():
                print(f"{name}: {len(all_cases(name))} cases")
            return 0
        case [text] if "|" in text:
            found = run(Case.parse(text))
            print(*found, sep="\n")
            return int(bool(found))
        case [name, *numbers]:
            first, step = ([int(number) for number in numbers] + [0, 1])[:2] if numbers else (0, 1)
            return _run_all(all_cases(name)[first :: max(step, 1)])
    return 2


def _run_all(cases: list[Case]) -> int:
    began, wrong = time.monotonic(), 0
    for case in cases:
        if found := run(case):
            wrong += 1
            print(f"{case}\n    " + "\n    ".join(one[:1500] for one in found), flush=True)
    print(f"{wrong} of {len(cases)} cases; {time.monotonic() - began:.0f} s", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
