"""The parts of an upload that are pure: the form, the MIME guess, the meaning of an error after all was sent."""

from __future__ import annotations

import re
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser

from remotefs.api.mime import HEAD_BYTES, guess_mime_type, is_same_type, parse_mime_type, type_of
from remotefs.api.multipart import upload_form
from remotefs.api.upload import BytesSource, FileSource, after_all_sent
from remotefs.config import TextType
from remotefs.errors import (
    AmbiguousOutcome,
    BadName,
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    LocalError,
    Overloaded,
    RateLimited,
    RefusedError,
    ReplyBroken,
    ServerFailure,
    TransportError,
)

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


def parsed(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    """(disposition, content) of each part, by an independent parser."""
    parts: list[tuple[str, bytes]] = []
    value, content = bytearray(), bytearray()
    headers: list[str] = []

    def end_header() -> None:
        headers.append(value.decode())
        value.clear()

    def end_part() -> None:
        parts.append((headers[0], bytes(content)))
        headers.clear()
        content.clear()

    callbacks: MultipartCallbacks = {
        "on_header_value": lambda data, start, end: value.extend(data[start:end]),
        "on_header_end": end_header,
        "on_part_data": lambda data, start, end: content.extend(data[start:end]),
        "on_part_end": end_part,
    }
    parser = MultipartParser(boundary, callbacks)
    parser.write(body)
    parser.finalize()
    return parts


@given(st.text(min_size=1, max_size=60), st.binary(max_size=500), st.none() | st.integers(3600, 7776000))
def test_a_parser_gets_back_what_was_put_in(name: str, content: bytes, expires: int | None) -> None:
    form = upload_form(name, "text/plain", "b" * 32, expires)
    parts = parsed(form.prefix + content + form.suffix, "b" * 32)
    escaped = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    assert parts[-1] == (f'form-data; name="file"; filename="{escaped}"', content)
    assert [part[1] for part in parts[:-1]] == ([] if expires is None else [str(expires).encode()])


def test_the_filename_travels_as_raw_utf_8() -> None:
    form = upload_form('grüße "a".txt', "text/plain", "b")
    assert 'filename="grüße %22a%22.txt"'.encode() in form.prefix
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {form.content_type}\r\n\r\n".encode())
    assert message.get_boundary() == "b"


@pytest.mark.parametrize("mime_type", ["", "text", "text/plain\r\nX: y", "te xt/plain", "text/plain;", "a/b\x00"])
def test_a_mime_type_cannot_break_out_of_its_header(mime_type: str) -> None:
    with pytest.raises(InvalidArgument):
        upload_form("a", mime_type, "b")


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(BadName):
        upload_form("a\udcff", "text/plain", "b")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("notes.md", "text/markdown"),
        ("a/b/REPORT.PDF", "application/pdf"),
        ("data.csv", "text/csv"),
        ("data.jsonl", "application/jsonl"),
        ("table.parquet", "application/vnd.apache.parquet"),
        ("sheet.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("photo.JPEG", "image/jpeg"),
        ("script.py", "text/x-python"),
        ("conf.yaml", "application/yaml"),
        ("module.ts", "text/x-typescript"),
        ("backup.tar.gz", "application/gzip"),
        ("backup.tar.bz2", "application/x-bzip2"),
        ("backup.tgz", "application/gzip"),
        ("Makefile", "text/plain"),
        ("src/LICENSE", "text/plain"),
        (".gitignore", "application/octet-stream"),
        (".env", "text/plain"),
        ("core", "application/octet-stream"),
        ("x.unheardof", "application/octet-stream"),
        ("trailing.", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_mime_type_is_guessed_by_the_name(name: str, expected: str) -> None:
    assert guess_mime_type(name) == expected


@given(st.text(max_size=300))
def test_any_name_has_a_mime_type_that_can_be_sent(name: str) -> None:
    assert re.fullmatch(r"[a-z]+/[!-~]+", guess_mime_type(name))
    upload_form("a", guess_mime_type(name), "b")


_SPREAD = ("é" * HEAD_BYTES).encode()  # two bytes each: an odd start lets the end of the head cut one


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("notes.md", b"# Title\n", "text/plain"),
        ("table.csv", b"a,b\n1,2\n", "text/plain"),
        ("data.json", b"{}", "text/plain"),
        ("book.ipynb", b"{}", "text/plain"),
        ("run.py", "print('\u00fc')".encode(), "text/plain"),
        ("query.sql", b"SELECT 1", "text/plain"),
        ("page.html", b"<p>", "text/plain"),
        ("picture.svg", b"<svg/>", "text/plain"),
        ("README", b"text", "text/plain"),
        ("no extension", b"text", "text/plain"),
        ("data.bin", b"text all the same", "text/plain"),
        ("empty.md", b"", "text/plain"),
        ("bom.csv", "\ufeffa,b".encode(), "text/plain"),
        ("long.md", _SPREAD[:HEAD_BYTES], "text/plain"),
        ("long.md", b"a" + _SPREAD[: HEAD_BYTES - 1], "text/plain"),
        # A character that the end of the file itself cuts is none.
        ("short.md", b"a\xc3", "text/markdown"),
        ("nul.csv", b"a\0b", "text/csv"),
        ("latin.csv", "gr\u00fcn".encode("latin-1"), "text/csv"),
        ("wide.csv", "a,b".encode("utf-16"), "text/csv"),
        ("wide.txt", "text".encode("utf-16"), "application/octet-stream"),
        ("wide.txt", "\u4f60\u597d".encode("utf-16"), "application/octet-stream"),
        ("server.log", b"\x1f\x8b\x08", "application/octet-stream"),
        ("blob", b"\0\1", "application/octet-stream"),
        # What a block takes by itself keeps the type of its name, whatever its bytes are.
        ("paper.pdf", b"%PDF-1.7 text", "application/pdf"),
        ("photo.jpg", b"not a picture", "image/jpeg"),
        ("a.png", b"\x89PNG", "image/png"),
        ("a.gif", b"GIF89a", "image/gif"),
        ("a.webp", b"RIFF", "image/webp"),
    ],
)
def test_m1_text_is_text_plain_unless_its_name_suggests_what_a_block_takes(
    name: str, head: bytes, expected: str
) -> None:
    assert type_of(name, head, "plain") == expected


@pytest.mark.parametrize(("name", "head"), [("a.md", b"text"), ("a.txt", b"\xff\xfe"), ("blob", b"text")])
def test_m1_exact_goes_by_the_name_alone(name: str, head: bytes) -> None:
    assert type_of(name, head, "exact") == guess_mime_type(name)


@pytest.mark.parametrize("setting", ["plain", "exact"])
def test_m1_the_type_that_a_user_chose_wins(setting: TextType) -> None:
    assert type_of("a.pdf", b"text", setting, "text/csv") == "text/csv"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text/csv", "text/csv"),
        (" Text/CSV \n", "text/csv"),
        ("text/plain; charset=UTF-8", "text/plain; charset=UTF-8"),
        ('a/b;x="y"', 'a/b;x="y"'),
        ("application/vnd.ms-excel+x", "application/vnd.ms-excel+x"),
    ],
)
def test_a_mime_type_as_a_person_writes_it(text: str, expected: str) -> None:
    assert parse_mime_type(text) == expected
    upload_form("a", expected, "b")


