"""Replies of a simulated service that cannot be: each is sent once, and must change nothing for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from remotefs.server.records import FileRecord
from tests.faults import Action, EditJson, Reply

_Entry = Mapping[str, Any]
_PAGE = b"<html><body>Please sign in.</body></html>"
_EDITS: dict[str, Callable[[_Entry], _Entry]] = {
    "the name of another": lambda entry: {**entry, "filename": "of another.txt"},
    "named otherwise": lambda entry: {**entry, "filename": "named otherwise.txt"},
    "dated in the year 9999": lambda entry: {**entry, "created_at": "9999-12-31T23:59:59Z"},
    "expired long ago": lambda entry: {**entry, "expires_at": "2001-01-01T00:00:00Z"},
}
NAMES = frozenset({*_EDITS, "the id of another", "nothing", "no bytes", "a page"})


def odd_reply(name: str, known: Callable[[], Sequence[FileRecord]]) -> Action:
    """Return the action of that name; `known` returns the files that all machines know when the reply goes out."""
    if name == "the id of another":
        return EditJson(lambda entry: _as_another(entry, known()) if "id" in entry else entry)
    if name == "nothing":
        return EditJson(lambda page: {**page, "data": []} if "data" in page else page)
    if name in {"no bytes", "a page"}:
        body = _PAGE if name == "a page" else b""
        return Reply(200, body, {"content-type": "text/html" if body else "application/octet-stream"})
    return EditJson(lambda reply: _first_changed(reply, _EDITS[name]))


def _as_another(entry: _Entry, known: Sequence[FileRecord]) -> _Entry:
    """Give the entry the id of a file with another name; leave it as it is where there is none."""
    other = next((record.id for record in known if record.filename != entry["filename"]), entry["id"])
    return {**entry, "id": other}


def _first_changed(reply: Any, edit: Callable[[_Entry], _Entry]) -> Any:
    """Change the only entry of a reply, or the first of a page; leave an error as it is."""
    if "data" in reply:
        return {**reply, "data": [edit(entry) if at == 0 else entry for at, entry in enumerate(reply["data"])]}
    return edit(reply) if "id" in reply else reply
