from __future__ import annotations

import json
import struct
import tracemalloc
import zlib

import msgspec
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs.data.share.records import EntryRecord, FileRecord, KeyedRecord
from remotefs.data.share.segments import (
    MOST_RECORDS,
    MOST_UNPACKED_BYTES,
    Name,
    Segment,
    decode,
    encode,
    parse_name,
)
from tests.data.share.strategies import KEYED
from tests.hostile import VALUES

WRITER = "ab" * 16
FILE = FileRecord(0o640, 1000, 1000, 5, {b"user.a": b"b"}, 3, None, ("a/b",))
SOME: tuple[KeyedRecord, ...] = (
    ("f/file_1", 10, FILE),
    ("e/a", 11, EntryRecord("dir", 0o755)),
    ("e/x", 12, EntryRecord("gone")),
)

NAMES = st.builds(Name, st.integers(0, 2**63 - 1), st.none() | st.integers(0, 999))


def _segment(records: tuple[KeyedRecord, ...] = SOME, sequence: int = 3) -> Segment:
    return Segment(writer=WRITER, name=Name(sequence), records=records)


def _sealed(packed: bytes) -> bytes:
    """A segment of any contents with a checksum that is right: what somebody with the rights to write can make."""
    body = zlib.compress(packed, 1)
    return b"rfrecord" + struct.pack("<Q", xxhash.xxh3_64_intdigest(body)) + body


def _wire(*lines: object, version: int = 1) -> bytes:
    pack = msgspec.msgpack.encode
    return _sealed(
        pack([version, WRITER, 3, False, [line if isinstance(line, bytes) else pack(line) for line in lines]])
    )


def _decode(data: bytes) -> tuple[Segment, list[str]]:
    return decode(data, writer=WRITER, name=Name(3))


@settings(max_examples=25)
@given(st.lists(KEYED, max_size=5).map(tuple), NAMES, st.integers(1, 1000))
def test_a_segment_is_read_as_it_was_written(records: tuple[KeyedRecord, ...], name: Name, parts: int) -> None:
    segment = Segment(writer=WRITER, name=name, records=records, parts=parts)
    assert decode(encode(segment), writer=WRITER, name=name) == (segment, [])


def test_each_flipped_bit_is_found() -> None:
    data = encode(_segment())
    for position in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(ValueError):
            _decode(bytes(damaged))


def test_a_truncated_segment_and_one_with_more_behind_it_are_refused() -> None:
    data = encode(_segment())
    for length in range(len(data)):
        with pytest.raises(ValueError):
            _decode(data[:length])
    with pytest.raises(ValueError):
        _decode(data + b"\0")


