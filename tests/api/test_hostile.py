"""Whatever stands in the place of a number, a time or a header: a sane figure comes in, or the reply is broken.

Every field and every header that `remotefs.api` reads is tried, the new ones too: fields are taken from the decoders'
own structs, headers from the sources.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from remotefs.api import bounds, models
from remotefs.api.budget import Budget
from remotefs.api.download import span_of
from remotefs.api.models import FileMetadata, account_of, decode_file, decode_page
from remotefs.api.refusals import refusal
from remotefs.api.retry import read_hints
from remotefs.errors import ReplyBroken
from tests.api.support import wire_file
from tests.hostile import FIGURES, VALUES, as_json, with_literal

API = Path(models.__file__).parent
# How each header that is read gets in; `test_every_header_that_is_read_is_tried` finds one that is missing here.
HEADERS = {
    "retry-after": "wait", "retry-after-ms": "wait", "x-should-retry": "wait",
    "anthropic-ratelimit-requests-limit": "rate", "anthropic-ratelimit-requests-remaining": "rate",
    "content-length": "span", "content-range": "span", "content-encoding": "span", "accept-ranges": "span",
    "anthropic-organization-id": "account", "anthropic-workspace-id": "account",
    "date": "clock", "request-id": "text", "content-type": "text", "location": "text",
}  # fmt: skip


def headers_of(kind: str) -> list[str]:
    return [name for name, how in HEADERS.items() if how == kind]


def read_headers() -> Iterator[str]:
    """Every header that the sources of the client ask a reply for; `probe`, which only shows them, left out."""
    for source in API.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and source.name != "probe.py" and _is_header_get(node):
                assert isinstance(node.args[0], ast.Constant)
                yield str(node.args[0].value)


def _is_header_get(node: ast.Call) -> bool:
    return (
        isinstance(node.func, ast.Attribute) and node.func.attr == "get" and "headers" in ast.unparse(node.func.value)
    )


def test_every_header_that_is_read_is_tried() -> None:
    assert set(read_headers()) == set(HEADERS)


# -- fields


def is_sane(file: FileMetadata) -> bool:
    """Whether every figure of a file can be stored, added to and shown, whatever fields it may have."""
    figures = {name: value for name, value in msgspec.structs.asdict(file).items() if isinstance(value, int)}
    figures.pop("downloadable")
    assert set(figures) >= {"size_bytes", "created_ns"}
    times = {name: value for name, value in figures.items() if name.endswith("_ns")}
    counts = {name: value for name, value in figures.items() if name not in times}
    return all(0 <= value <= bounds.LATEST_NS for value in times.values()) and all(
        0 <= value <= bounds.MOST_FILE_BYTES for value in counts.values()
    )


@pytest.mark.parametrize("field", models._WireFile.__struct_fields__)
def test_a_field_is_sane_or_its_reply_is_broken(field: str) -> None:
    for literal in VALUES:
        body = with_literal(wire_file(), field, literal)
        for decode in (
            decode_file,
            lambda body: decode_page(b'{"data": [%s], "next_page": null}' % body).page.files[0],
        ):
            with suppress(ReplyBroken, IndexError):  # an entry may be left out
                assert is_sane(decode(body)), literal


def test_a_field_that_no_struct_has_is_no_field() -> None:
    """The wire's structs are all tried: their numbers and times are those of a file."""
    structs = {
        name for name, value in vars(models).items() if isinstance(value, type) and name.startswith(("_Wire", "_Loose"))
    }
    assert structs == {"_WireFile", "_WirePage", "_LoosePage", "_WireDeleted"}


@pytest.mark.parametrize("literal", [
    "99999999999", "253402300800", "0", "1e300", "-1", *map(as_json, (
        "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "99999-12-31T23:59:59Z", "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z", "2262-04-12T00:00:00Z", "2026-06-30T23:59:60Z", "9999-12-31T23:59:59-23:59",
        "99999999999", "+275760-09-13T00:00:00Z",
    )),
])  # fmt: skip
@pytest.mark.parametrize("field", ["created_at", "expires_at"])
def test_a_time_that_no_clock_shows_breaks_no_page(field: str, literal: str) -> None:
    """One entry like that would keep every poll and every reply to an upload from being read."""
    assert is_sane(decode_file(with_literal(wire_file(), field, literal)))


