from __future__ import annotations

import stat

import msgspec
import pytest
from hypothesis import given, settings

from remotefs.api.bounds import LATEST_NS, MOST_FILE_BYTES
from remotefs.data.share.records import (
    MOST_XATTR_BYTES,
    EntryRecord,
    FileRecord,
    KeyedRecord,
    canonical,
    check,
    entry_key,
    file_key,
    parse_key,
)
from tests.data.share.strategies import KEYED

FILE = FileRecord(0o644, 0, 0, 0, {}, 1, "0" * 32)
A_FILE, A_PATH = file_key("file_1"), entry_key("a/b")


def _changed(record: FileRecord | EntryRecord, **fields: object) -> FileRecord | EntryRecord:
    return msgspec.structs.replace(record, **fields)


def test_keys_are_read_back() -> None:
    assert parse_key(file_key("file_011CNha8iCJcU1wXNR6q4V8w")) == ("f", "file_011CNha8iCJcU1wXNR6q4V8w")
    assert parse_key(entry_key("a/b c/d")) == ("e", "a/b c/d")


@pytest.mark.parametrize(
    "key",
    [
        "", "f", "f/", "f/a/b", "f/../x", "f/a b", "f/" + "a" * 201, "f/a\n", "x/a", "F/a", "e", "e/", "e//a", "e/a/", "e/a//b",
        "e/.", "e/..", "e/a/../b", "e/./a", "e/a\0", "e/" + "ä" * 128, "e/" + "/".join(["a" * 250] * 17), "e/.remotefs",
        "e/.remotefs/control", "e/\ud800",
    ],
)  # fmt: skip
def test_a_key_that_could_lead_elsewhere_is_refused(key: str) -> None:
    with pytest.raises(ValueError):
        parse_key(key)


def test_a_path_may_be_as_long_as_the_kernel_takes_it() -> None:
    path = "/".join(["a" * 255] * 16)
    assert len(path) == 4095
    assert parse_key(entry_key(path)) == ("e", path)


@settings(max_examples=25)
@given(KEYED)
def test_what_can_be_is_taken(keyed: KeyedRecord) -> None:
    check(*keyed)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": 0o100644}, {"mode": -1}, {"uid": -1}, {"uid": 2**32 - 1}, {"gid": 2**32 - 1}, {"mtime_ns": 2**63},
        {"mtime_ns": -(2**63)}, {"size": -1}, {"size": MOST_FILE_BYTES + 1}, {"digest": ""}, {"digest": "0" * 31}, {"digest": "G" * 32},
        {"xattrs": {b"security.capability": b"x"}}, {"xattrs": {b"user.": b"x"}}, {"xattrs": {b"user.remotefs.pending_options": b"asked"}}, {"xattrs": {b"user.a\0b": b""}},
        {"xattrs": {b"user." + b"a" * 251: b""}}, {"xattrs": {b"user.a": bytes(MOST_XATTR_BYTES - 5)}},
        {"xattrs": {b"user.%d" % number: bytes(MOST_XATTR_BYTES // 4) for number in range(4)}},
        {"paths": ("a", "a")}, {"paths": ("../a",)}, {"paths": ("/a",)}, {"paths": (".remotefs/a",)}, {"paths": ("",)},
        {"paths": tuple(map(str, range(65_001)))},
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    check(A_FILE, 1, FILE)
    with pytest.raises(ValueError):
        check(A_FILE, 1, _changed(FILE, **fields))


def test_attributes_may_fill_their_room() -> None:
    check(A_FILE, 1, _changed(FILE, xattrs={b"user.a": bytes(MOST_XATTR_BYTES - 6)}))


@pytest.mark.parametrize(
    "record",
    [
        EntryRecord("dir", stat.S_IFDIR | 0o755), EntryRecord("dir", target=b"x"), EntryRecord("dir", rdev=1),
        EntryRecord("gone", target=b"x"), EntryRecord("gone", 0o20000), EntryRecord("dir", 0o200000),
        EntryRecord("symlink", 0o777), EntryRecord("symlink", 0o777, target=b""), EntryRecord("symlink", target=b"a\0b"),
        EntryRecord("symlink", target=b"a" * 4096), EntryRecord("symlink", stat.S_IFLNK | 0o777, target=b"x"),
        EntryRecord("node", 0o644), EntryRecord("node", stat.S_IFREG | 0o644), EntryRecord("node", stat.S_IFDIR | 0o755),
        EntryRecord("node", stat.S_IFLNK | 0o777), EntryRecord("node", stat.S_IFIFO, rdev=1), EntryRecord("node", stat.S_IFCHR, rdev=-1),
        EntryRecord("node", stat.S_IFCHR, rdev=2**32), EntryRecord("node", stat.S_IFIFO | 0o200000), EntryRecord("node", -1),
        EntryRecord("node", 2**64 | stat.S_IFIFO), EntryRecord("dir", -1),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_refused(record: EntryRecord) -> None:
    with pytest.raises(ValueError):
        check(A_PATH, 1, record)


@pytest.mark.parametrize("hlc", [0, -1, LATEST_NS + 1, 2**64])
def test_a_stamp_that_is_no_time_is_refused(hlc: int) -> None:
    with pytest.raises(ValueError):
        check(A_FILE, hlc, FILE)


def test_a_record_under_a_key_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ValueError):
        check(A_PATH, 1, FILE)
    with pytest.raises(ValueError):
        check(A_FILE, 1, EntryRecord("gone"))


def test_the_order_of_attributes_is_no_difference() -> None:
    one, other = {b"user.a": b"1", b"user.b": b"2"}, {b"user.b": b"2", b"user.a": b"1"}
    assert canonical(_changed(FILE, xattrs=one)) == canonical(_changed(FILE, xattrs=other))
    assert canonical(FILE) != canonical(_changed(FILE, xattrs=one))
