"""A parser that turns multipart/form-data into events, piece by piece as the body arrives. Pure.

    pieces of the body ─► PartBegin ─► PartData ─► PartData … ─► PartBegin ─► … ─► FormEnd

The bytes of a file are not copied: a PartData holds a view of the piece that was fed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from remotefs.server.errors import bad_request

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# A parameter of a header. A quoted value may hold anything; a backslash quotes a quotation mark or another backslash.
# The parser of python-multipart is not used for it: it cuts a filename that looks like a Windows path to its last part,
# and this server has to refuse the backslash.
_PARAMETER = re.compile(r""";\s*([\w!#$%&'+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))""", re.DOTALL)
_QUOTED = re.compile(r'\\(["\\])')


@dataclass(frozen=True, slots=True)
class PartBegin:
    """The headers of a part are complete."""

    name: str | None
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class PartData:
    """Some bytes of the part that began last."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class FormEnd:
    """The closing boundary was seen."""


Event = PartBegin | PartData | FormEnd


class FormReader:
    """Turns the pieces of one body into events.

    Raises ApiError (400) when `content_type` is not multipart/form-data with a boundary.
    """

    def __init__(self, content_type: str) -> None:
        kind, parameters = header_parameters(content_type)
        if kind != "multipart/form-data" or not parameters.get("boundary"):
            raise bad_request("The body has to be multipart/form-data with a boundary")
        self._events: list[Event] = []
        self._headers: dict[bytes, bytearray] = {}
        self._name = bytearray()
        self._value = bytearray()
        try:
            self._parser = MultipartParser(parameters["boundary"], self._callbacks())
        except FormParserError as error:
            raise bad_request(f"The multipart boundary cannot be used: {error}") from error

    def feed(self, piece: bytes) -> Sequence[Event]:
        """Return the events that `piece` completes. Raises ApiError (400) for a malformed body."""
        self._events = []
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise bad_request(f"The multipart body is malformed: {error}") from error
        return self._events

    def _callbacks(self) -> MultipartCallbacks:
        # The parser may deliver a header's name or value in several pieces, cut where the body was cut.
        return {
            "on_part_begin": self._headers.clear,
            "on_part_data": self._on_data,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_end": lambda: self._events.append(FormEnd()),
        }

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartData(memoryview(data)[start:end]))

    def _on_header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = self._value
        self._name = bytearray()
        self._value = bytearray()

    def _on_headers(self) -> None:
        _, parameters = header_parameters(_text(self._headers.get(b"content-disposition", bytearray())))
        kind = _text(self._headers.get(b"content-type", bytearray())).strip()
        self._events.append(PartBegin(parameters.get("name"), parameters.get("filename"), kind or None))


def header_parameters(header: str) -> tuple[str, Mapping[str, str]]:
    """Return the value and the parameters of a header: ("form-data", {"name": "x"}) for `form-data; name="x"`.

    Names of parameters and the value are in lower case. A later parameter replaces an earlier one of its name.
    """
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(header):
        quoted: Any = match[2]
        found[match[1].lower()] = match[3] if quoted is None else _QUOTED.sub(r"\1", quoted)
    return header.partition(";")[0].strip().lower(), found


def _text(raw: bytearray) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise bad_request("The headers of a part have to be UTF-8") from error
