"""The reply shapes of the Files API: the choice by the request's headers, and the JSON of each shape. Pure.

    `anthropic-beta` of the request       shape       cursors of a listing
    (none)                                GA          page, ids[]
    files-api-2025-04-14                  beta        before_id, after_id
    managed-agents-2026-04-01 alone       managed     both kinds

The shapes differ in `expires_at` too, which the beta shape lacks.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from remotefs.server.errors import bad_request
from remotefs.server.queries import Cursor, Page
from remotefs.server.records import FileRecord

FILES_BETA = "files-api-2025-04-14"
MANAGED_AGENTS_BETA = "managed-agents-2026-04-01"
PAGE_PREFIX = "page_"
# More digits than a time in microseconds has, fewer than overflow SQLite's integers.
_MAX_DIGITS = 18
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Shape(Enum):
    """The shape of the replies to a request."""

    GA = "ga"
    BETA = "beta"
    MANAGED = "managed-agents"

    @property
    def takes_ids_as_cursor(self) -> bool:
        """Return whether a listing in this shape takes `before_id` and `after_id`."""
        return self is not Shape.GA

    @property
    def takes_pages(self) -> bool:
        """Return whether a listing in this shape takes `page` and `ids[]`."""
        return self is not Shape.BETA


def shape_of(beta_headers: Iterable[str]) -> Shape:
    """Return the shape that the values of `anthropic-beta` ask for; each may hold several names, joined by commas."""
    betas = {name.strip() for value in beta_headers for name in value.split(",")}
    if FILES_BETA in betas:
        return Shape.BETA
    return Shape.MANAGED if MANAGED_AGENTS_BETA in betas else Shape.GA


def file_object(record: FileRecord, shape: Shape) -> dict[str, Any]:
    """Return the JSON of a file's metadata: with `scope` if the file has one, with `expires_at` except in beta."""
    shown: dict[str, Any] = {
        "type": "file",
        "id": record.id,
        "filename": record.filename,
        "mime_type": record.mime_type,
        "size_bytes": record.size_bytes,
        "created_at": timestamp(record.created_us),
        "downloadable": record.downloadable,
    }
    if shape is not Shape.BETA:
        shown["expires_at"] = None if record.expires_us is None else timestamp(record.expires_us)
    if record.session_id is not None:
        shown["scope"] = {"type": "session", "id": record.session_id}
    return shown


def list_object(page: Page, shape: Shape) -> dict[str, Any]:
    """Return the JSON of a page of the listing."""
    records: Sequence[FileRecord] = page.records
    reply: dict[str, Any] = {"data": [file_object(record, shape) for record in records]}
    if shape.takes_ids_as_cursor:
        reply["has_more"] = page.has_more
        reply["first_id"] = records[0].id if records else None
        reply["last_id"] = records[-1].id if records else None
    if shape.takes_pages:
        reply["next_page"] = page_token(records[-1]) if page.older else None
    return reply


def deleted_object(file_id: str) -> Mapping[str, str]:
    """Return the JSON of the reply to DELETE."""
    return {"id": file_id, "type": "file_deleted"}


def page_token(record: FileRecord) -> str:
    """Return an opaque cursor to the files older than `record`. It stays valid when that file is deleted."""
    text = f"{record.created_us}.{record.id}".encode()
    return PAGE_PREFIX + base64.urlsafe_b64encode(text).decode().rstrip("=")


def cursor_of(token: str) -> Cursor:
    """Return the place in the listing that a page token names.

    Raises ApiError (400) for a token that this server cannot have made.
    """
    body = token.removeprefix(PAGE_PREFIX)
    try:
        text = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True).decode()
        created, file_id = text.split(".")
        if len(created) > _MAX_DIGITS:
            raise ValueError("a time of too many digits")  # noqa: TRY301 -- one answer to all that is wrong
        return Cursor(int(created), file_id)
    except ValueError as error:
        raise bad_request("page: not a cursor that came from next_page") from error


def timestamp(microseconds: int) -> str:
    """Return a time in microseconds since the epoch as RFC 3339 in UTC."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
