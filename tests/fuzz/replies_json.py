"""Odd JSON: every field of every reply missing, twice, of a wrong type, huge, empty, or of another file and time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from remotefs.server.queries import ListQuery
from remotefs.server.shapes import Shape, file_object
from remotefs.server.store import Store
from tests.faults import Call, _error_body
from tests.fuzz.replies_wire import OddReply, Whole
from tests.hostile import VALUES, as_json

Path = tuple[str | int, ...]
_MARK = "@here@"

FILE_FIELDS = ("id", "type", "filename", "mime_type", "size_bytes", "created_at", "downloadable", "expires_at", "scope")
ERROR_FIELDS: tuple[Path, ...] = (
    ("type",), ("error",), ("error", "type"), ("error", "message"), ("error", "details"),
    ("error", "details", "error_code"), ("request_id",),
)  # fmt: skip
# Beside the numbers and times of tests/hostile.py.
TEXTS = (
    *map(as_json, (
        " ", "x" * 255, "x" * 256, "x" * 501, "x" * 100_000, "../../etc/passwd", "/etc/passwd", ".", "..", "a/b", "a／b",
        "a／", "／", "..／..／x", "a\0b", "a\x1b[31mb", "a\nb", "\u202etxt", "C:\\x", "file_" + "A" * 24, "file_" + "A" * 195,
        "null", "True", "page_", "a b", "ü" * 128, ".remotefs", ".remotefs／by-id", "mine.txt", "folder",
    )),
    r'"\ud800"', r'"\udfff\ud800"', "false", "0.0", "1E2", "[null]", '[""]', "[[]]", '{"id": "x"}',
    "[" * 2000 + "]" * 2000,
)  # fmt: skip
LITERALS = tuple(dict.fromkeys((*VALUES, *TEXTS)))
# What a listing may say as a whole. Each gets the page, and how many there were before it and with it.
PAGES: dict[str, Callable[[Any, int], Any]] = {}


def page(change: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    """Note a change of a whole page under its name."""
    PAGES[change.__name__.strip("_").replace("_", " ")] = change
    return change


@dataclass
class OddField(OddReply):
    """Carry out, and change one field of the reply: `change` gets the object that has it, and the key."""

    path: Path
    change: Callable[[Any, Any, Store], str | None]

    async def answer(self, call: Call, whole: Whole) -> None:
        """Answer with the changed body; one without the field as it is."""
        body = spoiled(whole.body, self.path, self.change, self.world.server.store)
        await call.reply(whole.status, whole.headers, body)


@dataclass
class OddPage(OddReply):
    """Carry out, and change the page as a whole."""

    change: Callable[[Any, int], Any]
    pages: int = 0

    async def answer(self, call: Call, whole: Whole) -> None:
        """Answer with the changed page."""
        self.pages += 1
        page = self.change(json.loads(whole.body), self.pages)
        await call.reply(whole.status, whole.headers, json.dumps(page).encode())


def spoiled(body: bytes, path: Path, change: Callable[[Any, Any, Store], str | None], store: Store) -> bytes:
    """Return a JSON body whose field at `path` is the literal that `change` returns; None: it is missing."""
    try:
        whole = json.loads(body)
        place = whole
        for step in path[:-1]:
            place = place[step]
        key = path[-1]
        literal = change(place, key, store)
        if literal is None:
            del place[key]
            return json.dumps(whole).encode()
        place[key] = _MARK
    except (ValueError, LookupError, TypeError):
        return body
    return json.dumps(whole).replace(json.dumps(_MARK), literal).encode("utf-8", "surrogatepass")


def literal(text: str) -> Callable[[Any, Any, Store], str | None]:
    """The field has this value."""
    return lambda place, key, store: text


def missing(place: Any, key: Any, store: Store) -> str | None:
    """The field is missing."""
    return None


def twice(place: Any, key: Any, store: Store) -> str | None:
    """The field comes a second time, with another value."""
    other = {"id": '"file_other"', "size_bytes": "7", "downloadable": "true"}.get(str(key), '"other"')
    return f"{json.dumps(place[key])}, {json.dumps(str(key))}: {other}" if isinstance(place, dict) else None


def of_another(place: Any, key: Any, store: Store) -> str | None:
    """The field has the value that it has of another file."""
    mine = place.get("id") if isinstance(place, dict) else None
    records = [record for record in store.list(ListQuery(limit=100)).records if record.id != mine]
    # The oldest: it has been listed.
    return json.dumps(file_object(records[-1], Shape.GA).get(str(key))) if records else json.dumps("other")


def upper(place: Any, key: Any, store: Store) -> str | None:
    """The value in capitals, or negative."""
    value = place[key]
    return json.dumps(value.upper() if isinstance(value, str) else -1 if isinstance(value, int) else value)


def more(place: Any, key: Any, store: Store) -> str | None:
    """A little more than it was."""
    value = place[key]
    return json.dumps(f"{value}x" if isinstance(value, str) else value + 1 if isinstance(value, int) else value)


CHANGES: tuple[Callable[[Any, Any, Store], str | None], ...] = (missing, twice, of_another, upper, more)


@page
def _empty(page: Any, nth: int) -> Any:
    return page | {"data": []}


@page
def _empty_and_more_follows(page: Any, nth: int) -> Any:
    return page | {"data": [], "next_page": "page_1", "has_more": True}


@page
def _without_the_newest(page: Any, nth: int) -> Any:
    return page | {"data": page["data"][1:]}


@page
def _without_the_oldest(page: Any, nth: int) -> Any:
    return page | {"data": page["data"][:-1]}


@page
def _half(page: Any, nth: int) -> Any:
    return page | {"data": page["data"][: len(page["data"]) // 2]}


@page
def _each_file_twice(page: Any, nth: int) -> Any:
    return page | {"data": [file for file in page["data"] for _ in range(2)]}


@page
def _oldest_first(page: Any, nth: int) -> Any:
    return page | {"data": page["data"][::-1]}


@page
def _one_id_for_all(page: Any, nth: int) -> Any:
    return page | {"data": [file | {"id": "file_one"} for file in page["data"]]}


@page
def _one_name_for_all(page: Any, nth: int) -> Any:
    return page | {"data": [file | {"filename": "mine.txt"} for file in page["data"]]}


@page
def _ids_exchanged(page: Any, nth: int) -> Any:
    ids = [file["id"] for file in page["data"]]
    return page | {"data": [file | {"id": name} for file, name in zip(page["data"], ids[::-1], strict=True)]}


@page
def _names_exchanged(page: Any, nth: int) -> Any:
    names = [file["filename"] for file in page["data"]]
    return page | {"data": [f | {"filename": name} for f, name in zip(page["data"], names[::-1], strict=True)]}


@page
def _sizes_exchanged(page: Any, nth: int) -> Any:
    sizes = [file["size_bytes"] for file in page["data"]]
    return page | {"data": [f | {"size_bytes": size} for f, size in zip(page["data"], sizes[::-1], strict=True)]}


@page
def _all_expired(page: Any, nth: int) -> Any:
    return page | {"data": [file | {"expires_at": "2001-01-01T00:00:00Z"} for file in page["data"]]}


@page
def _all_downloadable(page: Any, nth: int) -> Any:
    return page | {"data": [file | {"downloadable": True} for file in page["data"]]}


@page
def _none_downloadable(page: Any, nth: int) -> Any:
    return page | {"data": [file | {"downloadable": False} for file in page["data"]]}


@page
def _all_empty_files(page: Any, nth: int) -> Any:
    return page | {"data": [file | {"size_bytes": 0} for file in page["data"]]}


@page
def _all_of_another_time(page: Any, nth: int) -> Any:
    return page | {"data": [file | {"created_at": "2099-01-01T00:00:00Z"} for file in page["data"]]}


@page
def _strangers_beside(page: Any, nth: int) -> Any:
    return page | {"data": [*page["data"], *_strangers(50)]}


@page
def _strangers_instead(page: Any, nth: int) -> Any:
    return page | {"data": _strangers(50)}


@page
def _strangers_below_our_files(page: Any, nth: int) -> Any:
    below = [_stranger(number, f"{file['filename']}／x") for number, file in enumerate(page["data"])]
    return page | {"data": [*below, *page["data"]]}


@page
def _a_full_page_of_strangers_for_ever(page: Any, nth: int) -> Any:
    beyond = [_stranger(nth * 100 + n, f"endless {nth} {n}") for n in range(100)]
    return page | {"data": beyond, "next_page": f"page_{nth}", "has_more": True, "last_id": beyond[-1]["id"]}


@page
def _cursor_repeats(page: Any, nth: int) -> Any:
    return page | {"next_page": "page_1", "has_more": True}


@page
def _of_the_other_shape(page: Any, nth: int) -> Any:
    last = page["data"][-1]["id"] if page["data"] else None
    return {"data": page["data"], "has_more": False, "first_id": None, "last_id": last}


@page
def _of_both_shapes(page: Any, nth: int) -> Any:
    return page | {"has_more": True, "first_id": "x", "last_id": "y"}


@page
def _of_neither_shape(page: Any, nth: int) -> Any:
    return {"data": page["data"]}


@page
def _a_bare_list(page: Any, nth: int) -> Any:
    return page["data"]


@page
def _a_file_object(page: Any, nth: int) -> Any:
    return page["data"][0] if page["data"] else {}


@page
def _an_error_with_200(page: Any, nth: int) -> Any:
    return {"type": "error", "error": {"type": "api_error", "message": "odd"}, "request_id": "req_odd"}


def _strangers(count: int) -> list[dict[str, Any]]:
    return [_stranger(number, f"stranger {number}") for number in range(count)]


def _stranger(number: int, filename: str) -> dict[str, Any]:
    return {
        "id": f"file_stranger{number}", "type": "file", "filename": filename, "mime_type": "text/plain",
        "size_bytes": 3, "created_at": "2026-10-01T00:00:00Z", "downloadable": True, "expires_at": None,
    }  # fmt: skip


def changes() -> Iterator[tuple[str, Callable[[Any, Any, Store], str | None]]]:
    """All that a field may become, each with its name."""
    for change in CHANGES:
        yield change.__name__.replace("_", " "), change
    for text in LITERALS:
        yield f"= {text[:40]}", literal(text)


@dataclass
class OddError(OddReply):
    """Refuse with this status, one field of the envelope being odd; nothing is carried out."""

    status: int
    path: Path
    change: Callable[[Any, Any, Store], str | None]

    async def __call__(self, call: Call) -> None:
        """Answer."""
        await call.read_request()
        error = _error_body(self.status)
        error["error"]["details"] = {"error_code": "odd"}
        body = spoiled(json.dumps(error).encode(), self.path, self.change, self.world.server.store)
        await call.reply(self.status, [(b"content-type", b"application/json")], body)
