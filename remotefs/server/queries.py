"""The query of a listing and its result: records that the store and the shapes share, and the query's parser. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from remotefs.server.errors import bad_request
from remotefs.server.records import FileRecord

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000
MAX_IDS = 100
_LIMIT_DIGITS = 9


class Cursor(NamedTuple):
    """A place in the listing, which is ordered newest first and, at the same time, by id."""

    created_us: int
    id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the listing, newest first.

    `older`: the store has files older than the last one. `has_more`: it has more files in the direction of the query.
    """

    records: Sequence[FileRecord]
    older: bool
    has_more: bool


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The parameters of a listing; at most one of the cursors is set, and `ids` stands alone."""

    limit: int = DEFAULT_LIMIT
    page: str | None = None
    ids: Sequence[str] = ()
    before_id: str | None = None
    after_id: str | None = None


def parsed_query(pairs: Sequence[tuple[str, str]], *, ids_as_cursor: bool, pages: bool) -> ListQuery:
    """Return the ListQuery of a query string.

    `ids_as_cursor` and `pages` say which cursors the shape of the request has. Raises ApiError (400) for a parameter
    that it does not have, and for cursors that exclude each other.
    """
    single = {name: value for name, value in pairs if name != "ids[]"}
    ids = tuple(value for name, value in pairs if name == "ids[]")
    unknown = ({"before_id", "after_id"} if not ids_as_cursor else set()) | ({"page"} if not pages else set())
    for name in sorted(unknown.intersection(single)):
        raise bad_request(f"{name}: not a parameter of this version of the API")
    if ids and not pages:
        raise bad_request("ids[]: not a parameter of this version of the API")
    if len(ids) > MAX_IDS:
        raise bad_request(f"ids[]: {len(ids)} given, at most {MAX_IDS} are allowed")
    cursors = [name for name in ("page", "before_id", "after_id") if name in single] + (["ids[]"] if ids else [])
    if len(cursors) > 1:
        raise bad_request(f"{' and '.join(cursors)} cannot be given together")
    return ListQuery(_limit(single), single.get("page"), ids, single.get("before_id"), single.get("after_id"))


def _limit(single: Mapping[str, str]) -> int:
    text = single.get("limit", str(DEFAULT_LIMIT))
    # The length comes first: `int` refuses a text of thousands of digits with an error of its own.
    if not (len(text) <= _LIMIT_DIGITS and text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_LIMIT):
        raise bad_request(f"limit: a whole number from 1 to {MAX_LIMIT}")
    return int(text)