@pytest.mark.parametrize("literal", ["9223372036854775807", "9223372036854775808", "1" + "0" * 30])
def test_a_size_that_no_disk_holds_breaks_no_page(literal: str) -> None:
    assert decode_file(with_literal(wire_file(), "size_bytes", literal)).size_bytes == bounds.MOST_FILE_BYTES


@pytest.mark.parametrize("literal", ["-1", "5.5", "true", "null", '"5"', "[]"])
def test_a_size_that_is_none_is_never_taken_for_empty(literal: str) -> None:
    with pytest.raises(ReplyBroken):
        decode_file(with_literal(wire_file(), "size_bytes", literal))


def test_far_away_times_keep_their_order_with_the_others() -> None:
    def created(text: str) -> int:
        return decode_file(with_literal(wire_file(), "created_at", as_json(text))).created_ns

    assert created("0000-01-01T00:00:00Z") == 0 < created("2026-06-30T23:59:60Z") < created("99999-01-01T00:00:00Z")
    assert created("2026-06-30T23:59:60Z") <= created("2026-07-01T00:00:00Z")


def test_seconds_since_the_epoch_are_a_time() -> None:
    """Gateways that speak other services' shapes write them."""
    for literal in ("1767323045.5", '"1767323045.5"'):
        assert decode_file(with_literal(wire_file(), "created_at", literal)) == decode_file(
            with_literal(wire_file(), "created_at", as_json("2026-01-02T03:04:05.5Z"))
        )


# -- headers


@pytest.mark.parametrize("name", headers_of("wait"))
def test_a_wait_is_one_that_somebody_may_be_kept_for(name: str) -> None:
    for text in FIGURES:
        after_s = read_hints({name: text}, time.time()).after_s
        assert after_s is None or 0 <= after_s <= bounds.LONGEST_WAIT_S, text
        error = refusal(429, {name: text}, b"", action="listing", credential="")
        assert error.retry_after_s is None or 0 <= error.retry_after_s <= bounds.LONGEST_WAIT_S


@pytest.mark.parametrize("name", headers_of("rate"))
async def test_a_rate_leaves_a_pace_that_ends(name: str) -> None:
    for text in FIGURES:
        budget = Budget(500)
        budget.on_reply({name: text})
        limit = budget.limit_per_minute
        assert limit is not None
        assert 1 <= limit <= bounds.MOST_REQUESTS_PER_MINUTE, text
        assert budget.pace_s(1) <= 60, text


@pytest.mark.parametrize("name", headers_of("span"))
@pytest.mark.parametrize("status", [200, 206])
def test_a_length_is_one_that_a_file_can_have(name: str, status: int) -> None:
    ranges = [f"bytes {a}-{b}/{c}" for a in FIGURES for b in ("0", "9" * 19) for c in ("*", "1", "9" * 19)]
    for text in [*FIGURES, *ranges]:
        whole = {"content-length": "5", "content-range": "bytes 0-4/5"} if status == 206 else {"content-length": "5"}
        try:
            span = span_of(status, whole | {name: text}, 0)
        except ReplyBroken:
            continue
        told = [span.offset, span.body_bytes, span.total_bytes]
        assert all(figure is None or 0 <= figure <= bounds.MOST_FILE_BYTES for figure in told), text


@pytest.mark.parametrize("name", headers_of("account"))
def test_an_account_is_a_short_word(name: str) -> None:
    for text in FIGURES:
        account = account_of({name: text}, None)
        words = [account.organization, account.workspace] if account is not None else []
        assert all(word is None or (0 < len(word) <= 200 and word.isascii()) for word in words)


@pytest.mark.parametrize("name", headers_of("text"))
def test_a_text_stays_within_its_line(name: str) -> None:
    for text in FIGURES:
        error = refusal(500, {name: text}, b"", action="listing", credential="")
        assert str(error).isprintable()
        assert len(str(error)) < 1000
