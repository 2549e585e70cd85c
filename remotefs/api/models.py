"""The service's replies, checked before any other module sees them.

Everything on the wire is hostile until it has passed a decoder here: an id becomes a file name in the state folder, a
size becomes the size of an inode, a cursor is sent back. A reply that does not fit raises ReplyBroken. An entry of a
page that has no usable id, filename or size is left out, and the page says so, because it must not look like a file
that was deleted (S4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from remotefs.api import bounds, entries
from remotefs.api.entries import FileMetadata, Unusable
from remotefs.errors import InvalidArgument, ReplyBroken

__all__ = ["Account", "DecodedPage", "FileMetadata", "Page", "account_of", "check_id", "decode_deleted", "decode_file",
           "decode_page", "token"]  # fmt: skip
# A cursor is opaque and goes back as a query parameter. Only printable ASCII has ever been seen in one.
_CURSOR = r"\A[!-~]{1,2000}\Z"
# Accounts, request ids and error codes. The service sends none that is longer.
_TOKEN = re.compile(r"[\w.:+/-]{1,200}", re.ASCII)


class Page(msgspec.Struct, frozen=True):
    """One page of the listing, newest file first; `next_cursor` is None on the last page.

    `left_out` are entries that cannot be used.
    """

    files: tuple[FileMetadata, ...]
    next_cursor: str | None
    left_out: tuple[Unusable, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of all entries that can be read: these files exist, also those that are left out."""
        return *(file.id for file in self.files), *(entry.id for entry in self.left_out if entry.id is not None)

    @property
    def is_whole(self) -> bool:
        """Return whether every entry has an id; else a file that the page lacks may be in it all the same (S4)."""
        return all(entry.id is not None for entry in self.left_out)

    def ends_before(self, at_ns: int) -> bool:
        """Return whether the end of the page was created before `at_ns`, so that all later pages are older still.

        On a long page the last hundredth of the files has to agree, so that one odd time does not hide later pages.
        Files whose time is not known say nothing.
        """
        known = [file for file in self.files if file.created_ns != entries.UNKNOWN_NS]
        end = known[-max(1, len(known) // 100) :]
        return bool(end) and all(file.created_ns < at_ns for file in end)


class Account(msgspec.Struct, frozen=True):
    """The owner of the files, as the reply headers name it; None where they do not."""

    organization: str | None
    workspace: str | None


_Id = Annotated[str, Meta(pattern=entries.ID)]
# Decoded by `bounds`, not as a datetime: one entry of the year 10000 would break its whole page.
_Time = str | int | float


# The lengths are those of the vendor's schema.
class _WireFile(msgspec.Struct):
    id: _Id
    filename: Annotated[str, Meta(min_length=1, max_length=entries.MOST_NAME)]
    size_bytes: Annotated[int, Meta(ge=0)]
    mime_type: Annotated[str, Meta(max_length=entries.MOST_TYPE, pattern=entries.PLAIN_TEXT)]
    created_at: _Time
    downloadable: bool | None = None
    expires_at: _Time | None = None


class _WirePage(msgspec.Struct):
    """Both shapes of a page; a key of the other shape stays UNSET."""

    data: list[_WireFile]
    next_page: Annotated[str, Meta(pattern=_CURSOR)] | msgspec.UnsetType | None = msgspec.UNSET
    has_more: bool | msgspec.UnsetType = msgspec.UNSET
    last_id: _Id | None = None


class _LoosePage(msgspec.Struct):
    """The same page without its entries."""

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
    if not re.match(entries.ID, file_id):
        raise InvalidArgument(f"{file_id[:80]!r} is not a file id")
    return file_id


def decode_file(body: bytes, *, expected_id: str | None = None) -> FileMetadata:
    """Return the file of a metadata reply.

    Raises ReplyBroken when the reply is not one, or is about another id than `expected_id`.
    """
    try:
        file = _checked_file(_decode(_FILE, body, "metadata object"))
    except ReplyBroken:
        loose = _read_loosely(body, entries.read_entry)
        if not isinstance(loose, FileMetadata):
            raise
        file = loose
    if expected_id is not None and file.id != expected_id:
        raise ReplyBroken(f"asked for {expected_id}, the service answered with {file.id}")
    return file


def decode_page(body: bytes) -> DecodedPage:
    """Return a page of the listing, in either shape.

    Raises ReplyBroken when it is not one; entries that cannot be used are left out (`Page.left_out`).
    """
    try:
        wire = _decode(_PAGE, body, "page of the listing")
        return _paged(Page(tuple(_checked_file(entry) for entry in wire.data), None), wire)
    except ReplyBroken:
        if (page := _read_loosely(body, _loose_page)) is None:
            raise
        return page


def _loose_page(value: object) -> DecodedPage | None:
    """Return a page whose entries are read one by one; None when it is not a page at all."""
    if not isinstance(value, dict) or not isinstance(data := value.get("data"), list):
        return None
    try:
        wire = msgspec.convert(value, _LoosePage)
    except msgspec.ValidationError:
        return None
    read = [entries.read_entry(entry) for entry in data]
    files = tuple(entry for entry in read if isinstance(entry, FileMetadata))
    left_out = tuple(entry for entry in read if isinstance(entry, Unusable))
    return _paged(Page(files, None, left_out), wire)


def _paged(page: Page, wire: _WirePage | _LoosePage) -> DecodedPage:
    """Return the page with its cursor, and its shape."""
    # The GA shape always sends `next_page`, null on the last page; the beta shape never does.
    if isinstance(wire.next_page, msgspec.UnsetType):
        return DecodedPage(msgspec.structs.replace(page, next_cursor=_beta_cursor(wire, page)), beta=True)
    return DecodedPage(msgspec.structs.replace(page, next_cursor=wire.next_page), beta=False)


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


def _beta_cursor(wire: _WirePage | _LoosePage, page: Page) -> str | None:
    if isinstance(wire.has_more, msgspec.UnsetType):
        raise ReplyBroken("a page of the listing has neither `next_page` nor `has_more`")
    if not wire.has_more:
        return None
    # Where entries were left out, the id of the last one is not known.
    cursor = wire.last_id or (page.files[-1].id if page.files and not page.left_out else None)
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


def _read_loosely(body: bytes, read: Callable[[object], _T]) -> _T | None:
    try:
        return read(entries.parse(body))
    except (ValueError, OverflowError, RecursionError, ReplyBroken):
        return None


def _decode(decoder: msgspec.json.Decoder[_T], body: bytes, what: str) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        reason = str(error) or type(error).__name__
    raise ReplyBroken(f"the reply is not a valid {what}: {reason[:200]}")
