"""What the service says, checked before anybody else sees it.

Everything on the wire is hostile until it passed a decoder here: an id becomes a file name in the state folder, a size
becomes an inode's, a cursor is sent back. What does not fit raises `ReplyBroken` for the whole reply: an entry that is
skipped would look like a file that was deleted (S4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from remotefs.api import bounds
from remotefs.errors import InvalidArgument, ReplyBroken

_ID = r"\A[A-Za-z0-9_-]{1,200}\Z"
_PLAIN_TEXT = r"\A[^\x00-\x1f\x7f]+\Z"
# An opaque cursor goes back as a query parameter; printable ASCII is all that was ever seen.
_CURSOR = r"\A[!-~]{1,2000}\Z"
# Longer accounts, request ids and error codes are not the service's.
_TOKEN = re.compile(r"[\w.:+/-]{1,200}", re.ASCII)


class FileMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """One remote file.

    Times are unix nanoseconds, UTC, by the server's clock, exact to the microsecond; they and the size are within
    `bounds`. `expires_ns` is None when the file never expires or the shape does not tell. `scope_session` is the
    session that the file belongs to, if any.
    """

    id: str
    filename: str
    size_bytes: int
    mime_type: str
    created_ns: int
    downloadable: bool = False
    expires_ns: int | None = None
    scope_session: str | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of the listing, newest first; `next_cursor` is None on the last one."""

    files: tuple[FileMetadata, ...]
    next_cursor: str | None

    def ends_before(self, at_ns: int) -> bool:
        """Whether its end was made before that time, so that what follows is older still.

        Of a long page the last hundredth has to agree: one odd time in it does not hide the pages that follow.
        """
        end = self.files[-max(1, len(self.files) // 100) :]
        return bool(end) and all(file.created_ns < at_ns for file in end)


class Account(msgspec.Struct, frozen=True):
    """Whose files these are, as the reply headers told; None where they did not."""

    organization: str | None
    workspace: str | None


_Id = Annotated[str, Meta(pattern=_ID)]
# `bounds` reads it: as a datetime, one entry of the year 10000 would break its whole page.
_Time = str | int | float


class _WireScope(msgspec.Struct):
    id: _Id
    type: str = "session"


class _WireFile(msgspec.Struct):
    id: _Id
    filename: Annotated[str, Meta(min_length=1, max_length=500)]
    size_bytes: Annotated[int, Meta(ge=0)]
    mime_type: Annotated[str, Meta(max_length=255, pattern=_PLAIN_TEXT)]
    created_at: _Time
    downloadable: bool | None = None
    expires_at: _Time | None = None
    scope: _WireScope | None = None


class _WirePage(msgspec.Struct):
    """Both shapes of a page; a key that the other shape owns stays UNSET."""

    data: list[_WireFile]
    next_page: Annotated[str, Meta(pattern=_CURSOR)] | msgspec.UnsetType | None = msgspec.UNSET
    has_more: bool | msgspec.UnsetType = msgspec.UNSET
    last_id: _Id | None = None


class _WireDeleted(msgspec.Struct):
    id: _Id


_FILE = msgspec.json.Decoder(_WireFile)
_PAGE = msgspec.json.Decoder(_WirePage)
_DELETED = msgspec.json.Decoder(_WireDeleted)
_T = TypeVar("_T")


class DecodedPage(msgspec.Struct, frozen=True):
    """A page and the shape it came in: `beta` is true when the reply spoke the beta shape."""

    page: Page
    beta: bool


def check_id(file_id: str) -> str:
    """`file_id` itself when it can be one; raises InvalidArgument otherwise."""
    if not re.match(_ID, file_id):
        raise InvalidArgument(f"{file_id[:80]!r} is not a file id")
    return file_id


def decode_file(body: bytes, *, expected_id: str | None = None) -> FileMetadata:
    """A metadata reply; raises ReplyBroken when it is none, or is about another id than `expected_id`."""
    file = _checked_file(_decode(_FILE, body, "metadata of a file"))
    if expected_id is not None and file.id != expected_id:
        raise ReplyBroken(f"asked for {expected_id}, the service answered with {file.id}")
    return file


def decode_page(body: bytes) -> DecodedPage:
    """A page of the listing in either shape; raises ReplyBroken when one entry is not whole."""
    wire = _decode(_PAGE, body, "page of the listing")
    files = tuple(_checked_file(entry) for entry in wire.data)
    if isinstance(wire.next_page, msgspec.UnsetType):
        return DecodedPage(Page(files, _beta_cursor(wire)), beta=True)
    return DecodedPage(Page(files, wire.next_page), beta=False)


def decode_deleted(body: bytes, *, expected_id: str) -> None:
    """The reply to a delete; raises ReplyBroken when it does not confirm `expected_id`."""
    deleted = _decode(_DELETED, body, "confirmation of a delete")
    if deleted.id != expected_id:
        raise ReplyBroken(f"{expected_id} was to be deleted, the service confirmed {deleted.id}")


def account_of(headers: Mapping[str, str], last: Account | None) -> Account | None:
    """The account that a reply names, or `last` when it names none.

    A reply without a workspace is about the workspace known before, unless the organization is another one.
    """
    organization = token(headers.get("anthropic-organization-id"))
    workspace = token(headers.get("anthropic-workspace-id"))
    if organization is None and workspace is None:
        return last
    if last is None:
        return Account(organization, workspace)
    if organization not in (None, last.organization):
        return Account(organization, workspace)
    return Account(last.organization, workspace or last.workspace)


def token(value: object) -> str | None:
    """`value` when it is a short word of plain ASCII (an id, an error code), else None."""
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def _beta_cursor(wire: _WirePage) -> str | None:
    if isinstance(wire.has_more, msgspec.UnsetType):
        raise ReplyBroken("a page of the listing tells neither `next_page` nor `has_more`")
    if not wire.has_more:
        return None
    cursor = wire.last_id or (wire.data[-1].id if wire.data else None)
    if cursor is None:
        raise ReplyBroken("an empty page of the listing says that more files follow")
    return cursor


def _checked_file(wire: _WireFile) -> FileMetadata:
    return FileMetadata(
        id=wire.id,
        filename=wire.filename,
        size_bytes=bounds.file_bytes(wire.size_bytes),
        mime_type=wire.mime_type,
        created_ns=_time_ns(wire.created_at),
        downloadable=bool(wire.downloadable),
        expires_ns=None if wire.expires_at is None else _time_ns(wire.expires_at),
        scope_session=wire.scope.id if wire.scope else None,
    )


def _time_ns(value: _Time) -> int:
    try:
        return bounds.time_ns(value)
    except ValueError as error:
        raise ReplyBroken(f"the reply is no whole file: {error}") from None


def _decode(decoder: msgspec.json.Decoder[_T], body: bytes, what: str) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        reason = str(error) or type(error).__name__
    raise ReplyBroken(f"the reply is no whole {what}: {reason[:200]}")
