"""Facts about the state folder as a whole: its account, the shape its server speaks, the time of its last listing."""

from __future__ import annotations

import msgspec

from remotefs.clocks import Mark, Reading, ServiceMark
from remotefs.store.database import Database


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that are kept over remounts; times in ns since the epoch."""

    # The account of the folder: as the replies name it, or the base URL if they name none (S1).
    organization: str | None = None
    workspace: str | None = None
    base_url: str | None = None
    # The shape of the API that the server turned out to need; None: not known.
    shape: str | None = None
    # The steady clock at the first complete listing: from then on a mount may start offline (A2).
    listed_ns: int = 0
    # The steady clock at the end of the last walk.
    walked_ns: int = 0
    # The service's clock at the beginning of the last listing that was read as far as it had to be. It is saved every
    # few minutes, so it may be that much older than the last poll.
    polled_at_ns: int = 0
    # The number of ids that a walk found missing and that wait for `accept-removals` (S1).
    removals_held: int = 0
    # The number of files whose expiry was not foreseen and that wait for the same command (S1).
    expiries_held: int = 0
    # The points from which the two clocks continue in the next mount.
    steady: Mark | None = None
    service_clock: ServiceMark | None = None
    # The time that has passed for the trash (S2), and the moment up to which it was counted.
    aged_ns: int = 0
    aged_to: Reading | None = None
    # The number of parallel replies that was found to pay for one reader of a large file.
    concurrency: int = 1
    # By inode the HTTP status with which the service refused what it holds; the reason is in its intent.
    refused: dict[int, int] = {}


class Meta:
    """Owns the table `meta`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        row = database.one("SELECT value FROM meta WHERE key = 'facts'")
        self.facts = msgspec.json.decode(row[0], type=Facts) if row else Facts()

    def record(self, **changes: object) -> None:
        """Change some of the facts and save all of them."""
        before = self.facts
        after = msgspec.structs.replace(before, **changes)
        with self._db.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES ('facts', ?)", (msgspec.json.encode(after),)
            )
            self._db.on_rollback(lambda: setattr(self, "facts", before))
            self.facts = after
