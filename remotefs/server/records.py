"""The record of a file and the settings of a server."""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.server.names import LengthUnit

# An expired file stays listed for this time, as at the service, and cannot be downloaded.
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
    """The settings of a server. The defaults are the service's, except for `uploads_downloadable`."""

    # False is the service's rule. True makes the server useful as a store of one's own.
    uploads_downloadable: bool = True
    # None: unlimited.
    requests_per_minute: int | None = None
    # Answer a Range header with 206. Otherwise the header is ignored.
    ranges: bool = True
    # The service's documents say 500 MB, and not whether an MB is 10^6 or 2^20 bytes. This is the larger reading.
    max_file_bytes: int = 500 << 20
    # The service's 1 TB for an organization.
    quota_bytes: int = 10**12
    # The unit of the limit of 255 for a name, which the service's documents do not name.
    name_unit: LengthUnit = "characters"
    # It is not documented whether the service accepts empty files.
    empty_files: bool = True
    # Requests that are running when the server has to end may go on for this time.
    drain_s: float = 20.0
    # The head of a request has to come within this time, and so has a request with the key on a new connection.
    head_s: float = 10.0
    # Connections at a time; fewer where the process may not have so many descriptors.
    connections: int = 512
    # One line of JSON in ROOT/requests.jsonl for every request.
    log_requests: bool = False
