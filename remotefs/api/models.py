"""The service's replies, checked before any other module sees them.

Everything on the wire is hostile until it has passed a decoder here: an id becomes a file name in the state folder, a
size becomes the size of an inode, a cursor is sent back. One value that does not fit raises ReplyBroken for the whole
reply, because an entry that is skipped would look like a file that was deleted (S4).
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
# A cursor is opaque and goes back as a query parameter. Only printable ASCII has ever been seen in one.
_CURSOR = r"\A[!-~]{1,2000}\Z"
# Accounts, request ids and error codes. The service sends none that is longer.
_TOKEN = re.compile(r"[\w.:+/-]{1,200}", re.ASCII)


class FileMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of one remote file.

    Times are unix nanoseconds, UTC, by the server's clock, exact to the microsecond; they and the size are within
    `bounds`. `expires_ns` is None when the file never expires, and in the beta shape, which does not say.
    """

    id: str
    filename: str
    size_bytes: int
    mime_type: str
    created_ns: int
    downloadable: bool = False
    expires_ns: int | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of the listing, newest file first; `next_cursor` is None on the last page."""

    files: tuple[FileMetadata, ...]
    next_cursor: str | None

    def ends_before(self, at_ns: int) -> bool:
        """Return whether the end of the page was created before `at_ns`, so that all later pages are older still.

        On a long page the last hundredth of the files has to agree, so that one odd time does not hide later pages.
        """
        end = self.files[-max(1, len(self.files) // 100) :]
        return bool(end) and all(file.created_ns < at_ns for file in end)


class Account(msgspec.Struct, frozen=True):
    """The owner of the files, as the reply headers name it; None where they do not."""

    organization: str | None
    workspace: str | None


_Id = Annotated[str, Meta(pattern=_ID)]
# Decoded by `bounds`, not as a datetime: one entry of the year 10000 would break its whole page.
_Time = str | int | float


# The lengths are those of the vendor's schema.
class _WireFile(msgspec.Struct):
    id: _Id
    filename: Annotated[str, Meta(min_length=1, max_length=500)]
    size_bytes: Annotated[int, Meta(ge=0)]
    mime_type: Annotated[str, Meta(max_length=255, pattern=_PLAIN_TEXT)]
    created_at: _Time
    downloadable: bool | None = None
    expires_at: _Time | None = None


class _WirePage(msgspec.Struct):
    """Both shapes of a page; a key of the other shape stays UNSET."""

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
    """A page and its shape: `beta` is true for a reply in the beta shape."""

    page: Page
    beta: bool


def check_id(file_id: str) -> str:
    """Return `file_id` when it has the form of a file id. Raises InvalidArgument otherwise."""
    if not re.match(_ID, file_id):
        raise InvalidArgument(f"{file_id[:80]!r} is not a file id")
    return file_id


def decode_file(body: bytes, *, expected_id: str | None = None) -> FileMetadata:
    """Return the file of a metadata reply.

    Raises ReplyBroken when the reply is not one, or is about another id than `expected_id`.
    """
    file = _checked_file(_decode(_FILE, body, "metadata object"))
    if expected_id is not None and file.id != expected_id:
        raise ReplyBroken(f"asked for {expected_id}, the service answered with {file.id}")
    return file


def decode_page(body: bytes) -> DecodedPage:
    """Return a page of the listing, in either shape. Raises ReplyBroken when any of its entries is not valid."""
    wire = _decode(_PAGE, body, "page of the listing")
    files = tuple(_checked_file(entry) for entry in wire.data)
    # The GA shape always sends `next_page`, null on the last page; the beta shape never does.
    if isinstance(wire.next_page, msgspec.UnsetType):
        return DecodedPage(Page(files, _beta_cursor(wire)), beta=True)
    return DecodedPage(Page(files, wire.next_page), beta=False)


def decode_deleted(body: bytes, *, expected_id: str) -> None:
    """Check the reply to a delete. Raises ReplyBroken when it does not confirm `expected_id`."""
    deleted = _decode(_DELETED, body, "confirmation of a delete")
    if deleted.id != expected_id:
        raise ReplyBroken(f"asked to delete {expected_id}, the service confirmed {deleted.id}")


def account_of(headers: Mapping[str, str], last: Account | None) -> Account | None:
    """Return the account that a reply names, or `last` when it names none.

    A reply without a workspace is about the last known workspace, unless it names another organization.
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
    """Return `value` when it is a short word of plain ASCII (an id, an error code), else None."""
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def _beta_cursor(wire: _WirePage) -> str | None:
    if isinstance(wire.has_more, msgspec.UnsetType):
        raise ReplyBroken("a page of the listing has neither `next_page` nor `has_more`")
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
    )


def _time_ns(value: _Time) -> int:
    try:
        return bounds.time_ns(value)
    except ValueError as error:
        raise ReplyBroken(f"the reply is not valid: {error}") from None


def _decode(decoder: msgspec.json.Decoder[_T], body: bytes, what: str) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        reason = str(error) or type(error).__name__
    raise ReplyBroken(f"the reply is not a valid {what}: {reason[:200]}")
