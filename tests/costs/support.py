"""Reading docs/requests.md and the server's log."""

from __future__ import annotations

from tests.docs.support import DOCS, rows, sections
from tests.server_process import ServerProcess


def published(heading: str) -> dict[str, tuple[float, ...]]:
    """The tables below a heading of the document: figures by what stands in the first cell."""
    text = sections((DOCS / "requests.md").read_text(encoding="utf-8"), 2)[heading]
    table = {name: tuple(map(float, figures)) for name, *figures in rows(text)}
    assert len(table) == len(rows(text)), "a row stands there twice"
    return table


def listing_times(server: ServerProcess) -> list[float]:
    """When the server answered listings, in seconds."""
    return [float(str(request["time"])) for request in server.requests() if request["op"] == "list"]
