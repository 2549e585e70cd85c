"""The search for an upload whose reply was lost: the listing shows whether the service has the file (W6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from remotefs.api.budget import Priority
from remotefs.api.entries import UNKNOWN_NS
from remotefs.api.models import FileMetadata
from remotefs.api.protocols import PageLister
from remotefs.data.writeback.last_run import LastRun
from remotefs.store.records import Attempt, Origin, Remote
from remotefs.store.remotes import Remotes

# A large upload may be stamped with the time when it began.
OVERLAP_NS = 600 * 1_000_000_000


class Readback:
    """Looks for the file of an attempt `looks_after_s` seconds after it; the last look decides.

    What a later life of the state folder may have sent is looked for once, for all such attempts together.
    """

    def __init__(self, lister: PageLister, remotes: Remotes, looks_after_s: Sequence[float], last_run: LastRun) -> None:
        self._lister = lister
        self._remotes = remotes
        self._looks_after_s = looks_after_s
        self._last_run = last_run
        self._looking = trio.Lock()
        # What was listed that a later life may have made; None: nobody has looked yet.
        self._later: list[FileMetadata] | None = None

    async def find(self, attempt: Attempt) -> FileMetadata | None:
        """Return the file that the attempt made, as far as the listing shows it; None: send it again.

        Raises as listing does.
        """
        if self._last_run.is_old and attempt.newest_ns == self._last_run.service_ns:
            return choose(attempt, await self._later_life(attempt), self._remotes.named(attempt.name), self._known)
        waited = 0.0
        for after_s in self._looks_after_s:
            await trio.sleep(after_s - waited)
            waited = after_s
            found = choose(attempt, await self._listed_since(attempt), self._remotes.named(attempt.name), self._known)
            if found is not None:
                return found
        return None

    async def _later_life(self, attempt: Attempt) -> list[FileMetadata]:
        """Return what was listed and is no older than the record of the folder, and not much younger.

        What is much younger may be a later edit that kept the length. Then this version is sent, too, and both stay.
        """
        async with self._looking:
            if self._later is None:
                latest_ns = attempt.newest_ns + OVERLAP_NS
                self._later = [f for f in await self._listed_since(attempt) if f.created_ns <= latest_ns]
        return self._later

    def _known(self, file_id: str) -> bool:
        return self._remotes.find(file_id) is not None

    async def _listed_since(self, attempt: Attempt) -> list[FileMetadata]:
        """Return what was made since the attempt as far as is known: of an odd entry the time may be missing.

        An entry that lacks its id, name or size cannot be told to be ours; the last look decides without it.
        """
        listed: list[FileMetadata] = []
        oldest_ns = attempt.newest_ns - OVERLAP_NS
        async for page in self._lister.pages(priority=Priority.CLOSE_UPLOAD):
            listed += [file for file in page.files if file.created_ns >= oldest_ns or file.created_ns == UNKNOWN_NS]
            if page.ends_before(oldest_ns):
                break
        return listed


def choose(
    attempt: Attempt, listed: list[FileMetadata], namesakes: list[Remote], is_known: Callable[[str], bool]
) -> FileMetadata | None:
    """Return the one candidate that is unknown to us and fits; None if a foreign file ever had that name."""
    if any(remote.origin == Origin.FOREIGN for remote in namesakes):
        return None
    candidates = [
        file
        for file in listed
        if file.filename == attempt.name and file.size_bytes == attempt.size and not is_known(file.id)
    ]
    return candidates[0] if len(candidates) == 1 else None
