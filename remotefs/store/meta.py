"""A few facts about the state folder as a whole: whose it is, which shape its server speaks, when it was listed."""

from __future__ import annotations

import msgspec

from remotefs.clocks import Mark, Reading, ServiceMark
from remotefs.store.database import Database


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered; times in ns since the epoch."""

    # S1: the account as the replies told it; the base URL where they did not.
    organization: str | None = None
    workspace: str | None = None
    base_url: str | None = None
    # The shape that the server was found to need.
    shape: str | None = None
    # The steady clock, of the first complete listing: a mount may start offline from then on (A2).
    listed_ns: int = 0
    # The steady clock.
    walked_ns: int = 0
    # The service's clock, when the last listing began that was read to where it had to be (a few minutes old at most).
    polled_at_ns: int = 0
    # How many ids a walk found missing that wait for `accept-removals` (S1).
    removals_held: int = 0
    # How many files would have expired in a way that was not foreseen, and wait for the same (S1).
    expiries_held: int = 0
    # By which the clocks go on in the next mount.
    steady: Mark | None = None
    service_clock: ServiceMark | None = None
    # How much time has passed for the trash (S2), and up to when it was counted.
    aged_ns: int = 0
    aged_to: Reading | None = None
    # How many replies at a time were found to pay for one reader of a large file.
    concurrency: int = 1


class Meta:
    """Owns the table `meta`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        row = database.one("SELECT value FROM meta WHERE key = 'facts'")
        self.facts = msgspec.json.decode(row[0], type=Facts) if row else Facts()

    def record(self, **changes: object) -> None:
        """Change and save some of the facts."""
        before = self.facts
        after = msgspec.structs.replace(before, **changes)
        with self._db.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES ('facts', ?)", (msgspec.json.encode(after),)
            )
            self._db.on_rollback(lambda: setattr(self, "facts", before))
            self.facts = after
