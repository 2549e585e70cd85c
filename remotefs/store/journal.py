"""The journal: pending work at the service, as rows that commit together with the change that needs it.

A row is an *intent*. An inode has at most one UPLOAD or REUPLOAD intent, a remote file at most one DELETE intent.
`replaces` of an upload lists the ids that may be deleted once it is confirmed. An intent that takes the place of
another inherits its list; the caller deals with the list of an intent that it cancels.

An intent may be carried out or cancelled while its reader awaits something. A change to a row that no longer exists
raises IntentGone. Only `remove` and `end_attempt` do not, because a missing row is already in the state they set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from remotefs.errors import IntentGone
from remotefs.store.database import Database
from remotefs.store.records import NEVER_NS, Attempt, Intent, IntentKind

_COLUMNS = (
    "seq, kind, ino, file_id, replaces, due_ns, tries, reason, refused, "
    "attempt_name, attempt_size, attempt_ns, attempt_newest_ns, attempt_gen"
)
SELECT = f"SELECT {_COLUMNS} FROM intent"  # noqa: S608 - only our own column names
_ATTEMPT = "attempt_name = ?, attempt_size = ?, attempt_ns = ?, attempt_newest_ns = ?, attempt_gen = ?"


class Journal:
    """Owns the table `intent`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- reading

    def find(self, seq: int) -> Intent | None:
        """Return the intent, or None once it is done."""
        return self._first("WHERE seq = ?", seq)

    def of_inode(self, ino: int) -> Intent | None:
        """Return the pending UPLOAD or REUPLOAD of an inode, or None."""
        return self._first("WHERE ino = ? AND kind != 'delete'", ino)

    def has_deletes(self) -> bool:
        """Return whether there is any DELETE."""
        # The partial index holds only DELETEs, so its first entry decides, however long the journal is.
        return self._db.one("SELECT 1 FROM intent INDEXED BY intent_file WHERE kind = 'delete' LIMIT 1") is not None

    def delete_of(self, file_id: str) -> Intent | None:
        """Return the pending DELETE of a remote file, or None."""
        return self._first("WHERE file_id = ? AND kind = 'delete'", file_id)

    def is_replaced(self, file_id: str) -> bool:
        """Return whether an id waits behind an upload that replaces it; looks at each that replaces something."""
        sql = "SELECT 1 FROM intent WHERE replaces != '[]' AND instr(replaces, ?) LIMIT 1"
        return self._db.one(sql, (json.dumps(file_id),)) is not None

    def former_path(self, seq: int) -> str | None:
        """Return the path that the file of a DELETE had, or None."""
        row = self._db.one("SELECT path FROM intent WHERE seq = ?", (seq,))
        return row[0] if row else None

    def deletes_at(self, path: str) -> list[Intent]:
        """Return the pending DELETEs of files that had this path."""
        return self._rows("WHERE path = ? ORDER BY seq", path)

    def due_uploads(self, now_ns: int, limit: int) -> list[Intent]:
        """Return at most `limit` UPLOADs that are due at `now_ns`, the longest due first, then REUPLOADs likewise."""
        uploads = self._due(IntentKind.UPLOAD, now_ns, limit)
        return uploads + self._due(IntentKind.REUPLOAD, now_ns, limit - len(uploads))

    def due_deletes(self, now_ns: int, limit: int) -> list[Intent]:
        """Return at most `limit` DELETEs that are due at `now_ns`, the longest due first."""
        return self._due(IntentKind.DELETE, now_ns, limit)

    def pending(self) -> list[Intent]:
        """Return all intents, the oldest first: for a start, when nobody else waits for the loop."""
        return self._rows("ORDER BY seq")

    def page(self, after: int, limit: int) -> list[Intent]:
        """Return at most `limit` intents with numbers above `after`, the oldest first."""
        return self._rows("WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)

    def waiting(self, after: tuple[int, int], limit: int) -> list[Intent]:
        """Return at most `limit` intents whose (due time, number) comes after `after`, the soonest due first.

        Those that wait for an event are not among them.
        """
        return self._rows(
            "WHERE (due_ns, seq) > (?, ?) AND due_ns < ? ORDER BY due_ns, seq LIMIT ?", *after, NEVER_NS, limit
        )

    def oldest(self, kind: IntentKind | None = None) -> Intent | None:
        """Return the oldest intent, of one kind or of all."""
        if kind is None:
            return self._first("ORDER BY seq LIMIT 1")
        return self._first("WHERE seq = (SELECT min(seq) FROM intent WHERE kind = ?)", kind)

    def newest(self) -> int:
        """Return the number of the newest intent; 0 where there is none. Later ones have higher numbers."""
        row = self._db.one("SELECT max(seq) FROM intent")
        return int(row[0] or 0) if row else 0

    def with_reason(self, limit: int) -> list[Intent]:
        """Return at most `limit` intents that have failed, the oldest first."""
        return self._rows("WHERE reason IS NOT NULL ORDER BY seq LIMIT ?", limit)

    def refused(self) -> list[Intent]:
        """Return the uploads that the service refused, the oldest first."""
        return self._rows("WHERE reason IS NOT NULL AND refused IS NOT NULL ORDER BY seq")

    def attempts(self) -> list[Intent]:
        """Return the uploads that were begun and whose end is not recorded, the oldest first."""
        return self._rows("WHERE attempt_name IS NOT NULL ORDER BY seq")

    def next_due_ns(self, after_ns: int) -> int | None:
        """Return the earliest due time after `after_ns`, in ns of the steady clock, or None."""
        row = self._db.one("SELECT min(due_ns) FROM intent WHERE due_ns > ?", (after_ns,))
        return row[0] if row else None

    def count(self) -> int:
        """Return the number of intents."""
        row = self._db.one("SELECT count(*) FROM intent")
        assert row is not None
        return int(row[0])

    def counts(self) -> dict[IntentKind, int]:
        """Return the number of intents of each kind that there is."""
        rows = {kind: self._db.one("SELECT count(*) FROM intent WHERE kind = ?", (kind,)) for kind in IntentKind}
        return {kind: row[0] for kind, row in rows.items() if row and row[0]}

    def upload_bytes(self, at_most: int, uploads: int) -> int:
        """Return the bytes of the `uploads` files to upload: of more than `at_most`, the mean size of those counts."""
        row = self._db.one(
            "SELECT count(*), coalesce(sum(size), 0) FROM (SELECT inode.size FROM intent JOIN inode USING (ino) "
            "WHERE kind != 'delete' LIMIT ?)",
            (at_most,),
        )
        assert row is not None
        added, size = int(row[0]), int(row[1])
        return size if added < at_most else size * uploads // max(added, 1)

    def replacing_count(self) -> int:
        """Return the number of uploads after which ids are deleted that they replace."""
        row = self._db.one("SELECT count(*) FROM intent WHERE replaces != '[]'")
        assert row is not None
        return int(row[0])

    def is_longer_than(self, intents: int) -> bool:
        """Return whether more than `intents` intents are pending."""
        # Cheaper than a count, which visits every row.
        return self._db.one("SELECT 1 FROM intent LIMIT 1 OFFSET ?", (intents,)) is not None

    # -- writing

    def put(self, kind: IntentKind, ino: int, *, due_ns: int, replaces: Iterable[str] = ()) -> Intent:
        """Add the UPLOAD or REUPLOAD of an inode, or change the one that it has, and return it.

        `replaces` is added to the list that it has. A begun attempt stays too: its outcome still has to be found out
        (W6).
        """
        with self._db.transaction():
            old = self.of_inode(ino)
            ids = _merged(old.replaces if old else (), replaces)
            if old is None:
                self._db.execute(
                    "INSERT INTO intent (kind, ino, due_ns, replaces) VALUES (?, ?, ?, ?)",
                    (kind, ino, due_ns, json.dumps(ids)),
                )
            else:
                self._db.execute(
                    "UPDATE intent SET kind = ?, due_ns = ?, replaces = ?, tries = 0, reason = NULL, refused = NULL "
                    "WHERE seq = ?",
                    (kind, due_ns, json.dumps(ids), old.seq),
                )
            intent = self.of_inode(ino)
            assert intent is not None
            return intent

    def put_delete(self, file_id: str, *, due_ns: int, held_by: int | None = None, path: str | None = None) -> None:
        """Add the DELETE of a remote file that had `path`, unless there is one.

        `held_by` is the inode whose write handles hold it back (S5).
        """
        with self._db.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO intent (kind, ino, file_id, due_ns, path) VALUES ('delete', ?, ?, ?, ?)",
                (held_by, file_id, due_ns, path),
            )

    def resume_deletes(self, ino: int, *, due_ns: int) -> None:
        """Make due, at `due_ns`, the DELETEs that the write handles of an inode held back (S5)."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE intent SET due_ns = ? WHERE kind = 'delete' AND ino = ? AND due_ns = ?", (due_ns, ino, NEVER_NS)
            )

    def add_replaces(self, seq: int, file_ids: Iterable[str]) -> None:
        """Add ids that may be deleted once this intent is confirmed. Raises IntentGone, so that none is forgotten."""
        with self._db.transaction():
            intent = self.find(seq)
            ids = _merged(intent.replaces if intent else (), file_ids)
            self._change(seq, "replaces = ?", json.dumps(ids))

    def begin_attempt(self, seq: int, attempt: Attempt) -> None:
        """Record a POST that is about to be sent. The caller awaits `Database.durable()` before it sends.

        Raises IntentGone. Then the POST must not be sent, because nobody would look for its outcome (W6).
        """
        self._change(seq, _ATTEMPT, *attempt)

    def end_attempt(self, seq: int) -> None:
        """Record that the outcome of the attempt is known. Does nothing if the intent is gone."""
        with self._db.transaction():
            self._db.execute(f"UPDATE intent SET {_ATTEMPT} WHERE seq = ?", (*(None,) * len(Attempt._fields), seq))  # noqa: S608 - our own column names

    def set_back(self, now_ns: int) -> None:
        """Make what is due later than now due now, unless it waits for an event: the steady clock has gone back."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE intent SET due_ns = ? WHERE due_ns > ? AND due_ns <> ?", (now_ns, now_ns, NEVER_NS)
            )

    def reschedule(self, seq: int, *, due_ns: int) -> None:
        """Set another due time (ns), for a reason that is not a failure. Raises IntentGone."""
        self._change(seq, "due_ns = ?", due_ns)

    def failed(self, seq: int, reason: str, *, due_ns: int, refused: int | None = None) -> None:
        """Count a failed try and set the time (ns) of the next. `status` shows `reason`. Raises IntentGone.

        `refused` is the HTTP status of a refusal, which stays until other content is closed or `forget_refusal`.
        """
        self._change(
            seq, "reason = ?, due_ns = ?, tries = tries + 1, refused = coalesce(?, refused)", reason, due_ns, refused
        )

    def forget_refusal(self, ino: int) -> None:
        """Forget that the service refused what an inode holds."""
        with self._db.transaction():
            self._db.execute("UPDATE intent SET refused = NULL WHERE ino = ? AND kind != 'delete'", (ino,))

    def remove(self, seq: int) -> None:
        """Remove an intent that is done or no longer wanted. The caller has dealt with its `replaces`."""
        with self._db.transaction():
            self._db.execute("DELETE FROM intent WHERE seq = ?", (seq,))

    # -- rows

    def _change(self, seq: int, assignments: str, *values: object) -> None:
        with self._db.transaction():
            changed = self._db.execute(f"UPDATE intent SET {assignments} WHERE seq = ?", (*values, seq))  # noqa: S608 - our own column names
            if changed.rowcount != 1:
                raise IntentGone(f"intent {seq} was carried out or cancelled meanwhile")

    def _due(self, kind: IntentKind, now_ns: int, limit: int) -> list[Intent]:
        # One kind a query: then the index has the rows in this order, and none is sorted.
        return self._rows("WHERE kind = ? AND due_ns <= ? ORDER BY due_ns, seq LIMIT ?", kind, now_ns, max(limit, 0))

    def _first(self, where: str, *parameters: object) -> Intent | None:
        row = self._db.one(f"{SELECT} {where}", parameters)
        return intent_of(row) if row else None

    def _rows(self, where: str, *parameters: object) -> list[Intent]:
        return [intent_of(row) for row in self._db.all(f"{SELECT} {where}", parameters)]


def intent_of(row: tuple[Any, ...]) -> Intent:
    """Return a row of SELECT as a record."""
    seq, kind, ino, file_id, replaces, due_ns, tries, reason, refused, *attempt = row
    return Intent(
        seq, IntentKind(kind), ino, file_id,
        () if replaces == "[]" else tuple(json.loads(replaces)), due_ns, tries, reason,
        Attempt(*attempt) if attempt[0] is not None else None, refused,
    )  # fmt: skip


def _merged(first: Iterable[str], second: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))
