"""A reader of SQLite files that takes the rows from every page that is not damaged. Pure: bytes in, rows out.

SQLite gives up a file whose header is overwritten, and a table at its first damaged page. But each page describes its
own rows, so the others can still be read:

    page     kind (1) · … · number of cells (2) · … │ offset of each cell (2 each) │ free │ cells
    cell     [left child (4)] [length] [rowid] record's start [first overflow page (4)]
    record   length of the header · a type for each column │ a value for each column

The format is that of "Database File Format" (sqlite.org/fileformat2.html), sections 1.5 to 2.1 and 4. A *varint* is a
number of one to nine bytes. A row does not say which table it belongs to: the caller tells them apart by their columns.

Every page is read, also one that the database had freed, so deleted rows may be among the result.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from os import SEEK_END
from typing import BinaryIO, NamedTuple

Value = int | float | str | bytes | None

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_PAGE_SIZES = tuple(1 << exponent for exponent in range(9, 17))
# The kinds of page that hold rows. Interior pages of tables (0x05) hold rowids only. A table WITHOUT ROWID is stored as
# an index, and an index has each row once, in an interior page or in a leaf.
_INDEX_INTERIOR, _TABLE_LEAF, _INDEX_LEAF = 0x02, 0x0D, 0x0A
# The number of bytes of the serial types 1 to 6, which are integers, by type.
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)
_WAL_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
# A chain of overflow pages that is longer than this is taken for damaged: it may be a circle.
_MOST_OVERFLOW_PAGES = 4096


class Row(NamedTuple):
    """The values of a row; `rowid` is its number in a table, None in an index or a table WITHOUT ROWID."""

    rowid: int | None
    values: tuple[Value, ...]


class Damaged(ValueError):
    """The bytes are not what the format demands at their place."""


def page_size(database: bytes, default: int) -> int:
    """Return the size of a page in bytes from the file's header, or `default` if the header is overwritten."""
    if not database.startswith(_MAGIC):
        return default
    (told,) = struct.unpack_from(">H", database, 16)
    # 65536 does not fit into the two bytes of the field; 1 stands for it.
    size = 65536 if told == 1 else told
    return size if size in _PAGE_SIZES else default


