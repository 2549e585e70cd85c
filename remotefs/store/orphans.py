"""The objects in the shared store whose files are gone, and since when they were found without one (X6).

A row begins in one of two ways, and both may come together:

    witnessed     the row of a file was removed: this machine knew the file, and learned that it is gone
    noted         the janitor found an object whose file it does not know

Triggers of this connection keep the first, and remove the row of a file that becomes known again in the transaction in
which it does: no code that changes known files has to think of it. They are temporary, as those of `shared_log`, so a
mount without the shared store notes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from remotefs.store.database import Database

# A store that says that an object is larger is not believed: the number has to fit into 64 bits.
_MOST_BYTES = 1 << 50
_THESE = "IN (SELECT value FROM json_each(?))"
_RIPE = "noted_ns <= ? AND found = ? AND witnessed >= ?"
# A row counts as found by a run that goes on: the run may have passed the place of its object.
_WITNESS = (
    "INSERT INTO shared_orphan (file_id, witnessed, found) "
    "VALUES ({}, 1, (SELECT coalesce(max(found), 0) + 1 FROM shared_orphan)) "
    "ON CONFLICT (file_id) DO UPDATE SET witnessed = 1"
)


class Ripe(NamedTuple):
    """The orphans that may go: noted up to `noted_until_ns`, found by the run `found`; perhaps only those witnessed."""

    noted_until_ns: int
    found: int
    only_witnessed: bool


class Orphans:
    """Owns the table `shared_orphan`; `watch` makes this connection keep the files that go away."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def watch(self) -> None:
        """Keep each file that goes away from here on, and forget each that becomes known again."""
        gone = f"AFTER DELETE ON main.remote BEGIN {_WITNESS.format('OLD.file_id')}; END"
        known = "AFTER INSERT ON main.remote BEGIN DELETE FROM shared_orphan WHERE file_id = NEW.file_id; END"
        with self._db.transaction():
            self._db.execute(f"CREATE TEMP TRIGGER IF NOT EXISTS shared_orphan_gone {gone}")
            self._db.execute(f"CREATE TEMP TRIGGER IF NOT EXISTS shared_orphan_known {known}")

    # -- reading

    def known(self, file_ids: Iterable[str]) -> set[str]:
        """Return those of some ids that anything here knows: a known file, a path, an upload to the store."""
        ids = json.dumps(list(file_ids))
        # WAITING is 0.
        sql = (
            f"SELECT file_id FROM remote WHERE file_id {_THESE} UNION SELECT file_id FROM inode WHERE file_id {_THESE} "  # noqa: S608 - constant words
            f"UNION SELECT file_id FROM share WHERE state = 0 AND file_id {_THESE}"
        )
        return {file_id for (file_id,) in self._db.all(sql, (ids, ids, ids))}

    def is_any(self) -> bool:
        """Return whether there is any row."""
        return self._db.one("SELECT 1 FROM shared_orphan LIMIT 1") is not None

    def noted(self) -> tuple[int, int]:
        """Return the number of objects that were found without a file, and their bytes."""
        row = self._db.one("SELECT count(*), total(bytes) FROM shared_orphan WHERE noted_ns IS NOT NULL")
        assert row is not None
        return int(row[0]), int(row[1])

    def ripe_count(self, ripe: Ripe) -> int:
        """Return how many objects may go."""
        row = self._db.one(f"SELECT count(*) FROM shared_orphan WHERE {_RIPE}", ripe)  # noqa: S608 - constant words
        assert row is not None
        return int(row[0])

    def ripe(self, ripe: Ripe, limit: int) -> list[str]:
        """Return the ids of at most `limit` objects that may go, those noted first before all others."""
        sql = f"SELECT file_id FROM shared_orphan WHERE {_RIPE} ORDER BY noted_ns LIMIT ?"  # noqa: S608 - constant words
        return [file_id for (file_id,) in self._db.all(sql, (*ripe, limit))]

    def next_run(self) -> int:
        """Return a number for a run of the janitor, above those of all earlier ones."""
        row = self._db.one("SELECT coalesce(max(found), 0) + 1 FROM shared_orphan")
        assert row is not None
        return int(row[0])

    # -- writing

    def note(self, objects: Iterable[tuple[str, int]], noted_ns: int, run: int) -> None:
        """Note objects (id, bytes) that a run found without a file; one that was noted before keeps its time."""
        with self._db.transaction():
            for file_id, size in objects:
                self._db.execute(
                    "INSERT INTO shared_orphan (file_id, bytes, noted_ns, found) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (file_id) DO UPDATE SET bytes = excluded.bytes, found = excluded.found, "
                    "noted_ns = coalesce(noted_ns, excluded.noted_ns)",
                    (file_id, min(max(size, 0), _MOST_BYTES), noted_ns, run),
                )

    def keep(self, file_ids: Iterable[str], run: int) -> None:
        """Note that a run found the objects of some ids, and keep their rows as they are otherwise."""
        with self._db.transaction():
            self._db.execute(f"UPDATE shared_orphan SET found = ? WHERE file_id {_THESE}", (run, _json(file_ids)))  # noqa: S608 - constant words

    def witness(self, file_ids: Iterable[str]) -> None:
        """Keep files that this machine knew and that are gone."""
        with self._db.transaction():
            for file_id in file_ids:
                self._db.execute(_WITNESS.format("?"), (file_id,))

    def listed(self, file_ids: Sequence[str]) -> int:
        """Forget files that the service has after all, at most some hundreds; return how many there were."""
        ids = _json(file_ids)
        # Nearly always there are none: then nothing is written.
        found = self._db.all(f"SELECT file_id FROM shared_orphan WHERE file_id {_THESE}", (ids,))  # noqa: S608 - as above
        if found:
            self.forget(file_id for (file_id,) in found)
        return len(found)

    def forget(self, file_ids: Iterable[str]) -> None:
        """Remove rows."""
        with self._db.transaction():
            self._db.execute(f"DELETE FROM shared_orphan WHERE file_id {_THESE}", (_json(file_ids),))  # noqa: S608 - as above

    def forget_unfound(self, run: int, limit: int) -> int:
        """Remove at most `limit` rows whose objects a run, which is over, has not found; return how many there were."""
        sql = "DELETE FROM shared_orphan WHERE file_id IN (SELECT file_id FROM shared_orphan WHERE found < ? LIMIT ?)"
        with self._db.transaction():
            return self._db.execute(sql, (run, limit)).rowcount


def _json(file_ids: Iterable[str]) -> str:
    return json.dumps(list(file_ids))
