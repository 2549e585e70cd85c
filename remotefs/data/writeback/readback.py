"""The search for an upload whose reply was lost: the listing shows whether the service has the file (W6).

An entry that cannot be read may be that file. Then the service is asked for it by its id; while that does not tell
either, nothing is sent, because a second copy would never go away by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from remotefs.api.budget import Priority
from remotefs.api.entries import UNKNOWN_NS, Unusable, told_by
from remotefs.api.models import FileMetadata
from remotefs.api.protocols import FileFinder
from remotefs.clocks import AHEAD_NS, ServiceClock
from remotefs.data.writeback.last_run import LastRun
from remotefs.errors import RemoteNotFound, ReplyBroken, UnclearListing
from remotefs.store.records import Attempt, Origin, Remote
from remotefs.store.remotes import Remotes

# A large upload may be stamped with the time when it began.
OVERLAP_NS = 600 * 1_000_000_000
# The most odd entries that the service is asked for, one request each.
_MOST_ASKED = 10


class Listed(NamedTuple):
    """The part of a listing that an upload may be in: files, and entries that do not tell which files they are."""

    files: list[FileMetadata]
    odd: list[Unusable]


class Readback:
    """Looks for the file of an attempt `looks_after_s` seconds after it; the last look decides.

    What a later life of the state folder may have sent is looked for once, for all such attempts together.
    """

    def __init__(
        self,
        finder: FileFinder,
        remotes: Remotes,
        looks_after_s: Sequence[float],
        last_run: LastRun,
        clock: ServiceClock,
    ) -> None:
        self._finder = finder
        self._remotes = remotes
        self._looks_after_s = looks_after_s
        self._last_run = last_run
        self._clock = clock
        self._looking = trio.Lock()
        # What was listed since the last record of a folder that may have had a later life; None: nobody looked yet.
        self._later: Listed | None = None

    async def find(self, attempt: Attempt) -> FileMetadata | None:
        """Return the file that the attempt made, as far as the service tells; None: send it again.

        Raises UnclearListing where an entry may be it and cannot be read; else as listing does.
        """
        if self._is_of_earlier_life(attempt):
            listed = await self._later_life(attempt)
            return self._choose(attempt, listed.files) or await self._choose_odd(attempt, listed)
        waited, listed = 0.0, Listed([], [])
        for after_s in self._looks_after_s:
            await trio.sleep(after_s - waited)
            waited = after_s
            listed = await self._listed_since(attempt)
            if (found := self._choose(attempt, listed.files)) is not None:
                return found
        return await self._choose_odd(attempt, listed)

    def _is_of_earlier_life(self, attempt: Attempt) -> bool:
        return self._last_run.is_old and attempt.newest_ns == self._last_run.service_ns

    async def _later_life(self, attempt: Attempt) -> Listed:
        async with self._looking:
            if self._later is None:
                self._later = await self._listed_since(attempt)
        return self._later

    async def _listed_since(self, attempt: Attempt) -> Listed:
        """Return what may have been made since the attempt."""
        listed = Listed([], [])
        async for page in self._finder.pages(priority=Priority.CLOSE_UPLOAD):
            timely = [file for file in page.files if self._is_timely(attempt, file)]
            listed.files.extend(file for file in timely if told_by(file) is None)
            listed.odd.extend(filter(None, map(told_by, timely)))
            listed.odd.extend(entry for entry in page.left_out if self._is_timely(attempt, entry))
            if page.ends_before(self._oldest_ns(attempt)):
                break
        return listed

    def _choose(self, attempt: Attempt, files: list[FileMetadata]) -> FileMetadata | None:
        return choose(attempt, files, self._remotes.named(attempt.name), self._is_known)

    async def _choose_odd(self, attempt: Attempt, listed: Listed) -> FileMetadata | None:
        """Return the file that the attempt made if it is one of the odd entries. Raises UnclearListing."""
        if is_contested(self._remotes.named(attempt.name)):
            return None
        odd = [entry for entry in listed.odd if may_be(attempt, entry) and not self._is_known(entry.id)]
        if len(odd) > _MOST_ASKED:
            raise _unclear(f"{len(odd):,} entries of the listing")
        asked = [await self._ask(entry) for entry in odd]
        told = [file for file in asked if file is not None and self._is_timely(attempt, file)]
        return self._choose(attempt, [*listed.files, *told])

    async def _ask(self, entry: Unusable) -> FileMetadata | None:
        """Return the file of an odd entry, None if it is gone. Raises UnclearListing if that cannot be read either."""
        if entry.id is None:
            raise _unclear("an entry of the listing")
        try:
            return await self._finder.metadata(entry.id, priority=Priority.CLOSE_UPLOAD)
        except RemoteNotFound:
            return None
        except ReplyBroken as error:
            raise _unclear(entry.id) from error

    def _is_known(self, file_id: str | None) -> bool:
        return file_id is not None and self._remotes.find(file_id) is not None

    def _is_timely(self, attempt: Attempt, entry: FileMetadata | Unusable) -> bool:
        """Return whether a file may have been made by the attempt as far as its time tells.

        What is much younger than the record of an earlier life may be a later edit that kept the length. Then this
        version is sent, too, and both stay.
        """
        if not UNKNOWN_NS < entry.created_ns <= self._latest_ns():
            return True
        if self._is_of_earlier_life(attempt) and entry.created_ns > attempt.newest_ns + OVERLAP_NS:
            return False
        return entry.created_ns >= self._oldest_ns(attempt)

    def _oldest_ns(self, attempt: Attempt) -> int:
        """Return the time before which the attempt made no file. It may have been noted by a clock that was wrong."""
        return min(attempt.newest_ns, self._latest_ns()) - OVERLAP_NS

    def _latest_ns(self) -> int:
        """Return the latest time that the service can have given a file; a later one says nothing."""
        return self._clock.now_ns() + AHEAD_NS


def choose(
    attempt: Attempt, listed: list[FileMetadata], namesakes: list[Remote], is_known: Callable[[str], bool]
) -> FileMetadata | None:
    """Return the one candidate that is unknown to us and fits; None if a foreign file ever had that name."""
    if is_contested(namesakes):
        return None
    candidates = [
        file
        for file in listed
        if file.filename == attempt.name and file.size_bytes == attempt.size and not is_known(file.id)
    ]
    return candidates[0] if len(candidates) == 1 else None


def is_contested(namesakes: list[Remote]) -> bool:
    """Return whether a foreign file ever had the name: then a file of that name may be anybody's."""
    return any(remote.origin == Origin.FOREIGN for remote in namesakes)


def may_be(attempt: Attempt, entry: Unusable) -> bool:
    """Return whether nothing that can be read in an entry says that it is not the file of an attempt."""
    return entry.filename in (None, attempt.name) and entry.size_bytes in (None, attempt.size)


def _unclear(what: str) -> UnclearListing:
    return UnclearListing(
        f"the reply to its upload was lost, and {what} may be this file but cannot be read; "
        "it is not sent again before that is clear (a copy of it is sent at once)"
    )
