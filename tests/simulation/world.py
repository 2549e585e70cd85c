"""The world of one life: machines, the service and the network between them, their users, and what happens to them.

    outcome = live(life_of(17))
    outcome.complaints, outcome.digest, outcome.told

The digest is that of everything that was told and of each step of each task: two runs of one life have the same.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs import names
from remotefs.data.share import releaser
from remotefs.errors import RemotefsError
from remotefs.objects.store import ObjectStore
from remotefs.server.queries import ListQuery
from remotefs.server.records import FileRecord
from remotefs.store import database
from tests.faults import Action, CutBody, Drop, HalfBody, LostReply, Reply, lagging_listing
from tests.fuzz.oracle import Log, watched
from tests.simulation import network as wires
from tests.simulation.calls import CutShort
from tests.simulation.disk import Ailing, Persistence, Platter, Points
from tests.simulation.ledger import Ledger
from tests.simulation.life import FIRST_FOLDERS, Life, User, content
from tests.simulation.machine import Fuse, Machine, config_of, whose
from tests.simulation.network import Late, Silence, networked
from tests.simulation.object_store import URL, Objects, View
from tests.simulation.odd_replies import NAMES as _ODD
from tests.simulation.odd_replies import odd_reply
from tests.simulation.scheduler import Chance, Stalled, run
from tests.simulation.shared_verdict import judge_shared
from tests.simulation.sharing import Sharer
from tests.simulation.user import Caller, Own
from tests.simulation.verdict import POLICY, judge_end, judge_start

_MEMORY = Path("/dev/shm")
# More steps than any life takes: a task that spins never lets time pass.
_MOST_STEPS = 150_000
_SHARED = frozenset({"put", "patch", "drop", "move", "get"})
# The log of the database is copied when it has that size; small, so that it happens in a life.
_CHECKPOINT_BYTES = 100_000


@dataclass
class Outcome:
    """What a life came to; `told` has a line for each thing that happened."""

    life: Life
    complaints: list[str] = field(default_factory=list)
    digest: str = ""
    told: list[str] = field(default_factory=list)
    steps: int = 0
    requests: int = 0
    lasted_s: float = 0.0

    def __str__(self) -> str:
        head = (
            f"seed {self.life.seed}: {self.digest}, {self.steps} steps, {self.requests} requests, {self.lasted_s:.0f} s"
        )
        return "\n".join([head, *(f"    {one}" for one in self.complaints)])


def live(life: Life) -> Outcome:
    """Live through a life, and judge it."""
    outcome = Outcome(life)
    folder = Path(tempfile.mkdtemp(prefix="remotefs-life-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        with Chance(life.seed) as chance:
            World(life, folder, chance, outcome).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


class World(trio.abc.Instrument):
    """Everything there is in one life."""

    def __init__(self, life: Life, folder: Path, chance: Chance, outcome: Outcome) -> None:
        self.life = life
        self.folder = folder
        self.chance = chance
        self.outcome = outcome
        self.machines: list[Machine] = []
        self.log = Log()
        self._sum = hashlib.blake2b(digest_size=8)
        self._locks: dict[int, Own] = {}
        self._whole = trio.CancelScope()
        self._busy: dict[str, int] = {}
        self._events_chance = chance.source("events")

    # -- telling

    def tell(self, what: str) -> None:
        """Add a line to what is told."""
        # The folder has another name in each run, and the digest has to be the same.
        line = f"{self.chance.clock.now_s:10.3f}  {what.replace(f'{self.folder}/', '')}"
        self.outcome.told.append(line)
        self._sum.update(line.encode())

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the step; the machine that it belongs to may crash before it."""
        self.outcome.steps += 1
        self._sum.update(task.name.encode())
        if self.outcome.steps > _MOST_STEPS:
            self._whole.cancel()
        task_name = task.name
        self._busy[task_name] = self._busy.get(task_name, 0) + 1
        machine = task.context.get(whose)
        if machine is not None:
            machine.step()

    def _reached(self, point: str) -> None:
        if (machine := whose.get()) is not None:
            machine.point(point)

    # -- running

    def run(self) -> None:
        """Live from the beginning to the judgement."""
        try:
            with ExitStack() as cleanup:
                patch = cleanup.enter_context(pytest.MonkeyPatch.context())
                patch.setattr(database, "CHECKPOINT_BYTES", _CHECKPOINT_BYTES)
                patch.setattr(database, "LOG_LIMIT_BYTES", 2 * _CHECKPOINT_BYTES)
                self.ailing = cleanup.enter_context(
                    Ailing(self.folder, lambda: [disk.root for disk in self.platter.disks])
                )
                # Outside of what fails, so that it sees which syncs did.
                self.platter = Platter(self.chance.clock.wall_ns, cleanup.enter_context(pytest.MonkeyPatch.context()))
                cleanup.enter_context(Points(self._reached))
                if self.life.store:
                    self._make_store(patch)
                self.log = cleanup.enter_context(watched())
                run(self._lived, self.chance)
        except Stalled:
            self.outcome.complaints.append("stuck: no task can go on, and none waits for a time")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            self.outcome.complaints.append("ended: " + "".join(traceback.format_exception(error))[-6000:])
        for machine in self.machines:
            self.outcome.complaints += machine.complaints
        self.outcome.lasted_s = self.chance.clock.now_s
        self.outcome.digest = self._sum.hexdigest()

    async def _lived(self) -> None:
        """Live; a task that spins, and so never lets time pass, is cut short and told."""
        with self._whole:
            await self._live()
        if self._whole.cancelled_caught:
            busiest = sorted(self._busy.items(), key=lambda pair: -pair[1])[:4]
            self.outcome.complaints.append(f"spins: {busiest}")

    async def _live(self) -> None:
        clock = self.chance.clock
        trio.lowlevel.add_instrument(self)
        options = {"uploads_downloadable": self.life.downloadable}
        async with networked(self.folder / "server", lambda: clock.true_s, self._seen, **options) as network, \
                trio.open_nursery() as nursery:  # fmt: skip
            self.network, self.nursery = network, nursery
            self.ledger = Ledger(network.service)
            with pytest.MonkeyPatch.context() as patch:
                self._follow_store(patch)
                await self._begin()
                async with trio.open_nursery() as doing:
                    for number, user in enumerate(self.life.users):
                        doing.start_soon(self._use, user, number)
                    doing.start_soon(self._happen)
                await self._end()
            nursery.cancel_scope.cancel()
        trio.lowlevel.remove_instrument(self)

    async def _begin(self) -> None:
        for number in range(self.life.machines):
            machine = Machine(
                number, self.folder, self.chance, self.network, self.platter.disks, self.nursery,
                config_of(number, self.life.durability, store=URL if self.life.store else ""), self.tell,
            )  # fmt: skip
            machine.copies_unseen = self.life.store
            self.machines.append(machine)
            await machine.start()
            assert machine.kernel is not None
            assert machine.parts is not None
            for name in ("shared", f"m{number}", *(f"m{number}/{folder}" for folder in FIRST_FOLDERS)):
                with suppress(OSError):
                    await machine.kernel.mkdir(name, 0o755)
            for folder in FIRST_FOLDERS:
                machine.model.mkdir(folder, 0o755)
            machine.history.named()
            machine.history.names_acknowledged(machine.history.moment)
            await machine.parts.database.durable()
            self._open_for_use(machine)
            self.nursery.start_soon(self._look_after, machine)

    def _open_for_use(self, machine: Machine) -> None:
        self._locks[machine.number] = Own()
        machine.up.set()

    async def _look_after(self, machine: Machine) -> None:
        """Start a machine again whenever it has gone down, and see what it has then."""
        while True:
            await machine.gone.wait()
            await trio.sleep(machine.down_s)
            await machine.start()
            machine.complaints += await judge_start(machine, self.tell)
            self._open_for_use(machine)

    # -- users

    async def _use(self, user: User, number: int) -> None:
        machine = self.machines[user.machine]
        for step in user.steps:
            if step[0] == "sleep":
                await trio.sleep(step[1])
                continue
            while not machine.up.is_set():
                await machine.up.wait()
            await self._call(machine, number, step)

    async def _call(self, machine: Machine, number: int, step: Any) -> None:
        with trio.CancelScope() as scope:
            machine.calls.append(scope)
            mark = whose.set(machine)
            try:
                if step[0] in _SHARED:
                    await Sharer(machine, self.ledger, f"u{number}", 1000 + number).make(step)
                else:
                    await Caller(machine, self._locks[machine.number], f"u{number}").make(step)
            except CutShort:
                pass
            finally:
                whose.reset(mark)
                machine.calls.remove(scope)
        if scope.cancelled_caught:
            self.tell(f"u{number} was cut short in {step[0]}")

    # -- events

    async def _happen(self) -> None:
        for at_s, what, *args in self.life.events:
            await trio.sleep_until(at_s)
            self.tell(f"event {what} {' '.join(map(str, args))}")
            await _EVENTS[what](self, *args)

    async def _crash(self, machine: int, kind: str, count: int, persistence: str, down_s: float) -> None:
        one = self.machines[machine]
        one.down_s = down_s
        if one.up.is_set():
            one.fuse = Fuse(kind, count, Persistence(persistence))

    async def _remount(self, machine: int, down_s: float) -> None:
        one = self.machines[machine]
        if one.up.is_set():
            one.down_s = down_s
            await self._take_down(one)

    async def _take_down(self, machine: Machine) -> None:
        """Unmount once no call is under way, all descriptors closed."""
        machine.go_down()
        while machine.calls:  # noqa: ASYNC110 - users end their calls
            await trio.sleep(0.01)
        if machine.fuse_is_blown or machine.kernel is None:
            return
        with suppress(OSError, Exception):
            await machine.kernel.close_all()
        machine.model.remount()
        machine.fuse = None
        machine.went_down = None
        await machine.unmount()

    async def _spoil(self, op: str, reply: str, nth: int, times: int) -> None:
        self._hurt("network")
        action = odd_reply(reply, self._known) if reply in _ODD else _reply(reply)
        self.network.service.script.add(action, op=op, nth=nth + 1, times=times)

    def _known(self) -> list[FileRecord]:
        """Return the files of the service that all machines know."""
        return [record for record in self.records() if all(_knows(machine, record.id) for machine in self.machines)]

    async def _away(self, machine: int, for_s: float) -> None:
        self._hurt("network")
        link = self.machines[machine].link
        if link is not None:
            link.cut()
            await trio.sleep(for_s)
            link.mend()

    async def _upload(self, name: str, size: int, stamp: int, downloadable: bool, expires_in_s: int) -> None:
        self.network.service.store.add(
            names.remote_name(name), content(size, stamp), downloadable=downloadable, expires_in_s=expires_in_s or None
        )

    async def _remove(self, which: int) -> None:
        theirs = [record.id for record in self.records() if self.ledger.made_by.get(record.id) is None]
        if theirs:
            file_id = theirs[which % len(theirs)]
            self.ledger.removed_elsewhere.add(file_id)
            self.network.service.store.delete(file_id)

    async def _disk(self, machine: int, after_calls: int, wish: str) -> None:
        self._hurt("disk")
        if wish.startswith("sync"):
            self._hurt("sync")
        self.ailing.fail(after_calls, wish)

    async def _wall(self, by_s: float) -> None:
        self.chance.clock.ahead_s += by_s

    async def _lag(self, lag_s: float, for_s: float) -> None:
        script = self.network.service.script
        rule = script.add(lagging_listing(lag_s, lambda: self.chance.clock.true_s), op="list", times=None)
        await trio.sleep(for_s)
        with suppress(ValueError):
            script.remove(rule)

    def _hurt(self, what: str) -> None:
        for machine in self.machines:
            machine.hurt.add(what)

    # -- the store that machines share

    def _make_store(self, patch: pytest.MonkeyPatch) -> None:
        self.objects = Objects(lambda: self.chance.clock.now_s, self.tell)
        patch.setattr(ObjectStore, "open", lambda _, link: ObjectStore(View(self.objects, _number()), link))
        # Work for threads is done in the loop, where nobody cancels it.
        patch.setattr(trio.from_thread, "check_cancelled", lambda: None)
        # The room on the real disk moves nothing; the event alone evicts.
        patch.setattr(releaser, "_AHEAD_BYTES", 0)

    async def _store(self, what: str, machine: int, much: float) -> None:
        self._hurt("network")
        one, objects = self.machines[machine % len(self.machines)], self.objects
        match what:
            case "lost" | "flipped":
                setattr(objects, what, int(much))
            case "evict":
                await self._evict(one, int(much))
            case "lag":
                objects.lag_s = much
            case "another":
                objects.is_another = True
                await trio.sleep(much)
                objects.is_another = False
            case _:
                numbers = {one.number} if what != "all away" else {each.number for each in self.machines}
                group = objects.readers if what == "reader" else objects.away
                group |= numbers
                await trio.sleep(much)
                group -= numbers

    async def _evict(self, machine: Machine, size: int) -> None:
        """Let uploads go that the store has, as a command does."""
        if machine.parts is None or not machine.up.is_set():
            return
        with trio.CancelScope() as scope:
            machine.calls.append(scope)
            mark = whose.set(machine)
            try:
                gone = await machine.parts.releaser.free(size)
                self.tell(f"machine {machine.number} has let {gone.files} uploads go")
            except (RemotefsError, OSError) as error:
                self.tell(f"machine {machine.number} lets nothing go: {error}")
            finally:
                whose.reset(mark)
                machine.calls.remove(scope)

    # -- the service

    def records(self) -> list[FileRecord]:
        """Return what the service has, the newest first."""
        return list(self.network.service.store.list(ListQuery(limit=1000)).records)

    def bytes_of(self, file_id: str) -> bytes:
        """Return what the service has of an id."""
        return (self.folder / "server" / "files" / file_id).read_bytes()

    def _follow_store(self, patch: pytest.MonkeyPatch) -> None:
        store = self.network.service.store
        commit = store.commit

        def committed(*args: Any, **options: Any) -> FileRecord:
            record = commit(*args, **options)
            self.ledger.uploaded(record.id, wires.asker.get(), self.bytes_of(record.id))
            self.tell(f"the service has {record.filename} as {record.id[:12]}, {record.size_bytes} bytes")
            if wires.asker.get() is not None and POLICY.never_uploaded(path := names.decode(record.filename) or ""):
                self.outcome.complaints.append(f"sent: {path}, which stays on its machine (N6)")
            return record

        patch.setattr(store, "commit", committed)

    def _seen(self, machine: int, method: str, path: str, status: int | None) -> None:
        if status is not None:
            self.tell(f"machine {machine} {method} {path[9:70]}: {status}")
            return
        self.outcome.requests += 1
        if method == "DELETE":
            self._judge_delete(machine, path.rpartition("/")[2])

    def _judge_delete(self, machine: int, file_id: str) -> None:
        """Complain of a request that must not be (S3, S5)."""
        complaints = self.outcome.complaints
        if not self.ledger.may_delete(machine, file_id):
            complaints.append(f"destroyed: machine {machine} deletes {file_id}, which nobody gave up (S3)")
        parts = self.machines[machine].parts
        if parts is None or not self.machines[machine].up.is_set():
            return
        for inode in parts.tree.holders(file_id):
            if inode.nlink > 0 or parts.handles.is_open(inode.ino):
                complaints.append(f"destroyed: machine {machine} deletes {file_id}, which inode {inode.ino} has (S5)")
        if parts.journal.is_replaced(file_id):
            complaints.append(f"destroyed: machine {machine} deletes {file_id} before what replaces it is up (W5)")

    # -- the end

    async def _end(self) -> None:
        """Let all trouble end, let everything arrive, and judge."""
        self.tell("the end of all trouble")
        self.network.service.script.clear()
        self.ailing.heal()
        if self.life.store:
            self.objects.end_trouble()
        for machine in self.machines:
            machine.fuse = None
            machine.down_s = 0.0
            while not machine.up.is_set():
                await machine.up.wait()
            if machine.link is not None:
                machine.link.mend()
        for machine in self.machines:
            # A sync that failed stays failed until the next mount.
            if "sync" in machine.hurt:
                await self._take_down(machine)
                while not machine.up.is_set():
                    await machine.up.wait()
            machine.hurt.clear()
            assert machine.kernel is not None
            await machine.kernel.close_all()
            machine.model.slots.clear()
        self.outcome.complaints += await judge_end(self)
        if self.life.store:
            self.outcome.complaints += await judge_shared(self)


