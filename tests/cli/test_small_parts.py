"""Content blocks, status rows, the log, errors as lines."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.cli.commands.status_table import status_rows
from remotefs.cli.console import describe, human_size, notify, notify_with_output, print_name, printable
from remotefs.cli.exit_status import exit_status, sentence, sole_error
from remotefs.cli.launch.logs import start_logging
from remotefs.config import Secret, ServiceConfig
from remotefs.control.messages.base import Draining, Leftover, Listing, Warming
from remotefs.control.messages.status import (
    ContentUse,
    ExpiringFiles,
    FailedRequest,
    PendingKind,
    Requests,
    Status,
    Uploading,
)
from remotefs.credentials import secrets_of
from remotefs.errors import NotFound, UsageError

OFFLINE = Status(
    mountpoint="/mnt/x",
    state_dir="/state",
    base_url="https://api.example.com",
    pid=42,
    organization="org",
    workspace="ws",
    read_only=True,
    online=False,
    trouble="no route to host",
    draining=True,
    files=1234,
    pending=(
        PendingKind(kind="upload", count=3, oldest_reason="offline", oldest_age_s=7200.0),
        PendingKind(kind="delete", count=0),
    ),
    failed=(Leftover(path="big.iso", reason="over the limit"), Leftover(path="b", reason="quota")),
    damaged=("c.bin",),
    uploading=(Uploading(path="up.iso", size=4096, sent=1024),),
    errors=(FailedRequest(at=0.0, message="the service answered 500", request_id="req_7"),),
    expiring=ExpiringFiles(count=3, first="d/soon.txt", first_at=0.0),
    trashed=2,
    trashed_bytes=2048,
    content=ContentUse(pinned_bytes=1536, evictable_bytes=0, staging_bytes=5, pinned_files=2),
    requests=Requests(used=10, limit_per_minute=500, waiting=4, rate_limited=1, paused_s=9.0),
)


def test_the_table_says_everything_that_needs_somebody() -> None:
    rows = list(status_rows(OFFLINE))
    text = "\n".join(f"{name}: {value}" for name, value in rows)
    for expected in (
        "mount: /mnt/x (read-only)",
        "account: org, workspace ws",
        "connection: offline, draining, no route to host",
        "pending: 3 upload, the oldest for 2 h: offline",
        "failed: big.iso: over the limit\n: b: quota",
        "damaged: c.bin",
        "pinned: 1.5 KiB in 2 files",
        "requests: 10 sent, 1 of them too many, limit 500 a minute, 4 wait for their turn, paused for 9 s",
        "uploading: up.iso: 25 % of 4.0 KiB",
        "the service answered 500 (request req_7)",
        "trash: 2 files, 2.0 KiB",
        "expiring: 3 files within a day, the first d/soon.txt at ",
        "last poll: never",
    ):
        assert expected in text
    assert "delete" not in text


def test_a_quiet_mount_says_so() -> None:
    quiet = Status(mountpoint="/m", state_dir="/s", base_url="http://x", pid=1, online=True)
    rows = dict(status_rows(quiet))
    assert rows["pending"] == "nothing"
    assert rows["connection"] == "online"
    assert "failed" not in rows
    assert "no limit" in rows["requests"]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB"), (4096 << 40, "4,096.0 TiB")],
)
def test_sizes_are_read_at_a_glance(size: int, expected: str) -> None:
    assert human_size(size) == expected


CONTROLS = [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e"
            "\u200f\u061c\u2028\u2029\ufeff"]  # fmt: skip


@given(st.text(st.characters() | st.sampled_from(CONTROLS)))
def test_nothing_printed_commands_a_terminal_or_begins_a_line(text: str) -> None:
    shown = printable(text)
    assert set(CONTROLS).isdisjoint(shown)
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"), ("\x1b[31mred", r"\x1b[31mred"), ("gpj.\u202egnp", r"gpj.\u202egnp"), ("caf\u00e9", "caf\u00e9"),
        ("\udcff", r"\xff"), ("\ud800", r"\ud800"), ("a\\b", "a\\b"), ("\u3000", "\u3000"), ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)  # fmt: skip
def test_a_name_is_shown_on_one_line(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_name_goes_to_a_pipe_as_it_is(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_name("a\n\x1b[31m\udcff")
    assert capfdbinary.readouterr().out == b"a\n\x1b[31m\xff\n"


def test_a_name_goes_to_a_terminal_on_one_line() -> None:
    program = "from remotefs.cli.console import print_name; print_name('a\\n\\x1b[31m\\udcff')"
    main, other = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", program], stdout=other, check=True)
        assert os.read(main, 1000) == rb"a\n\x1b[31m\xff" + b"\r\n"
    finally:
        os.close(main)
        os.close(other)


def test_a_sentence_with_the_output_of_a_program_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    notify_with_output("no\nremotefs: \x1b[31mfine")
    notify("one\nline")
    assert capsys.readouterr().err == "remotefs: no\n  remotefs: \\x1b[31mfine\nremotefs: one\\nline\n"


def test_progress_is_a_line() -> None:
    assert describe(Listing(files=3000)) == "listed 3,000 files"
    assert describe(Draining(left=2, path="a")) == "2 changes left, a"
    assert describe(Draining(left=2, path="a", eta_s=130.0)) == "2 changes left, about 2 min more, a"
    assert describe(Warming(files_done=1, files=3, bytes_done=5, bytes=9)) == "1 of 3 files are here"


def test_of_a_group_the_error_that_counts_is_told() -> None:
    foreseen, bug = NotFound("a"), ZeroDivisionError("b")
    assert sole_error(ExceptionGroup("g", [foreseen])) is foreseen
    assert sole_error(ExceptionGroup("g", [foreseen, ExceptionGroup("h", [bug])])) is bug
    stop = KeyboardInterrupt()
    assert sole_error(BaseExceptionGroup("g", [bug, stop])) is stop


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("x"), 2),
        (NotFound("x"), 1),
        (KeyboardInterrupt(), 130),
        (ValueError("x"), 1),
        (OSError(28, "full"), 1),
    ],
)
def test_the_exit_status_tells_the_kinds_apart(error: BaseException, status: int) -> None:
    assert exit_status(error) == status
    assert sentence(error)


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_the_log_is_private_and_shows_no_key(tmp_path: Path, root_logger: logging.Logger) -> None:
    service = ServiceConfig(
        api_key=Secret("sk-hush"), auth_token=Secret("tok-hush"), custom_headers=(("X-Pass", Secret("pass-hush")),)
    )
    umask = os.umask(0)
    try:
        path = start_logging(tmp_path, secrets_of(service), to_stderr=False).path
    finally:
        os.umask(umask)
    error = ValueError("sent sk-hush")
    logging.getLogger("remotefs.x").error("headers %s %s", "tok-hush", {"X-Pass": "pass-hush"}, exc_info=error)
    logging.getLogger("httpx").info("GET https://secret-place")
    text = path.read_text()
    assert "ValueError" in text
    assert "hush" not in text
    assert "secret-place" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_no_name_forges_a_line_of_the_log(tmp_path: Path, root_logger: logging.Logger) -> None:
    """Every line that begins with a time is a record: neither a message nor an error's text begins one."""
    path = start_logging(tmp_path, (), to_stderr=False).path
    name = "a\n2026-01-01 00:00:00,000 ERROR remotefs: forged\r\x1b[31m\u2028\u202e\udcff"
    logging.getLogger("remotefs.x").warning("%s: kept", name)
    error = ValueError(name)
    logging.getLogger("remotefs.x").error("failed: %s", name, exc_info=error, stack_info=True)
    text = path.read_bytes().decode()
    lines = text.split("\n")
    assert text.splitlines() == lines[:-1]
    assert len([line for line in lines if line[:4].isdecimal()]) == 2
    assert all(character.isprintable() for line in lines for character in line)
    assert any(line.startswith("  ValueError: a") for line in lines)
    assert "  Stack (most recent call last):" in lines


def test_a_second_start_appends(tmp_path: Path, root_logger: logging.Logger) -> None:
    for word in ("first", "second"):
        path = start_logging(tmp_path, (), to_stderr=False).path
        logging.getLogger("remotefs.x").warning(word)
    assert "first" in path.read_text()
    assert "second" in path.read_text()


def test_a_short_header_value_does_not_garble_the_log(tmp_path: Path, root_logger: logging.Logger) -> None:
    service = ServiceConfig(api_key=Secret("sk-hush"), custom_headers=(("X-Flag", Secret("e")),))
    path = start_logging(tmp_path, secrets_of(service), to_stderr=False).path
    logging.getLogger("remotefs.x").warning("here sk-hush")
    assert path.read_text().rstrip().endswith("here [hidden]")
