"""Machines that share attributes, below the network and the disk: random trials, each decided by its seed.

Up to five machines of one account change attributes, folders and links, and upload, replace and remove files, while
others do the same at the service. Each writes a log into one store. They hear of the others' segments late, in any
order, some more than once, some only from a snapshot; their listings lag; the clocks of some are wrong. They compact
their logs and remove what snapshots stand for, and crash in the middle of it. Some are copied, and the copies go on
with the same log. In the end everybody reads everything, and `verdict` says what must hold then.
"""

from __future__ import annotations

import random
import stat
from collections.abc import Callable

from msgspec.structs import replace

from remotefs import names
from remotefs.data.share.log_choice import snapshots_to_read
from remotefs.data.share.records import EntryRecord, FileRecord, KeyedRecord, Record, check, entry_key, file_key
from remotefs.data.share.segments import Name, Segment, decode, encode
from remotefs.data.share.snapshots import with_base, with_snapshot
from remotefs.data.share.stamps import HybridClock, Stamp
from remotefs.store.meta import Snapshots
from tests.data.share import verdict
from tests.data.share.fold import SharedMap
from tests.data.share.wanted_tree import ListedFile, WantedTree, wanted_tree

_START_NS = 1_800_000_000_000_000_000
_SECOND = 1_000_000_000
_FOLDERS = ["d", "e", "d/s", "e/s"]
_NAMES = ["a", "b", "s"]
# Its remote name is shortened, so only a record knows the path (N2).
_LONG = "d/" + "long" * 60
_PATHS = [*_NAMES, "d", "e", *(f"{folder}/{name}" for folder in _FOLDERS for name in _NAMES), _LONG]
_REMOTE_NAMES = {path: names.remote_name(path) for path in _PATHS}


