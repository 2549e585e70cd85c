"""The log in each format: for people, for programs and for the journal; its level and format changed while it runs."""

from __future__ import annotations

import json
import logging
import socket
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from remotefs.cli.launch.journal import JournalHandler, PrefixHandler, encode, journal_handler, priority
from remotefs.cli.launch.logs import MountLog, start_logging
from remotefs.config import LogConfig, Secret, ServiceConfig
from remotefs.credentials import secrets_of

SERVICE = ServiceConfig(api_key=Secret("sk-hush"))
ODD = "a\n2026-01-01 ERROR forged\r\x1b[31m\u2028 sk-hush"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def started(folder: Path, **config: str) -> MountLog:
    return start_logging(folder, secrets_of(SERVICE), to_stderr=False, config=LogConfig(**config), mountpoint="/mnt/x")  # type: ignore[arg-type]


def test_json_is_an_object_a_line_with_the_time_the_fields_and_the_traceback(tmp_path: Path) -> None:
    log = started(tmp_path, format="json")
    error = ValueError(ODD)
    logging.getLogger("remotefs.x").warning("kept %s", ODD, exc_info=error, extra={"event": "offline", "place": ODD})
    [line] = log.path.read_text(encoding="utf-8").split("\n")[:-1]
    told = json.loads(line)
    assert datetime.fromisoformat(told["time"]).tzinfo is not None
    assert (told["level"], told["logger"], told["event"]) == ("warning", "remotefs.x", "offline")
    assert any(line.startswith("ValueError: a") for line in told["traceback"])
    assert "hush" not in line
    for text in (told["message"], told["place"], *told["traceback"]):
        assert text.isprintable()


def test_level_and_format_change_while_it_runs(tmp_path: Path) -> None:
    log, logger = started(tmp_path, level="warning"), logging.getLogger("remotefs.x")
    logger.info("quiet")
    log.set_level("debug")
    logger.debug("loud")
    log.use_format("json")
    logger.info("object")
    log.use_format("plain")
    log.set_level("error")
    logger.warning("quiet")
    plain, json_line = log.path.read_text().splitlines()
    assert plain.endswith("DEBUG remotefs.x: loud")
    assert json.loads(json_line)["message"] == "object"


def _fields(datagram: bytes) -> dict[str, str]:
    """The fields of a datagram, as journald reads them."""
    found = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            [length] = struct.unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[8 + length + 1 :]
        found[name.decode()] = value.decode()
    return found


def test_the_journal_gets_fields_and_never_holds_anything_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        handler = JournalHandler("/mnt/x", tmp_path / "journal")
        logger = logging.getLogger("remotefs.x")
        logger.addHandler(handler)
        try:
            logger.error("of two\nlines", extra={"event": "offline"})
            fields = _fields(journal.recv(1 << 16))
            assert fields["MESSAGE"] == "of two\nlines"
            assert fields["PRIORITY"] == "3"
            assert fields["REMOTEFS_MOUNTPOINT"] == "/mnt/x"
            assert fields["SYSLOG_IDENTIFIER"] == "remotefs"
            for _ in range(2000):  # nobody reads: its buffer is full soon
                logger.error("x" * 10_000)
            logger.error("x" * 10_000_000)
        finally:
            logger.removeHandler(handler)
            handler.close()


def test_without_a_journal_the_log_says_so_and_goes_to_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("remotefs.cli.launch.journal.SOCKET", tmp_path / "none")
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if journal_handler("/mnt/x") is not None:
        pytest.skip("this machine has a journal")
    log = started(tmp_path, format="journald")
    logging.getLogger("remotefs.x").warning("here")
    assert "there is no journal on this machine" in log.path.read_text()
    assert log.path.read_text().rstrip().endswith("WARNING remotefs.x: here")
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    handler = journal_handler("/mnt/x")
    assert isinstance(handler, PrefixHandler)
    handler.emit(logging.makeLogRecord({"msg": "one\ntwo", "levelno": logging.WARNING}))
    assert capsys.readouterr().err == "<4>one\n<4>two\n"


def test_priorities_are_those_of_syslog() -> None:
    assert [priority(level) for level in (50, 40, 30, 20, 10)] == [3, 3, 4, 6, 7]
    assert encode({"A": "b"}) == b"A=b\n"
