"""A file as the store keeps it, and the settings of a server."""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.server.names import LengthUnit

# Seconds an expired file stays listed.
LISTED_AFTER_EXPIRY_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file; times in microseconds since the epoch."""

    id: str
    created_us: int
    filename: str
    mime_type: str
    size_bytes: int
    downloadable: bool
    expires_us: int | None = None
    session_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set on a server; the defaults are those of the service, but for `uploads_downloadable`."""

    # False is the service's rule; True makes the server a store of one's own.
    uploads_downloadable: bool = True
    # None: no limit.
    requests_per_minute: int | None = None
    # Answer 206 to Range.
    ranges: bool = True
    # Whether the service's 500 MB are 10^6 or 2^20 bytes is not documented; the larger one here.
    max_file_bytes: int = 500 << 20
    # The service's 1 TB for an organization.
    quota_bytes: int = 10**12
    # The service says 255 without a unit.
    name_unit: LengthUnit = "characters"
    # Whether the service takes empty files is not documented.
    empty_files: bool = True
    # Requests that run when the server is told to end get this long.
    drain_s: float = 20.0
    # One line of JSON in ROOT/requests.jsonl for every request.
    log_requests: bool = False