class World:
    """The service's listing, the store, and all that was ever written."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ns = _START_NS
        self.files: dict[str, ListedFile] = {}
        self.store: dict[tuple[str, Name], Segment] = {}
        # The keys and stamps that are or were in the store.
        self.published: set[tuple[str, Stamp]] = set()
        # For each key the stamps and records in the order of the real moments of writing.
        self.written: dict[str, list[tuple[Stamp, Record]]] = {}
        self.numbers = 0
        self.are_bytes = self.random.random() < 0.2
        self.clocks_are_right = self.random.random() < 0.6
        # Few machines with long logs, which get copies.
        self.is_about_logs = self.random.random() < 0.2
        most = 1 if self.is_about_logs else 5
        self.machines = [Machine(self, number) for number in range(self.random.randint(min(2, most), most))]

    def number(self) -> int:
        """A number that no other call gets."""
        self.numbers += 1
        return self.numbers

    def pass_time(self) -> None:
        """Let the time pass; where clocks may be wrong it may stand still, so that stamps meet."""
        if self.clocks_are_right or self.random.random() < 0.7:
            self.now_ns += self.random.randint(1, 3_000) * 1_000_000

    def list_file(self, path: str) -> str:
        """Have the service take a file; its id."""
        file_id = f"file_{self.number()}"
        self.files[file_id] = ListedFile(file_id, _REMOTE_NAMES[path], self.now_ns)
        return file_id

    def create(self, segment: Segment) -> bool:
        """Put a segment if there is none of its name; in some trials as bytes, which take half of the time."""
        if (segment.writer, segment.name) in self.store:
            return False
        self.published |= {(key, Stamp(hlc, segment.writer)) for key, hlc, _ in segment.records}
        if self.are_bytes:
            segment, reasons = decode(encode(segment), writer=segment.writer, name=segment.name)
            assert reasons == []
        self.store[segment.writer, segment.name] = segment
        return True

    def listed(self, writer: str, start: int = 0, *, lags: bool = False) -> list[tuple[Name, int]]:
        """The objects of a log with their bytes; a listing that lags lacks some of the last."""
        names = sorted((name for owner, name in self.store if owner == writer and name.sequence >= start), key=str)
        if lags and self.random.random() < 0.3:
            names = names[: self.random.randint(0, len(names))]
        return [(name, 100 * len(self.store[writer, name].records)) for name in names]

    def act(self) -> None:
        """Let something happen."""
        self.pass_time()
        machine = self.random.choice(self.machines)
        if self.random.random() < 0.1:
            self._others_act()
        self.random.choices(_ACTS, _LOG_WEIGHTS if self.is_about_logs else _WEIGHTS)[0](machine)

    def _others_act(self) -> None:
        if self.files and self.random.random() < 0.5:
            del self.files[self.random.choice(list(self.files))]
        else:
            self.list_file(self.random.choice(_PATHS))


class Machine:
    """One mount: its clock, its map, its log, and its view of the listing."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.random = world.random
        self.writer = f"{number:032x}"
        self.skew_ns = 0
        if not world.clocks_are_right:
            self.jump()
        self.clock = HybridClock(lambda: world.now_ns + self.skew_ns)
        self.map = SharedMap()
        self.pending: dict[str, None] = {}
        self.sequence = 0
        self.attempt: Segment | None = None
        self.snapshots = Snapshots()
        self.positions: dict[str, int] = {}
        self.listing: dict[str, ListedFile] = {}

    # -- changes by users

    def write(self, key: str, record: Record) -> None:
        """Change a key; the change holds here at once, whatever was heard before."""
        held = self.map.stamp(key)
        hlc = self.clock.next(above=held.hlc if held is not None else 0)
        check(key, hlc, record)
        assert self.map.merge(self.writer, [(key, hlc, record)]) == {key}
        self.pending[key] = None
        self.world.written.setdefault(key, []).append((Stamp(hlc, self.writer), record))

    def attributes(self, file_id: str) -> FileRecord:
        """The attributes of a file as this machine knows them, with a time of change that no other record has."""
        held = self.map.winner(file_key(file_id))
        base = held if isinstance(held, FileRecord) else FileRecord(0o644, 0, 0, 0, {}, 1, None)
        return replace(base, mtime_ns=self.world.number())

    def upload(self) -> None:
        path = self.random.choice(_PATHS)
        file_id = self.world.list_file(path)
        self.listing[file_id] = self.world.files[file_id]
        if path == _LONG or self.random.random() < 0.8:
            self.write(file_key(file_id), replace(self.attributes(file_id), paths=(path,) if path == _LONG else ()))

    def with_file(self, change: Callable[[str], None]) -> None:
        """Change a file that this machine knows of, which may be gone meanwhile."""
        if self.listing:
            change(self.random.choice(list(self.listing)))

    def replace_file(self, file_id: str) -> None:
        """Upload other content; the record of the new id carries the paths on."""
        old = self.listing.pop(file_id)
        self.world.files.pop(file_id, None)
        new = f"file_{self.world.number()}"
        self.world.files[new] = self.listing[new] = ListedFile(new, old.filename, self.world.now_ns)
        self.write(file_key(new), self.attributes(file_id))

    def remove_file(self, file_id: str) -> None:
        del self.listing[file_id]
        self.world.files.pop(file_id, None)

    def change_file(self, file_id: str) -> None:
        self.write(file_key(file_id), replace(self.attributes(file_id), mode=self.random.getrandbits(12)))

    def name_file(self, file_id: str) -> None:
        """Rename a file that keeps its id, or give it further names."""
        paths = tuple(self.random.sample(_PATHS, self.random.choice((1, 1, 2))))
        self.write(file_key(file_id), replace(self.attributes(file_id), paths=paths))

    def make_entry(self) -> None:
        number = self.world.number()
        if self.random.random() < 0.6:
            path, record = self.random.choice(_FOLDERS), EntryRecord("dir", 0o755, mtime_ns=number)
        elif self.random.random() < 0.7:
            path, record = self.random.choice(_PATHS), EntryRecord("symlink", 0o777, target=b"to %d" % number)
        else:
            path, record = self.random.choice(_PATHS), EntryRecord("node", stat.S_IFIFO | 0o600, mtime_ns=number)
        self.write(entry_key(path), record)

    def remove_entry(self) -> None:
        live = [
            key for key, record in self.winners().items() if isinstance(record, EntryRecord) and record.kind != "gone"
        ]
        if live:
            self.write(self.random.choice(live), EntryRecord("gone", mtime_ns=self.world.number()))

    def rename_folder(self) -> None:
        """Give a folder and all in it other paths: tombstones and records, in one segment."""
        source, target = self.random.sample(_FOLDERS, 2)
        if target.startswith(f"{source}/"):
            return
        self.flush()
        tree = self.tree()
        for path, record in tree.entries.items():
            if path == source or path.startswith(f"{source}/"):
                self.write(entry_key(path), EntryRecord("gone", mtime_ns=self.world.number()))
                self.write(entry_key(target + path[len(source) :]), record)
        for file_id, file in tree.files.items():
            moved = [target + path[len(source) :] if path.startswith(f"{source}/") else path for path in file.paths]
            if moved != list(file.paths):
                # Two names of one file can come to be one.
                paths = tuple(dict.fromkeys(moved))
                self.write(file_key(file_id), replace(self.attributes(file_id), paths=paths))
        self.flush()

    # -- the log

    def flush(self, *, loses_replies: bool = True) -> None:
        """Put the pending records that still hold as one segment, under another writer id where it has to be."""
        self._settle_attempt()
        while own := self._own():
            segment = Segment(writer=self.writer, name=Name(self.sequence), records=own)
            if self.sequence == 0 and self.world.listed(self.writer):
                self.renounce()
                continue
            self.attempt = segment
            is_there = self.world.create(segment)
            if loses_replies and self.random.random() < 0.1:
                return
            if not is_there or self._is_compacted():
                self.renounce()
                continue
            self.attempt, self.sequence, self.pending = None, self.sequence + 1, {}

    def _settle_attempt(self) -> None:
        """Go on after a crash: a segment is there, or not, or another one is in its place."""
        if self.attempt is None:
            return
        there = self.world.store.get((self.writer, Name(self.sequence)))
        if there is not None and (there != self.attempt or self._is_compacted()):
            self.renounce()
        elif there is not None:
            self.sequence += 1
        self.attempt = None

    def _own(self) -> tuple[KeyedRecord, ...]:
        return tuple(keyed for keyed in self.map.of_writer(self.writer) if keyed[0] in self.pending)

    def _is_compacted(self) -> bool:
        base = self.snapshots.base
        return (self.writer, Name(0) if base is None else Name(base, 0)) not in self.world.store

    def renounce(self) -> None:
        """Take another writer id; what was pending goes out under it."""
        own = self._own()
        self.world.now_ns += 1_000_000
        self.positions[self.writer] = 0
        self.writer, self.sequence, self.attempt = f"{100 + self.world.number():032x}", 0, None
        self.snapshots, self.pending = Snapshots(), {}
        for key, _, record in own:
            self.write(key, record)

    def look_at_own_log(self) -> bool:
        """Return whether no copy of this machine has written its log, else leave it."""
        if self.attempt is None and self.world.listed(self.writer, self.sequence):
            self.renounce()
            return False
        return self.attempt is None

    def compact(self) -> None:
        """Put a snapshot, in parts and perhaps not to the end; sometimes the log gets another base."""
        self.flush()
        if self.sequence and self.look_at_own_log():
            if self._put_snapshot(self.sequence - 1):
                self.snapshots = with_snapshot(self.snapshots, self.sequence - 1, 0)
            if self.snapshots.next_base is not None and self.random.random() < 0.5:
                assert self.snapshot(self.writer, self.snapshots.next_base) is not None
                self.snapshots = with_base(self.snapshots, 0)
            self.remove()

    def _put_snapshot(self, sequence: int) -> bool:
        records, cuts = self.map.of_writer(self.writer), self.random.choice((1, 1, 2, 3))
        parts = [records[number::cuts] for number in range(cuts)]
        for part in [*range(1, cuts), 0]:
            if self.random.random() < 0.1:
                return False
            name = Name(sequence, part)
            segment = Segment(
                writer=self.writer, name=name, records=parts[part], parts=cuts if part == 0 else 1
            )  # fmt: skip
            if not self.world.create(segment) and self.world.store[self.writer, name] != segment:
                return self.snapshot(self.writer, sequence) is not None
        return True

    def remove(self) -> None:
        """Remove what lies before the base, perhaps not to the end: first former bases, then anything."""
        if (base := self.snapshots.base) is None:
            return
        old = [name for name, _ in self.world.listed(self.writer, lags=True) if name.sequence < base]
        bases = [name for name in old if name == Name(0) or name.part == 0]
        rest = [name for name in old if name not in bases]
        self.random.shuffle(rest)
        for name in [*bases, *rest]:
            if self.random.random() < 0.1:
                return
            del self.world.store[self.writer, name]

    def copy(self) -> None:
        """Be copied with all that is on the disk."""
        if len(self.world.machines) >= 6:
            return
        other = Machine(self.world, 0)
        other.writer, other.sequence, other.snapshots = self.writer, self.sequence, self.snapshots
        other.attempt, other.skew_ns = self.attempt, self.skew_ns
        other.clock = HybridClock(lambda: self.world.now_ns + other.skew_ns, self.clock.last)
        other.map, other.positions = self.map.copy(), dict(self.positions)
        other.pending, other.listing = dict(self.pending), dict(self.listing)
        self.world.machines.append(other)

    # -- the logs of others

    def snapshot(self, writer: str, sequence: int) -> list[Segment] | None:
        """The parts of a snapshot; None if any is missing."""
        first = self.world.store.get((writer, Name(sequence, 0)))
        parts = [self.world.store.get((writer, Name(sequence, part))) for part in range(first.parts if first else 0)]
        return [part for part in parts if part is not None] if parts and None not in parts else None

    def catch_up(self, *, lags: bool = True) -> None:
        """Read the logs of all others from where they were read to."""
        for writer in {writer for writer, _ in self.world.store} - {self.writer}:
            if lags and self.random.random() < 0.4:
                continue
            self._look(writer, lags=lags)
            while (segment := self.world.store.get((writer, Name(self.positions.get(writer, 0))))) is not None:
                self.take(segment)
                self.positions[writer] = segment.name.sequence + 1

    def _look(self, writer: str, *, lags: bool) -> None:
        position = self.positions.get(writer, 0)
        for sequence in snapshots_to_read(position, self.world.listed(writer, position, lags=lags)):
            if (parts := self.snapshot(writer, sequence)) is not None:
                for part in parts:
                    self.take(part)
                self.positions[writer] = sequence + 1
                return

    def hear(self) -> None:
        """Read some of what others have put, in any order, some of it twice."""
        if others := [segment for segment in self.world.store.values() if segment.writer != self.writer]:
            for segment in self.random.choices(others, k=min(len(others), 6)):
                self.take(segment)

    def take(self, segment: Segment) -> None:
        for _, hlc, _ in segment.records:
            self.clock.heard(hlc)
        self.map.merge(segment.writer, segment.records)

    def hear_all(self) -> None:
        """Read everything in the store in an order of this machine's own."""
        everything = list(self.world.store.values())
        for segment in self.random.sample(everything, len(everything)):
            self.take(segment)

    def forget_dead(self) -> None:
        """Drop the records of files that are gone for good."""
        self.map.forget([
            key for key in sorted(self.map.keys())
            if key.startswith("f/") and key[2:] not in self.world.files and key not in self.pending
        ])  # fmt: skip

    def look(self) -> None:
        """List the files."""
        self.listing = dict(self.world.files)

    def jump(self) -> None:
        """Get a wrong idea of the service's time: seconds, or hours."""
        if not self.world.clocks_are_right:
            most = self.random.choice((0, 2, 50, 100_000)) * _SECOND
            self.skew_ns = self.random.randint(-most, most)

    # -- what is there

    def winners(self) -> dict[str, Record]:
        return {key: record for key in sorted(self.map.keys()) if (record := self.map.winner(key)) is not None}

    def tree(self) -> WantedTree:
        return wanted_tree(self.winners(), self.listing.values())


