"""The local trash: bytes that only this machine has, of files that went away elsewhere (S2).

The user's own `rm` does not go here.

    FOLDER/<n>          the bytes
    FOLDER/<n>.json     their record: path, id, when and why the file went

The record comes first and goes last, so a crash can leave a record without bytes, which the next start removes. Bytes
whose record is lost are kept and shown as unnamed. Ages are measured by a clock that no jump of the wall clock moves
(`Timekeeper`); where a record has no time of this clock, the age begins when it is first looked at.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from remotefs import crashpoints
from remotefs.errors import NotFound
from remotefs.store.disk import make_folder, sync_folder, write_durably

_DAY_NS = 86_400 * 1_000_000_000


class Trashed(msgspec.Struct, frozen=True, kw_only=True):
    """One file in the trash; `removed_at` in seconds since the epoch, `mtime_ns` as the file had it.

    `aged_ns` is the time on the clock of the trash when the file came in; None where it was not noted.
    """

    number: int
    path: str
    file_id: str
    size: int
    mode: int
    mtime_ns: int
    removed_at: float
    reason: str
    aged_ns: int | None = None
    # It stays until a person empties the trash: perhaps nothing else has its bytes.
    kept: bool = False


class Trash:
    """Owns the folder; `aged_ns` is its clock, in nanoseconds."""

    def __init__(self, folder: Path, aged_ns: Callable[[], int] = lambda: 0) -> None:
        self._folder = folder
        self._aged_ns = aged_ns
        self._lost: OSError | None = None
        make_folder(folder)
        for record in folder.glob("*.json*"):
            if not self.bytes_of(int(record.name.partition(".")[0])).exists():
                record.unlink()
        self._last = max((int(file.stem) for file in folder.iterdir() if file.stem.isdigit()), default=0)

    def put(
        self,
        source: Path,
        *,
        path: str,
        file_id: str,
        size: int,
        mode: int,
        mtime_ns: int,
        reason: str,
        keep: bool = False,
    ) -> Trashed:
        """Keep the bytes of `source` by a second name of the file; the owner of the first may remove it afterwards.

        Synced before it returns. Raises OSError.
        """
        if source.stat().st_nlink > 1 and (kept := self._kept(source)) is not None:
            # An earlier call put it here, and then its caller crashed or failed before its own commit.
            self._sync()
            return kept
        self._last += 1
        number = self._last
        record = Trashed(
            number=number, path=path, file_id=file_id, size=size, mode=mode, mtime_ns=mtime_ns,
            removed_at=time.time(), reason=reason, aged_ns=self._aged_ns(), kept=keep,
        )  # fmt: skip
        self._write(record)
        crashpoints.reached("trash has the record", number)
        os.link(source, self.bytes_of(number))
        crashpoints.reached("trash has the bytes", number)
        self._sync()
        crashpoints.reached("trash is on the disk", number)
        return record

    def entries(self) -> list[Trashed]:
        """Return the entries, the oldest first."""
        return sorted(self._entries(), key=lambda entry: entry.number)

    def find(self, number: int) -> Trashed:
        """Return one entry. Raises NotFound."""
        for entry in self._entries():
            if entry.number == number:
                return entry
        raise NotFound(f"the trash has no number {number}; `remotefs trash list` shows what there is")

    def files(self) -> list[Path]:
        """Return all files of the folder, bytes before records, in the order of removal."""
        return sorted(self._folder.iterdir(), key=lambda file: not file.name.isdigit())

    def bytes_of(self, number: int) -> Path:
        """Return where the bytes of an entry lie."""
        return self._folder / str(number)

    def remove(self, number: int) -> None:
        """Remove an entry for good."""
        self.bytes_of(number).unlink(missing_ok=True)
        crashpoints.reached("trash has lost the bytes", number)
        self._record(number).unlink(missing_ok=True)
        crashpoints.reached("trash has lost the record", number)

    def empty(self, *, older_than_days: float = 0.0) -> int:
        """Remove for good the entries that are at least so old, kept ones too: a person asks. Return how many went."""
        return self._remove_all([entry for entry in self._entries() if self._age_days(entry) >= older_than_days])

    def expire(self, days: float) -> int:
        """Remove for good the entries that are at least `days` old and not kept; return how many went."""
        return self._remove_all([e for e in self._entries() if not e.kept and self._age_days(e) >= days])

    def _remove_all(self, entries: list[Trashed]) -> int:
        for entry in entries:
            self.remove(entry.number)
        return len(entries)

    def note_ages(self) -> None:
        """Start the age of entries without one: an older version made them, or a crash took their record.

        A record that cannot be written is left for the next call.
        """
        for entry in [entry for entry in self._entries() if entry.aged_ns is None]:
            with suppress(OSError):
                self._write(msgspec.structs.replace(entry, aged_ns=self._aged_ns()))

    def _age_days(self, entry: Trashed) -> float:
        return 0.0 if entry.aged_ns is None else (self._aged_ns() - entry.aged_ns) / _DAY_NS

    def _sync(self) -> None:
        """Sync the folder; after a failure fail until the next mount (see GroupSync). Raises OSError."""
        if self._lost is not None:
            raise self._lost.with_traceback(None)
        try:
            sync_folder(self._folder)
        except OSError as error:
            self._lost = error
            raise

    def _kept(self, source: Path) -> Trashed | None:
        return next((entry for entry in self._entries() if self.bytes_of(entry.number).samefile(source)), None)

    def _record(self, number: int) -> Path:
        return self._folder / f"{number}.json"

    def _write(self, record: Trashed) -> None:
        write_durably(self._record(record.number), msgspec.json.encode(record), "trash details")

    def _entries(self) -> Iterator[Trashed]:
        for file in self._folder.iterdir():
            if file.name.isdigit():
                yield read_record(self._folder, int(file.name))


def read_record(folder: Path, number: int) -> Trashed:
    """Return the record of a number in a trash folder; an unnamed one where it cannot be read. Raises OSError."""
    try:
        return msgspec.json.decode((folder / f"{number}.json").read_bytes(), type=Trashed)
    except (OSError, msgspec.DecodeError):
        status = (folder / str(number)).stat()
        return Trashed(
            number=number, path=f"unnamed {number}", file_id="", size=status.st_size, mode=0o600,
            mtime_ns=status.st_mtime_ns, removed_at=status.st_ctime, reason="its record is missing",
        )  # fmt: skip
