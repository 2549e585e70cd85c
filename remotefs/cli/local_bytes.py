"""The bytes of files that are on this disk: their sums, made by the mounts, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence

from remotefs.cli.console import progress_shown
from remotefs.cli.listing import Listed, file_place, requests_of
from remotefs.control.messages.ls import SOURCES, SUMS, FilesParams

SHORT_S = 60.0
# Reading contents may take any time.
LONG_S = 86_400.0


def sums_of(files: Sequence[Listed]) -> dict[str, str]:
    """Return the xxh3-128 of files in hex, by their paths as they are shown; without those that cannot be read."""
    sums: dict[str, str] = {}
    for some in requests_of([file_place(listed) for listed in files]):
        params = FilesParams(tuple(place.found.path for place in some))
        with progress_shown("reading the contents that are here") as report:
            digests = some[0].found.control.call(SUMS, params, timeout_s=LONG_S, report=report).digests
        sums |= {place.shown: digest for place, digest in zip(some, digests, strict=True) if digest is not None}
    return sums


def sources_of(files: Sequence[Listed]) -> dict[str, str]:
    """Return by id the local files with all bytes of files that the service has; without those that are not here."""
    ids = {file_place(listed): listed.file.file_id for listed in files if listed.file.file_id is not None}
    found: dict[str, str] = {}
    for some in requests_of(list(ids)):
        params = FilesParams(tuple(place.found.path for place in some))
        sources = some[0].found.control.call(SOURCES, params, timeout_s=SHORT_S).sources
        found |= {ids[place]: source for place, source in zip(some, sources, strict=True) if source is not None}
    return found
