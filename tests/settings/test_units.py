"""Sizes and times with units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.units import parse_size, parse_time, size_text, time_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("512", 512), ("1K", 1024), ("64KiB", 65536), ("64 kib", 65536), ("1.5 KiB", 1536), ("2m", 2 << 20),
        ("500MB", 500_000_000), ("1GB", 10**9), ("1G", 1 << 30), ("1T", 1 << 40), ("12B", 12), ("1e6", 1_000_000),
        ("9007199254740993", 9007199254740993),
    ],
)  # fmt: skip
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "much", "-1", "1X", "1 K K", "nan", "inf", "1.5", "G", "0x10", "1,000", "1_000", "٣", "1e999", "9" * 5000],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("30", 30), ("30s", 30), ("2.5 s", 2.5), ("250ms", 0.25), ("5m", 300), ("5min", 300), ("2h", 7200),
     ("30d", 2_592_000), ("1H", 3600)],
)  # fmt: skip
def test_a_time_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "1y", "1h 30m", "nan", "inf", "s", "1e999"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


@given(st.integers(0, 1 << 62))
def test_a_size_reads_back_as_it_is_shown(size: int) -> None:
    assert parse_size(size_text(size).removesuffix(" bytes")) == size


@given(st.integers(0, 10**9))
def test_a_time_reads_back_as_it_is_shown(seconds: int) -> None:
    assert parse_time(time_text(seconds)) == pytest.approx(seconds, rel=1e-4)
