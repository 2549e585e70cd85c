"""Facts about the state folder as a whole: its account, the shape its server speaks, the time of its last listing."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from remotefs.clocks import Mark, Reading, ServiceMark
from remotefs.errors import StateUnusable
from remotefs.store.database import RESCUE_ADVICE, Database
from remotefs.store.disk import write_durably

_log = logging.getLogger(__name__)
# Beside the database: whose the folder is, so that a damaged database does not open it to another account (S1).
ACCOUNT_NAME = "account.json"


class Snapshots(msgspec.Struct, frozen=True, kw_only=True):
    """The snapshots in the log of this machine (data/share/compaction), by their numbers; times as `Facts.aged_ns`."""

    # The newest one, and when it was put.
    newest: int | None = None
    newest_ns: int = 0
    # The one that the log will begin with, and when that one was put.
    next_base: int | None = None
    next_base_ns: int = 0
    # The one that the log begins with; None: it begins with the segment 0. It is the first that is removed when another
    # takes its place, so as long as it is there no segment after it was removed.
    base: int | None = None
    # When what lies before `base` is to be removed; None: nothing is left.
    removal_ns: int | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that are kept over remounts; times in ns since the epoch."""

    # The account of the folder: as the replies name it, or the base URL if they name none (S1).
    organization: str | None = None
    workspace: str | None = None
    base_url: str | None = None
    # Whether the account was known once and its record is lost: then nobody's answer is taken for its owner's (S1).
    owner_lost: bool = False
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
    # The log has told of all files that expire up to this time, by the service's clock.
    expiry_told_ns: int = 0
    # The points from which the two clocks continue in the next mount.
    steady: Mark | None = None
    service_clock: ServiceMark | None = None
    # The time that has passed for the trash (S2), and the moment up to which it was counted.
    aged_ns: int = 0
    aged_to: Reading | None = None
    # The shared store that the folder belongs to: the id in its marker (X5).
    shared_store: str | None = None
    # The log of this machine in it: its writer id, the number of its next segment, the latest stamp that it gave or
    # heard, and the checksum of a segment that may be in the store already.
    shared_writer: str | None = None
    shared_sequence: int = 0
    shared_hlc: int = 0
    shared_attempt: int | None = None
    # The name of the account in a store that is read without the service; None: the one that follows from the account.
    shared_account: str | None = None
    shared_snapshots: Snapshots = Snapshots()
    # A mount without the store may have changed the tree since.
    shared_gap: bool = False
    # When the objects of files that are gone are looked for next, in counted time (`aged_ns`); 0: not decided yet.
    janitor_due_ns: int = 0
    # The number of objects that would go at once, and wait for `accept-removals` (X6).
    objects_held: int = 0
    # A complete listing lacked every known file: perhaps it was one of another workspace. Until `accept-removals`.
    all_missing: bool = False
    # The number of parallel replies that was found to pay for one reader of a large file.
    concurrency: int = 1


class _Account(msgspec.Struct, frozen=True):
    """The content of ACCOUNT_NAME: the facts of the same names."""

    organization: str | None = None
    workspace: str | None = None
    base_url: str | None = None


class Meta:
    """Owns the table `meta`, and the file ACCOUNT_NAME beside the database. Raises StateUnusable if it is damaged."""

    def __init__(self, database: Database) -> None:
        self._db = database
        row = database.one("SELECT value FROM meta WHERE key = 'facts'")
        facts = facts_of(row[0]) if row else _remembered(database.path)
        if facts is None and row:
            raise StateUnusable(f"{database.path}: the facts of the state folder are damaged; {RESCUE_ADVICE}")
        self.facts = facts or Facts()

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

    def note_account(self) -> None:
        """Write the account beside the database, unless it stands there. If it cannot be written, the log says so."""
        account = _Account(self.facts.organization, self.facts.workspace, self.facts.base_url)
        if _read(self._db.path) == account:
            return
        try:
            write_durably(self._db.path.with_name(ACCOUNT_NAME), msgspec.json.encode(account), "owners")
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._db.path.with_name(ACCOUNT_NAME), error)


def facts_of(value: object) -> Facts | None:
    """Return the facts that a row holds, or None if it is damaged."""
    try:
        return msgspec.json.decode(value, type=Facts) if isinstance(value, bytes | str) else None
    except (msgspec.DecodeError, UnicodeError):
        return None


def facts_without_row(database: Path) -> Facts:
    """Return the facts to begin with where those of a database are lost: the account alone, if that is known."""
    return _remembered(database) or Facts(owner_lost=True)


def _remembered(database: Path) -> Facts | None:
    account = _read(database)
    return None if account is None else Facts(**msgspec.structs.asdict(account))


def _read(database: Path) -> _Account | None:
    try:
        account = msgspec.json.decode(database.with_name(ACCOUNT_NAME).read_bytes(), type=_Account)
    except (OSError, msgspec.DecodeError, UnicodeError):
        return None
    return None if account == _Account() else account
