"""The segments of a machine's log: their bytes and their names. Pure.

    magic   xxh3-64 of the rest, little-endian   zlib of msgpack: format, writer, sequence, is a snapshot, records,
    8       8                                    part, parts

Each record is a piece of msgpack in a byte string of its own. So one that is damaged, hostile, or of a kind that a
later release brings, is passed over, and the others of its segment are read.

    <sequence as 16 hex digits>        a segment
    <sequence as 16 hex digits>.s      a snapshot: it stands for all segments of the machine up to that one
    <sequence as 16 hex digits>.s1 …   its further parts

The first part of a snapshot says how many there are. It is put last, so where it is the others are, too.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Annotated, NamedTuple

import msgspec

from remotefs.data.content.chunks import checksum
from remotefs.data.share.records import EntryRecord, FileRecord, KeyedRecord, check, parse_key

FORMAT = 1
MOST_RECORDS = 200_000
MOST_UNPACKED_BYTES = 64 << 20
# As SQLite counts.
MOST_SEQUENCE = 2**63 - 1
_HEAD = struct.Struct("<8sQ")
_MAGIC = b"rfrecord"
_WRITER = re.compile(r"[0-9a-f]{32}")
# More parts than any snapshot has; readers take no more.
MOST_PARTS = 1000
_NAME = re.compile(r"([0-9a-f]{16})(?:\.s([1-9][0-9]{0,2})?)?")
# Names in the reasons are cut to this many characters.
_SHOWN = 80
# The length of the name of a segment.
_PLAIN = 16


class Name(NamedTuple):
    """The name of an object in the folder of a writer: a segment (`part` is None), or a part of a snapshot."""

    sequence: int
    part: int | None = None

    def __str__(self) -> str:
        assert 0 <= self.sequence <= MOST_SEQUENCE
        kind = "" if self.part is None else f".s{self.part or ''}"
        return f"{self.sequence:016x}{kind}"


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The records in an object of the machine `writer` (32 hex digits); `parts` counts those of its snapshot."""

    writer: str
    name: Name
    records: tuple[KeyedRecord, ...]
    parts: int = 1


class _Format(msgspec.Struct, array_like=True):
    format: int


class _Wire(msgspec.Struct, array_like=True):
    format: int
    writer: str
    sequence: int
    is_snapshot: bool
    # msgspec compares the length before it makes the list.
    records: Annotated[list[bytes], msgspec.Meta(max_length=MOST_RECORDS)]
    part: int = 0
    parts: int = 1


class _Key(msgspec.Struct, array_like=True):
    key: str


class _File(msgspec.Struct, array_like=True):
    key: str
    hlc: int
    record: FileRecord


class _Entry(msgspec.Struct, array_like=True):
    key: str
    hlc: int
    record: EntryRecord


_decode_format = msgspec.msgpack.Decoder(_Format).decode
_decode_wire = msgspec.msgpack.Decoder(_Wire).decode
_decode_key = msgspec.msgpack.Decoder(_Key).decode
_decode_file = msgspec.msgpack.Decoder(_File).decode
_decode_entry = msgspec.msgpack.Decoder(_Entry).decode
_encode = msgspec.msgpack.Encoder().encode


def parse_name(name: str) -> Name:
    """Return a name. Raises ValueError for one that no object in the folder of a writer has."""
    match = _NAME.fullmatch(name)
    if match is None or (sequence := int(match[1], 16)) > MOST_SEQUENCE:
        raise ValueError(f"{name[:_SHOWN]!r} is not the name of a segment")
    return Name(sequence, None if len(name) == _PLAIN else int(match[2] or 0))


def is_writer(name: str) -> bool:
    """Return whether a name is the id of a machine that has a log."""
    return _WRITER.fullmatch(name) is not None


def encode(segment: Segment) -> bytes:
    """Return the bytes of a segment. Raises ValueError when it has more than readers take.

    The caller has checked each record (`records.check`): readers pass over one that cannot be.
    """
    lines = [_encode(line) for line in segment.records]
    return encode_lines(lines, writer=segment.writer, name=segment.name, parts=segment.parts)


def encode_lines(lines: list[bytes], *, writer: str, name: Name, parts: int = 1) -> bytes:
    """Return the bytes of a segment of lines, each of them made by `line_of`. Raises ValueError as `encode` does."""
    assert _WRITER.fullmatch(writer)
    packed = _encode(_Wire(FORMAT, writer, name.sequence, name.part is not None, lines, name.part or 0, parts))
    if len(lines) > MOST_RECORDS or len(packed) > MOST_UNPACKED_BYTES:
        raise ValueError(f"{len(lines)} records of {len(packed)} bytes are too many for one segment")
    body = zlib.compress(packed)
    return _HEAD.pack(_MAGIC, checksum(body)) + body


def line_of(key: str, hlc: int, record: bytes) -> bytes:
    """Return a keyed record as it stands in a segment, of the msgpack of its record."""
    return _encode((key, hlc, msgspec.Raw(record)))


def decode(data: bytes, *, writer: str, name: Name) -> tuple[Segment, list[str]]:
    """Return a segment with the records that can be used, and the reasons why others cannot.

    Raises ValueError when the bytes are damaged, are another object than that `name` of `writer`, or come from a later
    release.
    """
    packed = _unpack(_body(data))
    try:
        if (found := _decode_format(packed).format) != FORMAT:
            raise ValueError(f"the segment has the format {found}; this release of remotefs reads {FORMAT}")
        wire = _decode_wire(packed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the segment is not valid: {error}") from None
    if (wire.writer, wire.sequence) != (writer, name.sequence):
        raise ValueError(f"it is the segment {wire.sequence} of {wire.writer[:_SHOWN]!r}")
    if (wire.is_snapshot, wire.part) != (name.part is not None, name.part or 0) or wire.parts > MOST_PARTS:
        raise ValueError("it is another part of the log than its name says")
    records, reasons = _sorted_out(wire.records)
    return Segment(writer=writer, name=name, records=records, parts=wire.parts), reasons


def _body(data: bytes) -> bytes:
    """Return the bytes that the checksum of a segment covers. Raises ValueError when they do not match."""
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise ValueError("it is not a segment")
    body = data[_HEAD.size :]
    if _HEAD.unpack_from(data)[1] != checksum(body):
        raise ValueError("the segment is damaged")
    return body


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        packed = unpacker.decompress(body, MOST_UNPACKED_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"the segment is not valid: {error}") from None
    if len(packed) > MOST_UNPACKED_BYTES:
        raise ValueError(f"the segment unpacks to more than {MOST_UNPACKED_BYTES} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("the segment is not valid: its end is missing, or something follows it")
    return packed


def _sorted_out(lines: list[bytes]) -> tuple[tuple[KeyedRecord, ...], list[str]]:
    """Return the records that can be used, and for each other one its key and the reason."""
    records: list[KeyedRecord] = []
    reasons: list[str] = []
    for line in lines:
        key = "?"
        try:
            key = _decode_key(line).key
            records.append(_record(line, key))
        except (ValueError, RecursionError) as error:
            reasons.append(f"the record of {key[:_SHOWN]!r} is passed over: {error}")
    return tuple(records), reasons


def _record(line: bytes, key: str) -> KeyedRecord:
    read = _decode_file(line) if parse_key(key)[0] == "f" else _decode_entry(line)
    check(read.key, read.hlc, read.record)
    return read.key, read.hlc, read.record
