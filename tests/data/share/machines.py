"""Machines that share attributes, below the network and the disk: random trials, each decided by its seed.

Up to five machines of one account change attributes, folders and links, and upload, replace and remove files, while
others do the same at the service. Each writes a log into one store. They hear of the others' segments late, in any
order, some more than once, some only from a snapshot; their listings lag; the clocks of some are wrong. In the end
everybody reads everything, and `verdict` says what must hold then.
"""

from __future__ import annotations

import random
import stat
from collections.abc import Callable

from msgspec.structs import replace

from remotefs import names
from remotefs.data.share.records import EntryRecord, FileRecord, KeyedRecord, Record, check, entry_key, file_key
from remotefs.data.share.segments import Segment, decode, encode, parse_name, segment_name, snapshot_name
from remotefs.data.share.stamps import HybridClock, Stamp
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
        self.store: dict[tuple[str, str], Segment] = {}
        # For each key the stamps and records in the order of the real moments of writing.
        self.written: dict[str, list[tuple[Stamp, Record]]] = {}
        self.numbers = 0
        self.are_bytes = self.random.random() < 0.2
        self.clocks_are_right = self.random.random() < 0.6
        self.machines = [Machine(self, number) for number in range(self.random.randint(2, 5))]

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

    def put(self, writer: str, name: str, records: tuple[KeyedRecord, ...]) -> None:
        """Put a segment; in some trials as bytes, which take half of the time."""
        sequence, is_snapshot = parse_name(name)
        assert (writer, name) not in self.store
        segment = Segment(writer=writer, sequence=sequence, is_snapshot=is_snapshot, records=records)
        self.store[writer, name] = segment
        if self.are_bytes:
            self.store[writer, name], reasons = decode(encode(segment), writer=writer, sequence=sequence)
            assert reasons == []

    def act(self) -> None:
        """Let something happen."""
        self.pass_time()
        machine = self.random.choice(self.machines)
        if self.random.random() < 0.1:
            self._others_act()
        self.random.choices(_ACTS, _WEIGHTS)[0](machine)

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

    def flush(self) -> None:
        """Put the pending records that still hold as one segment."""
        own = {key: (key, hlc, record) for key, hlc, record in self.map.of_writer(self.writer) if key in self.pending}
        self.pending = {}
        if own:
            self.sequence += 1
            self.world.put(self.writer, segment_name(self.sequence), tuple(own.values()))

    def compact(self) -> None:
        """Put a snapshot, unless there is one, and remove some of what it stands for."""
        self.flush()
        name = snapshot_name(self.sequence)
        if (self.writer, name) not in self.world.store:
            self.world.put(self.writer, name, self.map.of_writer(self.writer))
        for other in [name for writer, name in self.world.store if writer == self.writer]:
            if other != name and self.random.random() < 0.7:
                del self.world.store[self.writer, other]

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


_CHOICES: list[tuple[Callable[[Machine], None], int]] = [
    (Machine.upload, 8),
    (lambda machine: machine.with_file(machine.replace_file), 3),
    (lambda machine: machine.with_file(machine.remove_file), 2),
    (lambda machine: machine.with_file(machine.change_file), 8),
    (lambda machine: machine.with_file(machine.name_file), 4),
    (Machine.make_entry, 8),
    (Machine.remove_entry, 4),
    (Machine.rename_folder, 3),
    (Machine.flush, 8),
    (Machine.compact, 3),
    (Machine.hear, 12),
    (Machine.look, 6),
    (Machine.jump, 1),
]
_ACTS = [act for act, _ in _CHOICES]
_WEIGHTS = [weight for _, weight in _CHOICES]


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
        machine.flush()
    machines = [*world.machines, Machine(world, 9)]
    for machine in machines:
        machine.look()
        machine.hear_all()
    verdict.all_agree(machines)
    verdict.latest_hold(machines[0].map, world)
    verdict.tree_is_right(machines[0].tree(), machines[0].winners(), world.files)


def _grow_old(world: World) -> None:
    """A month later: all have compacted since, tombstones go, and nothing that was removed comes back."""
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
        machine.compact()
    for writer, name in list(world.store):
        if name != max(other for owner, other in world.store if owner == writer):
            del world.store[writer, name]