# Each with its weight in most trials, and in those about logs.
_CHOICES: list[tuple[Callable[[Machine], object], int, int]] = [
    (Machine.upload, 8, 1),
    (lambda machine: machine.with_file(machine.replace_file), 3, 0),
    (lambda machine: machine.with_file(machine.remove_file), 2, 0),
    (lambda machine: machine.with_file(machine.change_file), 8, 1),
    (lambda machine: machine.with_file(machine.name_file), 4, 0),
    (Machine.make_entry, 8, 12),
    (Machine.remove_entry, 4, 2),
    (Machine.rename_folder, 3, 0),
    (Machine.flush, 8, 12),
    (Machine.compact, 4, 8),
    (Machine.look_at_own_log, 1, 0),
    (Machine.copy, 1, 2),
    (Machine.forget_dead, 1, 0),
    (Machine.hear, 6, 0),
    (Machine.catch_up, 8, 2),
    (Machine.look, 6, 1),
    (Machine.jump, 1, 1),
]
_ACTS = [act for act, _, _ in _CHOICES]
_WEIGHTS = [weight for _, weight, _ in _CHOICES]
_LOG_WEIGHTS = [weight for _, _, weight in _CHOICES]


def trial(seed: int) -> None:
    """Live one trial. Raises AssertionError when anything of `verdict` does not hold."""
    world = World(seed)
    try:
        for _ in range(world.random.randint(10, 40)):
            world.act()
        _settle(world)
        _grow_old(world)
    except Exception as error:
        error.add_note(f"trial({seed})")
        raise


