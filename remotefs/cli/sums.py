"""The sums of files whose bytes are on this disk, made by their mounts."""

from __future__ import annotations

from collections.abc import Sequence

from remotefs.cli.console import progress_shown
from remotefs.cli.listing import Listed, file_place, requests_of
from remotefs.control.messages.ls import SUMS, SumsParams

# Reading contents may take any time.
LONG_S = 86_400.0


def sums_of(files: Sequence[Listed]) -> dict[str, str]:
    """Return the xxh3-128 of files in hex, by their paths as they are shown; without those that cannot be read."""
    sums: dict[str, str] = {}
    for some in requests_of([file_place(listed) for listed in files]):
        params = SumsParams(tuple(place.found.path for place in some))
        with progress_shown("reading the contents that are here") as report:
            digests = some[0].found.control.call(SUMS, params, timeout_s=LONG_S, report=report).digests
        sums |= {place.shown: digest for place, digest in zip(some, digests, strict=True) if digest is not None}
    return sums
