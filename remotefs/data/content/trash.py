"""The local trash: bytes that only this machine has, of files that went away elsewhere (S2).

The user's own `rm` does not go here.

    FOLDER/<n>          the bytes
    FOLDER/<n>.json     their record: path, id, when and why the file went

The record comes first and goes last, so a crash can leave a record without bytes, which the next start removes. Bytes
whose record is lost are kept and shown as unnamed. Ages are measured by a clock that no jump of the wall clock moves
(`Timekeeper`); where a record has no time of this clock, the age begins when it is first looked at.

All that waits for the disk runs in threads, except at the start of a mount and in repairs (`put`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Required, TypedDict, Unpack

import msgspec
import trio

from remotefs import crashpoints
from remotefs.clocks import DAY_NS
from remotefs.errors import NotFound
from remotefs.store.disk import make_folder, sync_folder, write_durably

# A further name of the bytes, for the time of `lend`.
_LENT = ".lent"


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


class Facts(TypedDict, total=False):
    """The facts that a caller tells about a file; see `Trashed`."""

    path: Required[str]
    file_id: Required[str]
    size: Required[int]
    mode: Required[int]
    mtime_ns: Required[int]
    reason: Required[str]
    kept: bool


class Trash:
    """Owns the folder; `aged_ns` is its clock, in nanoseconds."""

    def __init__(self, folder: Path, aged_ns: Callable[[], int] = lambda: 0) -> None:
        self._folder = folder
        self._aged_ns = aged_ns
        self._lost: OSError | None = None
        make_folder(folder)
        for lent in folder.glob(f"*{_LENT}"):
            lent.unlink()
        for record in folder.glob("*.json*"):
            if not self.bytes_of(int(record.name.partition(".")[0])).exists():
                record.unlink()
        self._last = max((int(file.stem) for file in folder.iterdir() if file.stem.isdigit()), default=0)

    def put(self, source: Path, **facts: Unpack[Facts]) -> Trashed:
        """Keep the bytes of `source` by a second name of the file; the owner of the first may remove it afterwards.

        Synced before it returns, so the thread waits for the disk. Raises OSError.
        """
        return self._put(source, self._record_of(facts))

    async def keep(self, source: Path, **facts: Unpack[Facts]) -> Trashed:
        """Do as `put` does, in a thread. Raises OSError, FileNotFoundError if `source` is gone by then."""
        return await trio.to_thread.run_sync(self._put, source, self._record_of(facts))

    def _record_of(self, facts: Facts) -> Trashed:
        self._last += 1
        return Trashed(number=self._last, removed_at=time.time(), aged_ns=self._aged_ns(), **facts)

    def _put(self, source: Path, record: Trashed) -> Trashed:
        if source.stat().st_nlink > 1 and (kept := self._kept(source)) is not None:
            # An earlier call put it here, and then its caller crashed or failed before its own commit.
            self._sync()
            return kept
        self._write(record)
        crashpoints.reached("trash has the record", record.number)
        try:
            os.link(source, self.bytes_of(record.number))
        except FileNotFoundError:
            self._record(record.number).unlink(missing_ok=True)
            raise
        crashpoints.reached("trash has the bytes", record.number)
        self._sync()
        crashpoints.reached("trash is on the disk", record.number)
        return record

    def holds(self, number: int) -> bool:
        """Return whether the bytes of an entry are here: a person may have emptied the trash."""
        return self.bytes_of(number).exists()

    def withdraw(self, number: int, source: Path) -> None:
        """Remove an entry again whose file is not removed after all, as long as `source` still has the same bytes."""
        with suppress(FileNotFoundError):
            if source.samefile(self.bytes_of(number)):
                self.remove(number)

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

    def lend(self, number: int) -> Path:
        """Return a further name of the bytes, which the caller moves to its place or removes. Raises OSError."""
        lent = self._folder / f"{number}{_LENT}"
        lent.unlink(missing_ok=True)
        os.link(self.bytes_of(number), lent)
        return lent

    def remove(self, number: int) -> None:
        """Remove an entry for good."""
        self.bytes_of(number).unlink(missing_ok=True)
        crashpoints.reached("trash has lost the bytes", number)
        self._record(number).unlink(missing_ok=True)
        crashpoints.reached("trash has lost the record", number)

    async def empty(self, *, older_than_days: float = 0.0) -> int:
        """Remove for good the entries that are at least so old, kept ones too: a person asks. Return how many went."""
        now_ns = self._aged_ns()
        return await trio.to_thread.run_sync(self._remove_all, lambda entry: _days(entry, now_ns) >= older_than_days)

    async def expire(self, days: float) -> int:
        """Remove for good the entries that are at least `days` old and not kept; return how many went.

        The age of entries without one starts now: an older version made them, or a crash took their record.
        """
        now_ns = self._aged_ns()
        await trio.to_thread.run_sync(self._note_ages, now_ns)
        return await trio.to_thread.run_sync(
            self._remove_all, lambda entry: not entry.kept and _days(entry, now_ns) >= days
        )

    def _remove_all(self, is_due: Callable[[Trashed], bool]) -> int:
        entries = [entry for entry in self._entries() if is_due(entry)]
        for entry in entries:
            self.remove(entry.number)
        return len(entries)

    def _note_ages(self, now_ns: int) -> None:
        """Write the age of entries without one. A record that cannot be written is left for the next call."""
        for entry in [entry for entry in self._entries() if entry.aged_ns is None]:
            with suppress(OSError):
                self._write(msgspec.structs.replace(entry, aged_ns=now_ns))

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
        status = source.stat()
        for entry in self._entries():
            with suppress(FileNotFoundError):  # the trash is emptied meanwhile
                if os.path.samestat(status, self.bytes_of(entry.number).stat()):
                    return entry
        return None

    def _record(self, number: int) -> Path:
        return self._folder / f"{number}.json"

    def _write(self, record: Trashed) -> None:
        write_durably(self._record(record.number), msgspec.json.encode(record), "trash details")

    def _entries(self) -> Iterator[Trashed]:
        for file in self._folder.iterdir():
            if file.name.isdigit():
                with suppress(FileNotFoundError):  # removed meanwhile
                    yield read_record(self._folder, int(file.name))


def _days(entry: Trashed, now_ns: int) -> float:
    return 0.0 if entry.aged_ns is None else (now_ns - entry.aged_ns) / DAY_NS


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
