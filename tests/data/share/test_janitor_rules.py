"""The rules of the janitor against a model: what it would delete is certainly gone (X6)."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from remotefs.clocks import DAY_NS
from remotefs.data.share.complete_listings import CompleteListings, LastTwo
from remotefs.data.share.janitor_rules import (
    YOUNG_NS,
    Standing,
    doubt,
    is_old,
    most_at_once,
    next_due_ns,
    ripe,
)
from remotefs.store.database import Database
from remotefs.store.meta import Facts
from remotefs.store.orphans import Orphans
from remotefs.store.records import Origin, Remote
from remotefs.store.remotes import Remotes

KEEP_NS = 7 * DAY_NS
NAMED = Facts(organization="org", workspace="ws")
_HOUR_NS = DAY_NS // 24


@dataclass
class Seen:
    """What the listings of a file were, by the counted time; `noted_ns` is when its object was first found alone."""

    noted_ns: int | None = None
    listed_since: bool = False
    complete_without_ns: list[int] = field(default_factory=list)


class World:
    """The service, the store, and one machine with its rows; every step is one of `random`."""

    def __init__(self, seed: int, database: Database) -> None:
        self.random = random.Random(seed)
        self.database = database
        self.remotes = Remotes(database, now=lambda: 0)
        self.orphans = Orphans(database)
        self.orphans.watch()
        self.listings = CompleteListings(database, self.orphans)
        self.workspace = self.random.choice((None, "ws"))
        self.aged_ns = 1
        self.service: set[str] = set()
        # By id, when its object was put.
        self.objects: dict[str, int] = {}
        self.seen: dict[str, Seen] = {}
        self.knew: set[str] = set()
        self.complete_since_doubt = 0
        self.deleted = 0

    async def act(self) -> None:
        """Let something happen."""
        acts = (self.upload, self.delete, self.list_all, self.list_oddly, self.fail, self.wait, self.run)
        [act] = self.random.choices(acts, (2, 2, 4, 1, 1, 4, 6))
        await act()

    async def upload(self) -> None:
        file_id = f"file_{len(self.seen)}"
        self.service.add(file_id)
        self.objects[file_id] = self.aged_ns
        self.seen[file_id] = Seen()

    async def delete(self) -> None:
        if self.service:
            self.service.remove(self.random.choice(sorted(self.service)))

    async def wait(self) -> None:
        self.aged_ns += self.random.choice((_HOUR_NS, DAY_NS, 8 * DAY_NS, 40 * DAY_NS))

    async def list_all(self) -> None:
        await self._list(set(self.service), self.random.random() < 0.2)

    async def list_oddly(self) -> None:
        """A complete listing that lacks some files; perhaps all of them two times in a row."""
        lacking = {file_id for file_id in sorted(self.service) if self.random.random() < 0.3}
        for _ in range(self.random.choice((1, 2, 3))):
            await self._list(self.service - lacking, False)

    async def fail(self) -> None:
        """A listing that ends after some pages."""
        await self._page({file_id for file_id in sorted(self.service) if self.random.random() < 0.5})
        self.listings.doubt()
        self.complete_since_doubt = 0

    async def run(self) -> None:
        """What a run notes, and what it would delete."""
        last_two = self.listings.last_two()
        if last_two is None:
            return
        number = self.orphans.next_run()
        unknown = set(self.objects) - self.orphans.known(self.objects)
        old = [file_id for file_id in sorted(unknown) if is_old(self.objects[file_id], self.aged_ns)]
        self.orphans.keep(unknown, number)
        self.orphans.note([(file_id, 1) for file_id in old], self.aged_ns, number)
        for file_id in old:
            if self.seen[file_id].noted_ns is None:
                self.seen[file_id] = Seen(noted_ns=self.aged_ns)
        while self.orphans.forget_unfound(number, 3):
            pass
        facts = Facts(organization="org", workspace=self.workspace)
        for file_id in self.orphans.ripe(ripe(facts, last_two, KEEP_NS, number), 100):
            self._may_go(file_id)
            # The model has no last look at the service, which would keep a file that odd listings lacked.
            del self.objects[file_id]
            self.orphans.forget([file_id])
            self.deleted += 1

    def _may_go(self, file_id: str) -> None:
        seen = self.seen[file_id]
        assert seen.noted_ns is not None
        assert not seen.listed_since
        assert self.aged_ns - seen.noted_ns >= KEEP_NS
        assert self.aged_ns - self.objects[file_id] >= YOUNG_NS + KEEP_NS
        assert min(len(seen.complete_without_ns), self.complete_since_doubt) >= 2
        assert seen.complete_without_ns[-1] - seen.noted_ns >= KEEP_NS
        assert self.workspace is not None or file_id in self.knew

    async def _list(self, listed: set[str], hides_one: bool) -> None:
        began_ns = self.aged_ns
        self.aged_ns += self.random.choice((0, _HOUR_NS))
        # An entry that cannot be shown counts as listed all the same, and gets no row.
        hidden = {self.random.choice(sorted(listed))} if listed and hides_one else set()
        await self._page(listed, hidden)
        for file_id, _, _ in self.remotes.page(after="", limit=1000):
            if file_id not in listed:
                self.remotes.miss([file_id], 0)
        for remote in self.remotes.missed(2):
            self.remotes.forget(remote.file_id)
        for file_id, seen in self.seen.items():
            if file_id not in listed:
                seen.complete_without_ns.append(began_ns)
        self.listings.note(began_ns)
        self.complete_since_doubt += 1

    async def _page(self, listed: set[str], hidden: set[str] = frozenset()) -> None:  # type: ignore[assignment] - not changed
        for file_id in listed:
            self.seen[file_id] = Seen(noted_ns=None, listed_since=self.seen[file_id].noted_ns is not None)
            if file_id in hidden:
                continue
            self.knew.add(file_id)
            if self.remotes.find(file_id) is None:
                self.remotes.add(Remote(file_id, file_id, 1, "text/plain", 1, None, False, Origin.FOREIGN))
            else:
                self.remotes.renew(file_id, expires_ns=None, downloadable=False)
        await self.listings.listed(sorted(listed))


async def trials(folder: Path, seeds: range) -> int:
    """Live some trials; the number of objects that went."""
    deleted = 0
    with closing(Database(folder / "state.db")) as database:
        for seed in seeds:
            world = World(seed, database)
            for _ in range(world.random.randint(20, 60)):
                await world.act()
            deleted += world.deleted
            with database.transaction():
                database.execute("DELETE FROM remote")
                database.execute("DELETE FROM shared_orphan")
    return deleted


async def test_what_any_listing_since_the_note_had_is_never_deleted(tmp_path: Path) -> None:
    assert await trials(tmp_path, range(100)) > 30


@pytest.mark.long
async def test_the_same_in_many_trials(tmp_path: Path) -> None:
    assert await trials(tmp_path, range(20_000)) > 6_000


@pytest.mark.parametrize("facts", [
    Facts(), Facts(workspace="ws"), Facts(base_url="http://x"), Facts(organization="o", owner_lost=True),
    Facts(organization="o", removals_held=1), Facts(organization="o", expiries_held=1),
    Facts(organization="o", all_missing=True),
])  # fmt: skip
def test_facts_that_leave_a_doubt(facts: Facts) -> None:
    assert doubt(Standing(facts, True, True, LastTwo(2, 1))) is not None


def test_what_leaves_no_doubt_and_what_does() -> None:
    listings = LastTwo(2, 1)
    assert doubt(Standing(NAMED, True, True, listings)) is None
    assert doubt(Standing(Facts(organization="o"), True, True, listings)) is None
    assert doubt(Standing(Facts(organization="o", workspace="w", all_missing=True), True, True, listings)) is None
    assert doubt(Standing(NAMED, False, True, listings)) is not None
    assert doubt(Standing(NAMED, True, False, listings)) is not None
    assert doubt(Standing(NAMED, True, True, None)) is not None


def test_the_guard_lets_20_or_a_tenth_go() -> None:
    assert [most_at_once(objects, 20, 0.1) for objects in (0, 21, 200, 209, 210, 5000)] == [20, 20, 20, 20, 21, 500]


def test_an_object_from_the_future_is_not_old() -> None:
    assert is_old(0, YOUNG_NS)
    assert not is_old(1, YOUNG_NS)
    assert not is_old(10 * YOUNG_NS, YOUNG_NS)


def test_the_next_run_is_a_day_later_more_or_less() -> None:
    assert [next_due_ns(DAY_NS, chance) for chance in (0.0, 0.5, 1.0)] == [1.5 * DAY_NS, 2 * DAY_NS, 2.5 * DAY_NS]


# -- the rows


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state.db")


def remote(file_id: str) -> Remote:
    return Remote(file_id, file_id, 1, "text/plain", 1, None, False, Origin.OURS)


def test_a_file_that_goes_away_during_a_run_outlives_its_end(database: Database) -> None:
    orphans, remotes = Orphans(database), Remotes(database)
    orphans.watch()
    for file_id in ("early", "late"):
        remotes.add(remote(file_id))
    remotes.forget("early")
    run = orphans.next_run()
    remotes.forget("late")
    assert orphans.forget_unfound(run, 10) == 1
    assert orphans.listed(["early", "late"]) == 1
    database.close()


def test_a_row_that_is_written_again_is_no_file_that_went_away(database: Database) -> None:
    orphans, remotes = Orphans(database), Remotes(database)
    orphans.watch()
    for _ in range(2):
        remotes.add(remote("f"))
    assert not orphans.is_any()
    database.close()


def test_sizes_that_cannot_be_are_counted_all_the_same(database: Database) -> None:
    orphans = Orphans(database)
    orphans.note([(f"f{number}", 1 << 70) for number in range(9000)] + [("small", -5)], 1, 1)
    assert orphans.noted() == (9001, 9000 << 50)
    database.close()