def test_truncated_and_followed_contents_are_refused_even_under_a_right_checksum() -> None:
    body = encode(_segment())[16:]
    for wrong in (body[:-1], body[: len(body) // 2], body + b"x", b""):
        with pytest.raises(ValueError, match="not valid"):
            _decode(b"rfrecord" + struct.pack("<Q", xxhash.xxh3_64_intdigest(wrong) or 1) + wrong)


@pytest.mark.parametrize(("writer", "sequence"), [("cd" * 16, 3), (WRITER, 4)])
def test_another_writers_segment_and_another_sequence_are_refused(writer: str, sequence: int) -> None:
    with pytest.raises(ValueError, match="it is the segment 3 of"):
        decode(encode(_segment()), writer=writer, name=Name(sequence))


@pytest.mark.parametrize(("is_of", "asked"), [(None, 0), (0, None), (0, 1), (2, 1)])
def test_a_part_in_place_of_another_is_refused(is_of: int | None, asked: int | None) -> None:
    segment = Segment(writer=WRITER, name=Name(3, is_of), records=SOME, parts=3)
    with pytest.raises(ValueError, match="another part"):
        decode(encode(segment), writer=WRITER, name=Name(3, asked))


def test_more_parts_than_any_snapshot_has_are_refused() -> None:
    segment = Segment(writer=WRITER, name=Name(3, 0), records=SOME, parts=1001)
    with pytest.raises(ValueError, match="another part"):
        decode(encode(segment), writer=WRITER, name=Name(3, 0))


def test_a_later_format_is_named_whatever_it_looks_like() -> None:
    with pytest.raises(ValueError, match="format 2"):
        _decode(_sealed(msgspec.msgpack.encode([2, {"all": "else"}])))


@pytest.mark.parametrize(
    "packed", [b"", b"\xc1", b"\x91\xff", b"\x95\x01\xa1\xff\x03\xc2\x90", b"\x92\x01" + b"\x91" * 100_000]
)
def test_contents_that_are_no_segment_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError):
        _decode(_sealed(packed))


def test_bad_records_are_passed_over_and_the_others_read() -> None:
    good = ["f/file_1", 10, FILE]
    bad = [
        ["e/../x", 10, EntryRecord("dir")], ["f/file_1", 10, EntryRecord("dir")], ["e/a", 10, FILE], ["f/file_1", "ten", FILE],
        ["f/file_1", 2**64 - 1, FILE], ["e/a", 10, ["pipe"]], ["e/a", 10, ["dir", 0, 0, 0, 0, {b"trusted.x": b""}]],
        ["e/a", 10, ["dir", 0, 0, 0, 0, {"user.x": b""}]], ["q/a", 10, []], ["e/a"], [], 7, b"\xc1", b"", b"\x93\xa1\xff\x01\x90",
        b"\x93\xa3e/a\x0a" + b"\x91" * 100_000,
    ]  # fmt: skip
    segment, reasons = _decode(_wire(good, *bad, ["e/a", 11, EntryRecord("dir", 0o755)]))
    assert [key for key, _, _ in segment.records] == ["f/file_1", "e/a"]
    assert len(reasons) == len(bad)
    assert all(len(reason) < 500 for reason in reasons)


def test_whatever_stands_in_place_of_a_field_is_read_or_passed_over() -> None:
    for literal in VALUES:
        value = json.loads(literal) if len(literal) < 4_000 else literal
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            continue
        for key, fields in (
            ("f/file_1", [0o640, 0, 0, 0, {}, 3, None, []]),
            ("e/a", ["dir", 0o755, 0, 0, 0, {}, None, 0]),
        ):
            for place in range(8):
                segment, reasons = _decode(_wire([key, 10, [*fields[:place], value, *fields[place + 1 :]]]))
                assert len(segment.records) + len(reasons) == 1
                encode(segment)


def test_fields_that_a_later_release_adds_are_passed_over() -> None:
    segment, reasons = _decode(_wire(["e/a", 11, ["dir", 0o755, 0, 0, 0, {}, None, 0, "news"], "more"]))
    assert (segment.records, reasons) == ((("e/a", 11, EntryRecord("dir", 0o755)),), [])


def test_releases_read_segments_of_each_other() -> None:
    """Fields at the end are optional for a later release, and passed over by an earlier one."""

    class Earlier(msgspec.Struct, array_like=True):
        format: int
        writer: str
        sequence: int
        is_snapshot: bool
        records: list[bytes]

    packed = zlib.decompress(encode(_segment())[16:])
    earlier = msgspec.msgpack.decode(packed, type=Earlier)
    assert (earlier.format, earlier.sequence, len(earlier.records)) == (1, 3, len(SOME))
    later = [*msgspec.msgpack.decode(packed), "news"]
    for wire in (msgspec.msgpack.encode(earlier), msgspec.msgpack.encode(later)):
        assert _decode(_sealed(wire)) == (_segment(), [])


def test_a_bomb_is_refused_and_takes_little_memory() -> None:
    nothing = _sealed(bytes(4 * MOST_UNPACKED_BYTES))
    many = _sealed(
        b"\x95\x01\xd9\x20"
        + WRITER.encode()
        + b"\x03\xc2\xdd"
        + struct.pack(">I", 60_000_000)
        + b"\xc4\x00" * 30_000_000
    )
    for bomb in (nothing, many):
        tracemalloc.start()
        with pytest.raises(ValueError):
            _decode(bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2.5 * MOST_UNPACKED_BYTES


def test_more_than_readers_take_is_not_written() -> None:
    with pytest.raises(ValueError, match="too many"):
        encode(_segment(SOME[1:2] * (MOST_RECORDS + 1)))
    large = FileRecord(0, 0, 0, 0, {b"user.a": bytes(65_000)}, 0, None)
    with pytest.raises(ValueError, match="too many"):
        encode(_segment((("f/file_1", 1, large),) * 1_100))


@given(NAMES, NAMES)
def test_names_are_read_back_and_sort_by_sequence(name: Name, other: Name) -> None:
    assert parse_name(str(name)) == name
    if name.sequence < other.sequence:
        assert str(name) < str(other)


def test_a_snapshot_comes_after_its_segment_and_before_the_next() -> None:
    names = [str(name) for name in (Name(7), Name(7, 0), Name(7, 1), Name(7, 999), Name(8))]
    assert names == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        "", "1", "0" * 15, "0" * 17, "f" * 16, "000000000000000A", "0" * 16 + ".t", "0" * 16 + "\n", ".s",
        "0" * 16 + ".s0", "0" * 16 + ".s01", "0" * 16 + ".s1000", "0" * 16 + ".s-1", "0" * 16 + ".s\n",
    ],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a segment"):
        parse_name(name)