def newest_pages(database: bytes, log: bytes, size: int) -> dict[int, bytes]:
    """Return the pages by number, from 1. A page in the write-ahead log replaces the older one of the file.

    Every frame counts that was written since the log's last restart, also one behind a damaged frame.
    """
    # Rounded up: the last page may be cut short.
    count = -(-len(database) // size)
    pages = {number + 1: database[number * size : (number + 1) * size] for number in range(count)}
    # Each restart of the log puts new salts into its header. A frame with other salts is left from before the restart.
    salts = log[16:24]
    step = _FRAME_HEADER_BYTES + size
    for at in range(_WAL_HEADER_BYTES, len(log) - step + 1, step):
        (number,) = struct.unpack_from(">I", log, at)
        if log[at + 8 : at + 16] == salts and 0 < number < 1 << 31:
            pages[number] = log[at + _FRAME_HEADER_BYTES : at + step]
    return pages


def frames_of(log: bytes, size: int) -> int:
    """Return the number of frames up to the last commit in a write-ahead log, since its last restart.

    Checksums are not compared, so damaged frames are counted too.
    """
    salts, step, last = log[16:24], _FRAME_HEADER_BYTES + size, 0
    for number, at in enumerate(range(_WAL_HEADER_BYTES, len(log) - step + 1, step), start=1):
        # Only the last frame of a commit has the size of the database after it, in pages; the others have 0.
        (pages_after,) = struct.unpack_from(">I", log, at + 4)
        if log[at + 8 : at + 16] == salts and pages_after:
            last = number
    return last


def used_bytes(log: BinaryIO) -> int:
    """Return how many bytes of a write-ahead log were written since its last restart. Reads a few headers only.

    The file stays as long as it was; frames are written one after the other from its beginning.
    """
    header = log.read(_WAL_HEADER_BYTES)
    if len(header) < _WAL_HEADER_BYTES:
        return 0
    size = int.from_bytes(header[8:12], "big")
    step = _FRAME_HEADER_BYTES + size

    def is_older(number: int) -> bool:
        log.seek(_WAL_HEADER_BYTES + number * step)
        salts: bytes = log.read(_FRAME_HEADER_BYTES)[8:16]
        return salts != header[16:24]

    frames = range((log.seek(0, SEEK_END) - _WAL_HEADER_BYTES) // step)
    return _WAL_HEADER_BYTES + step * bisect_left(frames, True, key=is_older)


def rows_of(pages: Mapping[int, bytes]) -> Iterator[Row]:
    """Yield every row that can be read from any page. Malformed cells are skipped."""
    for number, page in pages.items():
        # The first page begins with the header of the file.
        start = _HEADER_BYTES if number == 1 else 0
        yield from _rows_of_page(page, start, pages)


def _rows_of_page(page: bytes, start: int, pages: Mapping[int, bytes]) -> Iterator[Row]:
    kind = page[start] if len(page) > start + 12 else 0
    if kind not in {_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR}:
        return
    # The header of a page: kind (1), first free block (2), number of cells (2), start of the cells (2), fragments (1);
    # in an interior page the right-most child (4) follows.
    (cells,) = struct.unpack_from(">H", page, start + 3)
    array = start + (12 if kind == _INDEX_INTERIOR else 8)
    for index in range(min(cells, (len(page) - array) // 2)):
        (at,) = struct.unpack_from(">H", page, array + 2 * index)
        # One malformed cell says nothing about the others: the page may be damaged in one place.
        try:
            yield _row(page, at, kind, pages.get)
        except (Damaged, IndexError, struct.error, UnicodeDecodeError):
            continue


def _row(page: bytes, at: int, kind: int, page_of: Callable[[int], bytes | None]) -> Row:
    rowid: int | None = None
    if kind == _INDEX_INTERIOR:
        at += 4  # the number of the left child page
    length, at = _varint(page, at)
    if kind == _TABLE_LEAF:
        rowid, at = _varint(page, at)
    return Row(rowid, _values(_payload(page, at, length, kind, page_of)))


def _payload(page: bytes, at: int, length: int, kind: int, page_of: Callable[[int], bytes | None]) -> bytes:
    """Return the bytes of a record. The end of a long one lies in overflow pages, each of which names the next.

    Raises Damaged if a part of it is missing.
    """
    # How much of a long record lies in its cell: `usable`, `most` and `least` are U, X and M in the section "B-tree
    # Pages" of the format. Our databases reserve no bytes at the end of a page, so all of it is usable.
    usable = len(page)
    most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    if length <= most:
        return _slice(page, at, length)
    least = (usable - 12) * 32 // 255 - 23
    here = least + (length - least) % (usable - 4)
    here = here if here <= most else least
    parts, left = [_slice(page, at, here)], length - here
    (following,) = struct.unpack_from(">I", page, at + here)
    for _ in range(_MOST_OVERFLOW_PAGES):
        if left <= 0:
            return b"".join(parts)
        overflow = page_of(following)
        if overflow is None:
            break
        parts.append(_slice(overflow, 4, min(left, usable - 4)))
        left -= len(parts[-1])
        (following,) = struct.unpack_from(">I", overflow)
    raise Damaged("the end of a row is missing")


def _values(record: bytes) -> tuple[Value, ...]:
    header_bytes, at = _varint(record, 0)
    if not 0 < header_bytes <= len(record):
        raise Damaged("a row has no header")
    kinds = []
    while at < header_bytes:
        kind, at = _varint(record, at)
        kinds.append(kind)
    values, at = [], header_bytes
    for kind in kinds:
        value, at = _value(record, at, kind)
        values.append(value)
    # The lengths have to add up exactly; rubbish that looks like a record by chance rarely does.
    if at != len(record):
        raise Damaged("a row is not as long as its header says")
    return tuple(values)


def _value(record: bytes, at: int, kind: int) -> tuple[Value, int]:
    """Return the value of serial type `kind` at `at`, and the place where it ends. Raises Damaged."""
    if kind == 0:
        return None, at
    if kind in {8, 9}:  # the integers 0 and 1, which take no bytes
        return kind - 8, at
    if kind == 7:
        return float(struct.unpack_from(">d", record, at)[0]), at + 8
    if kind < len(_INTEGER_BYTES):
        length = _INTEGER_BYTES[kind]
        return int.from_bytes(_slice(record, at, length), "big", signed=True), at + length
    if kind < 12:  # 10 and 11 are reserved
        raise Damaged("a value of no type")
    # Even types are blobs, odd ones are text; the length follows from the type.
    length = (kind - 12) // 2
    raw = _slice(record, at, length)
    return (raw.decode() if kind % 2 else raw), at + length


def _slice(data: bytes, at: int, length: int) -> bytes:
    piece = data[at : at + length]
    if at < 0 or length < 0 or len(piece) != length:
        raise Damaged("a value reaches past its page")
    return piece


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at `at`, and the place where it ends.

    Each byte but the ninth gives seven bits, the higher ones first; its top bit says whether another byte follows. The
    ninth gives eight bits. The result is a signed number of 64 bits.
    """
    value = 0
    for count in range(9):
        byte = data[at + count]
        is_ninth = count == 8
        value = value << 8 | byte if is_ninth else value << 7 | byte & 0x7F
        if byte < 0x80 or is_ninth:
            signed = value - (1 << 64) if value >= 1 << 63 else value
            return signed, at + count + 1
    raise AssertionError("nine bytes are always an end")
