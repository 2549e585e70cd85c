"""Metadata and pages: hostile until checked."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.api.bounds import LATEST_NS, MOST_FILE_BYTES
from remotefs.api.models import (
    Account,
    Page,
    account_of,
    check_id,
    decode_deleted,
    decode_file,
    decode_page,
)
from remotefs.errors import InvalidArgument, ReplyBroken
from tests.api.support import wire_file


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_file_is_read_whole() -> None:
    file = decode_file(
        encoded(
            wire_file(
                downloadable=True, expires_at="2026-01-02T03:04:06+00:00", scope={"id": "sess_1", "type": "session"}
            )
        )
    )
    assert (file.id, file.filename, file.size_bytes, file.mime_type) == ("file_1", "a.txt", 5, "text/plain")
    assert file.created_ns == int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()) * 10**9 + 500_000_000
    assert file.expires_ns == file.created_ns + 500_000_000
    assert file.downloadable is True


def test_what_the_beta_shape_leaves_out_has_its_default() -> None:
    wire = wire_file()
    del wire["expires_at"], wire["downloadable"]
    file = decode_file(encoded(wire))
    assert (file.expires_ns, file.downloadable) == (None, False)


# What an entry cannot do without, and whether its id can still be read.
UNUSABLE: list[tuple[dict[str, Any], str | None]] = [
    ({"id": "../../etc/passwd"}, None), ({"id": ""}, None), ({"id": "a" * 201}, None), ({"id": "file_1\n"}, None),
    ({"id": "file_é"}, None), ({"id": None}, None), ({"id": 5}, None), ({"size_bytes": -1}, "file_1"),
    ({"size_bytes": "5"}, "file_1"), ({"size_bytes": 5.5}, "file_1"), ({"size_bytes": True}, "file_1"),
    ({"size_bytes": None}, "file_1"), ({"filename": ""}, "file_1"), ({"filename": None}, "file_1"),
    ({"filename": ["a"]}, "file_1"),
]  # fmt: skip
# What is only decoration, and what a file has in its place.
DECORATION: list[tuple[dict[str, Any], dict[str, Any]]] = [
    *[({"mime_type": odd}, {"mime_type": "application/octet-stream"})
      for odd in ("", "text/plain\r\nx: y", "t" * 256, None, 5, ["text/plain"], {"a": 1})],
    *[({"created_at": odd}, {"created_ns": 0})
      for odd in ("yesterday", "", None, True, [], "2026-13-45T99:99:99Z", "2026-01-02")],
    *[({"expires_at": odd}, {"expires_ns": None}) for odd in ("never", "", True, [], {}, "2026-13-45T99:99:99Z")],
    *[({"downloadable": odd}, {"downloadable": False}) for odd in ("yes", 1, [], "true", None)],
    ({"filename": "n" * 501}, {"filename": "n" * 500}), ({"filename": "a\ud800b"}, {"filename": "a?b"}),
    ({"scope": [[[]]]}, {}), ({"type": 5}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "file_id"), UNUSABLE)
def test_an_entry_without_what_a_file_needs_is_left_out_of_its_page(
    change: dict[str, Any], file_id: str | None
) -> None:
    """Not without a word: it is listed, and where not even its id can be read, nothing follows from the page (S4)."""
    body = encoded({"data": [wire_file("file_good"), wire_file() | change], "next_page": None})
    page = decode_page(body).page
    assert [file.id for file in page.files] == ["file_good"]
    assert [entry.id for entry in page.left_out] == [file_id]
    assert page.ids == ("file_good", *([file_id] if file_id else []))
    assert page.is_whole is (file_id is not None)
    with pytest.raises(ReplyBroken):
        decode_file(encoded(wire_file() | change))


@pytest.mark.parametrize("entry", [None, 5, "file_1", [], {}])
def test_an_entry_that_is_none_is_left_out_too(entry: Any) -> None:
    page = decode_page(encoded({"data": [entry, wire_file()], "next_page": None})).page
    assert ([file.id for file in page.files], page.is_whole) == (["file_1"], False)


@pytest.mark.parametrize(("change", "expected"), DECORATION)
def test_decoration_however_odd_keeps_no_entry_from_being_read(
    change: dict[str, Any], expected: dict[str, Any]
) -> None:
    plain = decode_file(encoded(wire_file()))
    page = decode_page(encoded({"data": [wire_file("file_good"), wire_file() | change], "next_page": None})).page
    assert page.files[1] == decode_file(encoded(wire_file() | change)) == msgspec.structs.replace(plain, **expected)
    assert (len(page.files), page.left_out) == (2, ())


@pytest.mark.parametrize("name", ["mime_type", "created_at", "expires_at", "downloadable", "type"])
def test_decoration_may_be_missing(name: str) -> None:
    wire = wire_file()
    del wire[name]
    assert decode_file(encoded(wire)).id == "file_1"
    assert len(decode_page(encoded({"data": [wire], "next_page": None})).page.files) == 1


def test_bytes_that_are_no_unicode_keep_no_page_from_being_read() -> None:
    body = encoded({"data": [wire_file("file_good"), wire_file(filename="@")], "next_page": None})
    assert [file.filename for file in decode_page(body.replace(b"@", b"\xff")).page.files] == ["a.txt", "\ufffd"]


@pytest.mark.parametrize(
    "text",
    ["2026-01-02T03:04:05.", "2026-01-02T03:04:05,5Z", "2026-01-02 03:04:05.5", "2026-01-02t03:04:05.500000000000001z",
     "2026-01-02T03:04:05.5+0000", "2026-01-02T04:04:05.5+01", "2026-01-02T03:04:05.5 Z"],
)  # fmt: skip
def test_a_time_that_is_nearly_in_the_form_of_times_is_read(text: str) -> None:
    plain = decode_file(encoded(wire_file())).created_ns
    assert decode_file(encoded(wire_file(created_at=text))).created_ns in (plain, plain - 500_000_000)


def test_files_of_an_unknown_time_do_not_end_a_page() -> None:
    assert not page_of(9, 0).ends_before(5)
    assert page_of(9, 4, 0).ends_before(5)
    assert not page_of(0, 0).ends_before(5)


def test_a_page_of_an_odd_entry_with_both_shapes_names_its_next_cursor() -> None:
    odd, bad = wire_file(mime_type=None), wire_file(filename=None)
    assert decode_page(encoded({"data": [odd], "next_page": "page_x"})).page.next_cursor == "page_x"
    beta = decode_page(encoded({"data": [odd], "has_more": True}))
    assert (beta.beta, beta.page.next_cursor) == (True, "file_1")
    with pytest.raises(ReplyBroken):
        decode_page(encoded({"data": [bad], "has_more": True}))


def test_a_page_of_millions_of_values_is_not_unfolded_in_memory() -> None:
    body = b'{"data": [' + b"[]," * 2_000_000 + b'[]], "next_page": null}'
    tracemalloc.start()
    try:
        with pytest.raises(ReplyBroken):
            decode_page(body)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"data": [',
        b"[]",
        b"null",
        b'{"data": null, "next_page": null}',
        b'{"data": []}',
        b'{"data": [], "has_more": true, "last_id": null}',
        b'{"data": [], "has_more": true, "last_id": "a/b"}',
        b'{"data": [], "next_page": "line\\nbreak"}',
        b'{"data": [], "next_page": ""}',
        b'{"data": [], "x": ' + b"[" * 100_000,
        b'\xff\xfe{"data": []}',
    ],
)
def test_what_is_no_page_is_broken(body: bytes) -> None:
    with pytest.raises(ReplyBroken):
        decode_page(body)


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(encoded)
)
def test_no_body_raises_anything_else(body: bytes) -> None:
    for decode in (decode_page, decode_file):
        with pytest.raises(ReplyBroken):
            decode(body)


@given(st.text(min_size=1, max_size=500), st.integers(0, MOST_FILE_BYTES), st.from_regex(r"\A[A-Za-z0-9_-]{1,200}\Z"))
def test_every_file_of_the_schema_is_read(name: str, size: int, file_id: str) -> None:
    file = decode_file(encoded(wire_file(file_id, filename=name, size_bytes=size)))
    assert (file.id, file.filename, file.size_bytes) == (file_id, name, size)


def test_times_that_no_clock_shows_stay_within_64_bits() -> None:
    assert decode_file(encoded(wire_file(created_at="0001-01-01T00:00:00Z"))).created_ns == 0
    assert decode_file(encoded(wire_file(expires_at="9999-12-31T23:59:59Z"))).expires_ns == LATEST_NS


def page_of(*created_ns: int) -> Page:
    files = (decode_file(encoded(wire_file(f"file_{n}"))) for n in range(len(created_ns)))
    return Page(tuple(msgspec.structs.replace(f, created_ns=ns) for f, ns in zip(files, created_ns, strict=True)), None)


def test_a_page_ends_where_its_last_files_were_made() -> None:
    assert page_of(9, 5).ends_before(6)
    assert not page_of(9, 5).ends_before(5)
    assert not page_of().ends_before(5)


def test_one_odd_time_at_its_end_does_not_end_a_long_page_early() -> None:
    for at in range(990, 1000):
        assert not page_of(*[9] * at, 0, *[9] * (999 - at)).ends_before(5)
    assert page_of(*[9] * 500, *[4] * 500).ends_before(5)


def test_pages_of_both_shapes_name_their_next_cursor() -> None:
    ga = decode_page(encoded({"data": [wire_file()], "next_page": "page_abc"}))
    assert (ga.beta, ga.page.next_cursor) == (False, "page_abc")
    beta = decode_page(encoded({"data": [wire_file()], "has_more": True, "first_id": "file_1", "last_id": "file_1"}))
    assert (beta.beta, beta.page.next_cursor) == (True, "file_1")
    last = decode_page(encoded({"data": [wire_file()], "has_more": False, "first_id": "file_1", "last_id": "file_1"}))
    assert last.page.next_cursor is None


def test_a_page_with_both_kinds_of_cursor_is_paged_by_page() -> None:
    both = decode_page(encoded({"data": [], "has_more": True, "last_id": "file_1", "next_page": "page_x"}))
    assert (both.beta, both.page.next_cursor) == (False, "page_x")


def test_an_answer_about_another_file_is_broken() -> None:
    with pytest.raises(ReplyBroken, match="file_2"):
        decode_file(encoded(wire_file("file_2")), expected_id="file_1")
    with pytest.raises(ReplyBroken, match="file_2"):
        decode_deleted(encoded({"id": "file_2"}), expected_id="file_1")


def test_an_id_that_is_none_is_the_callers_mistake() -> None:
    assert check_id("file_ok-1") == "file_ok-1"
    with pytest.raises(InvalidArgument):
        check_id("../x")


def test_the_account_is_what_replies_name() -> None:
    first = account_of({"anthropic-organization-id": "org-1", "anthropic-workspace-id": "ws-1"}, None)
    assert first == Account("org-1", "ws-1")
    assert account_of({}, first) == first
    assert account_of({"anthropic-organization-id": "org-1"}, first) == first
    assert account_of({"anthropic-organization-id": "org-2"}, first) == Account("org-2", None)
    assert account_of({"anthropic-workspace-id": "ws-2"}, first) == Account("org-1", "ws-2")
    assert account_of({"anthropic-organization-id": "\x1b[31m"}, first) == first
