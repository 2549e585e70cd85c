"""The journal: remote work that is still to be done, as rows that commit together with the change that asks for it.

An inode has at most one UPLOAD or REUPLOAD row, a remote file at most one DELETE row. `replaces` names the ids that may
go once the row's upload is confirmed: superseded, the list is inherited; cancelled, it is given back to the caller.

A row may be carried out or cancelled whenever its reader awaits something. A change to a row that is gone raises
IntentGone; only what holds of a gone row anyway (`remove`, `end_attempt`) is no error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from remotefs.errors import IntentGone
from remotefs.store.database import Database
from remotefs.store.records import NEVER_NS, Attempt, Intent, IntentKind

_COLUMNS = (
    "seq, kind, ino, file_id, replaces, due_ns, tries, reason, "
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
        """The intent, or None once it is done."""
        return self._first("WHERE seq = ?", seq)

    def of_inode(self, ino: int) -> Intent | None:
        """The pending UPLOAD or REUPLOAD of an inode."""
        return self._first("WHERE ino = ? AND kind != 'delete'", ino)

    def has_deletes(self) -> bool:
        """Whether there is any DELETE."""
        return self._db.one("SELECT 1 FROM intent INDEXED BY intent_file WHERE kind = 'delete' LIMIT 1") is not None

    def delete_of(self, file_id: str) -> Intent | None:
        """The pending DELETE of a remote file."""
        return self._first("WHERE file_id = ? AND kind = 'delete'", file_id)

    def deletes_at(self, path: str) -> list[Intent]:
        """The pending DELETEs of what had that path."""
        return self._rows("WHERE path = ? ORDER BY seq", path)

    def due_uploads(self, now_ns: int, limit: int) -> list[Intent]:
        """UPLOADs whose time has come, the longest due first; then REUPLOADs."""
        return self._rows(
            "WHERE kind != 'delete' AND due_ns <= ? ORDER BY kind = 'reupload', due_ns, seq LIMIT ?", now_ns, limit
        )

    def due_deletes(self, now_ns: int, limit: int) -> list[Intent]:
        """DELETEs whose time has come, the longest due first."""
        return self._rows("WHERE kind = 'delete' AND due_ns <= ? ORDER BY due_ns, seq LIMIT ?", now_ns, limit)

    def pending(self) -> list[Intent]:
        """All intents, the oldest first."""
        return self._rows("ORDER BY seq")

    def attempts(self) -> list[Intent]:
        """Uploads that were begun and whose end is not recorded."""
        return self._rows("WHERE attempt_name IS NOT NULL ORDER BY seq")

    def next_due_ns(self, after_ns: int) -> int | None:
        """When the next intent that is not due yet will be (ns since the epoch)."""
        row = self._db.one("SELECT min(due_ns) FROM intent WHERE due_ns > ?", (after_ns,))
        return row[0] if row else None

    def count(self) -> int:
        """How many intents there are."""
        row = self._db.one("SELECT count(*) FROM intent")
        assert row is not None
        return int(row[0])

    def is_longer_than(self, intents: int) -> bool:
        """Whether more than so many intents are pending."""
        return self._db.one("SELECT 1 FROM intent LIMIT 1 OFFSET ?", (intents,)) is not None

    # -- writing

    def put(self, kind: IntentKind, ino: int, *, due_ns: int, replaces: Iterable[str] = ()) -> Intent:
        """The UPLOAD or REUPLOAD of an inode, in place of the one it had, whose `replaces` it inherits.

        A begun attempt is inherited too: what became of it still has to be found out (W6).
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
                    "UPDATE intent SET kind = ?, due_ns = ?, replaces = ?, tries = 0, reason = NULL WHERE seq = ?",
                    (kind, due_ns, json.dumps(ids), old.seq),
                )
            intent = self.of_inode(ino)
            assert intent is not None
            return intent

    def put_delete(self, file_id: str, *, due_ns: int, held_by: int | None = None, path: str | None = None) -> None:
        """The DELETE of a remote file that had the path; held back while `held_by` has write handles (S5).

        Once is enough.
        """
        with self._db.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO intent (kind, ino, file_id, due_ns, path) VALUES ('delete', ?, ?, ?, ?)",
                (held_by, file_id, due_ns, path),
            )

    def resume_deletes(self, ino: int, *, due_ns: int) -> None:
        """Make the DELETEs due that the write handles of an inode held back (S5)."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE intent SET due_ns = ? WHERE kind = 'delete' AND ino = ? AND due_ns = ?", (due_ns, ino, NEVER_NS)
            )

    def add_replaces(self, seq: int, file_ids: Iterable[str]) -> None:
        """More ids that may go once this intent is confirmed. Raises IntentGone: they would be forgotten."""
        with self._db.transaction():
            intent = self.find(seq)
            ids = _merged(intent.replaces if intent else (), file_ids)
            self._change(seq, "replaces = ?", json.dumps(ids))

    def begin_attempt(self, seq: int, attempt: Attempt) -> None:
        """Record a POST that is about to be sent; the caller awaits `Database.durable()` before it sends.

        Raises IntentGone: then it must not be sent, for nobody would look for it (W6).
        """
        self._change(seq, _ATTEMPT, *attempt)

    def end_attempt(self, seq: int) -> None:
        """What became of the attempt is known; harmless where the intent is gone."""
        with self._db.transaction():
            self._db.execute(f"UPDATE intent SET {_ATTEMPT} WHERE seq = ?", (*(None,) * len(Attempt._fields), seq))  # noqa: S608 - our own column names

    def reschedule(self, seq: int, *, due_ns: int) -> None:
        """Another due time, for a reason that is no failure. Raises IntentGone."""
        self._change(seq, "due_ns = ?", due_ns)

    def failed(self, seq: int, reason: str, *, due_ns: int) -> None:
        """Try again then; `reason` is what `status` shows. Raises IntentGone."""
        self._change(seq, "reason = ?, due_ns = ?, tries = tries + 1", reason, due_ns)

    def remove(self, seq: int) -> None:
        """It is done, or no longer wanted; the caller has taken care of its `replaces`."""
        with self._db.transaction():
            self._db.execute("DELETE FROM intent WHERE seq = ?", (seq,))

    # -- rows

    def _change(self, seq: int, assignments: str, *values: object) -> None:
        with self._db.transaction():
            changed = self._db.execute(f"UPDATE intent SET {assignments} WHERE seq = ?", (*values, seq))  # noqa: S608 - our own column names
            if changed.rowcount != 1:
                raise IntentGone(f"intent {seq} was carried out or cancelled meanwhile")

    def _first(self, where: str, *parameters: object) -> Intent | None:
        row = self._db.one(f"{SELECT} {where}", parameters)
        return intent_of(row) if row else None

    def _rows(self, where: str, *parameters: object) -> list[Intent]:
        return [intent_of(row) for row in self._db.all(f"{SELECT} {where}", parameters)]


def intent_of(row: tuple[Any, ...]) -> Intent:
    """A row of SELECT as a record."""
    seq, kind, ino, file_id, replaces, due_ns, tries, reason, *attempt = row
    return Intent(
        seq, IntentKind(kind), ino, file_id,
        () if replaces == "[]" else tuple(json.loads(replaces)), due_ns, tries, reason,
        Attempt(*attempt) if attempt[0] is not None else None,
    )  # fmt: skip


def _merged(first: Iterable[str], second: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))