def _number() -> int:
    """Return the number of the machine that runs now."""
    machine = whose.get()
    assert machine is not None
    return machine.number


def _knows(machine: Machine, file_id: str) -> bool:
    return machine.parts is not None and machine.parts.remotes.find(file_id) is not None


def _reply(name: str) -> Action:
    kinds: dict[str, Callable[[], Action]] = {
        "lost reply": LostReply, "dropped": lambda: Drop(100), "half body": HalfBody, "cut body": lambda: CutBody(50),
        "429": lambda: Reply(429, headers={"retry-after": "7"}), "500": lambda: Reply(500), "529": lambda: Reply(529),
        "503 with a pause": lambda: Reply(503, headers={"retry-after": "20"}), "late": lambda: Late(before_s=8.0),
        "late reply": lambda: Late(after_s=8.0), "silence": lambda: Silence(90.0),
    }  # fmt: skip
    return kinds[name]()


_EVENTS: dict[str, Callable[..., Any]] = {
    "crash": World._crash, "remount": World._remount, "spoil": World._spoil, "away": World._away,
    "upload": World._upload, "remove": World._remove, "disk": World._disk, "wall": World._wall, "lag": World._lag,
    "store": World._store,
}  # fmt: skip
__all__ = ["Outcome", "World", "live"]