@pytest.mark.parametrize(
    ("wanted", "stored", "expected"),
    [
        ("text/plain", "Text/Plain; charset=utf-8", True),
        ("text/plain; charset=utf-8", "text/plain;charset=UTF-8", True),
        ("text/plain; charset=utf-8", "text/plain", False),
        ("text/plain", "text/csv", False),
        ("text/plain", "", False),
    ],
)
def test_a_service_may_add_a_parameter_to_a_type(wanted: str, stored: str, *, expected: bool) -> None:
    assert is_same_type(wanted, stored) is expected


@pytest.mark.parametrize(
    "text",
    ["", "text", "/plain", "text/", "text/plain text", "text/plain; charset", "te\nxt/plain", "t/\u00e9", "a/b/c",
     "a/b\r\nX: y", "a/" + "b" * 128, "a/b" + "; x=y" * 60],
)  # fmt: skip
def test_what_is_not_a_mime_type(text: str) -> None:
    with pytest.raises(ValueError, match="is not a MIME type"):
        parse_mime_type(text)


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("no", status=400),
        Conflict("no", status=409),
        RateLimited("no", status=429),
        Overloaded("no", status=503),
    ],
)
def test_a_definite_refusal_stays_one(error: RefusedError) -> None:
    assert after_all_sent(error) is error


@pytest.mark.parametrize(
    "error",
    [
        ServerFailure("no", status=500, request_id="req_1"),
        ServerFailure("no", status=502),
        ServerFailure("no", status=504),
        RefusedError("no", status=408),
        ReplyBroken("half"),
        DeadlineExceeded("late"),
    ],
)
def test_anything_else_is_ambiguous(error: RefusedError | TransportError) -> None:
    after = after_all_sent(error)

    assert isinstance(after, AmbiguousOutcome)
    assert after.request_id == error.request_id


async def content_of(source: FileSource | BytesSource) -> bytes:
    return b"".join([piece async for piece in source.pieces()])


async def test_sources_give_their_bytes_more_than_once(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    path = tmp_path / "a"
    path.write_bytes(content + b"later")
    for source in (FileSource(path, len(content), "a/b"), BytesSource(content)):
        assert source.size_bytes == len(content)
        assert [await content_of(source), await content_of(source)] == [content, content]


async def test_a_file_that_is_short_or_gone_is_a_local_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12")
    with pytest.raises(LocalError, match="3 bytes"):
        await content_of(FileSource(path, 3, "a/b"))
    with pytest.raises(LocalError, match="cannot be read"):
        await content_of(FileSource(tmp_path / "none", 3, "a/b"))