def _settle(world: World) -> None:
    """End all trouble; everybody, and a machine that is new, has the same map and tree."""
    for machine in world.machines:
        machine.flush(loses_replies=False)
    for machine in world.machines:
        machine.look_at_own_log()
        machine.flush(loses_replies=False)
    machines = [*world.machines, Machine(world, 99)]
    reads_in_order = world.random.random() < 0.7
    for machine in machines:
        machine.look()
        if reads_in_order:
            machine.catch_up(lags=False)
        else:
            machine.hear_all()
    verdict.all_agree(machines)
    verdict.latest_hold(machines[0].map, world)
    verdict.tree_is_right(machines[0].tree(), machines[0].winners(), world.files)


def _grow_old(world: World) -> None:
    """A month later: all have compacted since, tombstones go, and nothing that was removed comes back.

    Not where a log is left that nobody compacts any more. That is why tombstones are kept in fact.
    """
    if {writer for writer, _ in world.store} - {machine.writer for machine in world.machines}:
        return
    before = world.machines[0].tree()
    _compact_wholly(world)
    latest = max((stamp.hlc for stamps in world.written.values() for stamp, _ in stamps), default=0)
    for machine in world.machines:
        machine.map.forget_tombstones(latest + 1)
        machine.sequence += 1
    _compact_wholly(world)
    new = Machine(world, 9)
    new.look()
    for machine in [*world.machines, new]:
        machine.hear_all()
    verdict.all_agree([*world.machines, new])
    assert new.tree() == before


def _compact_wholly(world: World) -> None:
    """Leave one snapshot of each machine in the store, and nothing else."""
    for machine in world.machines:
        machine.flush(loses_replies=False)
        machine.look_at_own_log()
        machine.flush(loses_replies=False)
        if machine.sequence:
            segment = Segment(
                writer=machine.writer, name=Name(machine.sequence - 1, 0), records=machine.map.of_writer(machine.writer)
            )
            for name, _ in world.listed(machine.writer):
                del world.store[machine.writer, name]
            world.create(segment)
