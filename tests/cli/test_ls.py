"""M8: which files `remotefs ls` chooses, what it says of them, and which it takes for copies."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from remotefs.cli.commands.duplicates import copies_among, of_equal_size, to_read
from remotefs.cli.commands.ls_filters import Filter, Summary, is_of_type, use_as
from remotefs.cli.commands.ls_table import WIDTHS, exclude_pattern, record, row
from remotefs.cli.console import print_table
from remotefs.cli.listing import Listed, Place, requests_of
from remotefs.control.client import ControlClient
from remotefs.control.find import FoundMount
from remotefs.control.messages.ls import ListedFile, LsParams
from remotefs.control.protocol import MAX_REQUEST_BYTES, Request, encode

NOW_NS = 1_700_000_000 * 10**9
DAY_S = 86_400.0
MOUNT = FoundMount(Path("/mnt"), ControlClient(Path("/run/none")), "")


def file(path: str, *, age_s: float = 60.0, left_s: float | None = None, shown: str = "/mnt", **fields: Any) -> Listed:
    """A file that the service has, as a mount lists it; without an id one that it does not have."""
    known: dict[str, Any] = {
        "size": 3,
        "modified_ns": NOW_NS - int(age_s * 1e9),
        "state": "clean",
        "file_id": f"file_{path}",
    }
    if fields.get("file_id", "") is not None:
        known |= {"created_ns": NOW_NS - int(age_s * 1e9), "mime_type": "text/plain"}
    if left_s is not None:
        known["expires_ns"] = NOW_NS + int(left_s * 1e9)
    return Listed(ListedFile(path=path, below=path, **(known | fields)), Place(shown, MOUNT), NOW_NS)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["new", "old", "output", "soon", "foreign", "pending"]),
        ({"generated": True}, ["output"]),
        ({"since_s": DAY_S}, ["new", "soon", "foreign", "pending"]),
        ({"older_s": 30 * DAY_S}, ["old"]),
        ({"expires_within_s": 7 * DAY_S}, ["soon"]),
        ({"expires_within_s": 60 * DAY_S}, ["old", "soon"]),
        ({"unreadable": True}, ["foreign"]),
        ({"type_pattern": "image/*"}, ["output"]),
        ({"type_pattern": "text", "older_s": DAY_S}, ["old"]),
    ],
)
def test_m8_filters_hold_all_together(asked: dict[str, Any], expected: list[str]) -> None:
    files = [
        file("new"),
        file("old", age_s=31 * DAY_S, left_s=50 * DAY_S),
        file("output", age_s=2 * DAY_S, generated=True, mime_type="image/png"),
        file("soon", left_s=6 * DAY_S),
        file("foreign", readable=False),
        file("pending", file_id=None, state="pending", age_s=3.0),
    ]
    assert [listed.file.path for listed in files if Filter(**asked).takes(listed)] == expected


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [("pdf", ["application/pdf"]), ("IMAGE", ["image/png"]), ("image/*", ["image/png"]), ("text/*", ["text/plain; charset=x"]), ("*", ["application/pdf", "image/png", "text/plain; charset=x"])],
)  # fmt: skip
def test_m8_a_type_is_a_pattern(pattern: str, matching: list[str]) -> None:
    types = ["application/pdf", "image/png", "text/plain; charset=x", None]
    assert [kind for kind in types if is_of_type(kind, pattern)] == matching


def test_m8_the_table_fits_80_characters_and_shows_what_matters_first(capsys: pytest.CaptureFixture[str]) -> None:
    wide = sum(WIDTHS) + 2 * len(WIDTHS)
    assert wide <= 60
    states = [
        row(listed, soon_s=7 * DAY_S, short=True)[3]
        for listed in (
            file("a"),
            file("b", left_s=6.4 * DAY_S),
            file("c", left_s=8 * DAY_S),
            file("d", readable=False),
            file("e", file_id=None, state="failed: it is too large", left_s=60.0),
        )
    ]
    assert states == ["clean", "6 days left", "clean", "unreadable", "failed"]
    assert all(len(state) <= WIDTHS[3] for state in states)
    cells = row(file("f", age_s=3 * 3600, size=1 << 30, mime_type="application/pdf"), soon_s=0.0, short=True)
    assert cells == ("3 h", "1.0 GiB", "pdf", "clean", "…file_f", "/mnt/f")
    print_table([cells, ("1 day", "3 B", "a longer type", "x", "y", "a\x1bb")], "<><<<*", WIDTHS)
    first, second = capsys.readouterr().out.splitlines()
    assert first.index("/mnt/f") == second.index("a\\x1bb") == wide


def test_m8_json_has_all_that_is_known() -> None:
    listed = file("d/f", digest="ab", left_s=60.0, here=True)
    shown = json.loads(msgspec.json.encode(record(listed, use_as(listed))))
    assert shown == {
        "path": "/mnt/d/f", "id": "file_d/f", "size": 3, "mime_type": "text/plain",
        "created_at": "2023-11-14T22:12:20Z", "expires_at": "2023-11-14T22:14:20Z", "state": "clean", "readable": True,
        "here": True, "generated": False, "usable_as": "document", "why": "plain text", "digest": "xxh3-128:ab",
    }  # fmt: skip
    pending = file("g", file_id=None, state="pending")
    assert (record(pending, use_as(pending))["usable_as"], record(pending, use_as(pending))["id"]) == ("none", None)


def test_m8_a_line_sums_up_what_is_at_the_service_and_what_only_here() -> None:
    summary = Summary(7 * DAY_S)
    for listed in (
        file("mine", here=True, size=10),
        file("new", file_id=None, state="pending", here=True, size=5),
        file("output", here=True, downloadable=True, size=100),
        file("foreign", readable=False, size=1000, left_s=60.0),
    ):
        summary.add(listed)
    assert str(summary) == (
        "4 files, 1.1 KiB; at the service 3 files, 1.1 KiB; readable only here 2 files, 15 bytes; "
        "not readable here 1; expiring within 7 days 1"
    )


def test_m8_copies_are_known_by_their_digest_or_by_bytes_that_are_here() -> None:
    files = [
        file("up", digest="aa", here=True, size=9),
        file("output", here=True, size=9),
        file("other", digest="bb", size=9),
        file("foreign", size=9, readable=False),
        file("link", digest="cc", file_id="file_one", size=7),
        file("link2", digest="cc", file_id="file_one", size=7),
        file("alone", here=True, size=8),
        file("empty", here=True, size=0), file("empty2", here=True, size=0),
        file("new", file_id=None, here=True, size=5), file("new2", file_id=None, here=True, size=5),
    ]  # fmt: skip
    candidates = of_equal_size(files)
    assert [listed.file.path for listed in to_read(candidates)] == ["output", "new", "new2"]
    groups, unknown = copies_among(candidates, {"/mnt/output": "aa", "/mnt/new": "dd", "/mnt/new2": "dd"})
    found = [[(f.file.path, how) for f, how in zip(g.files, g.known_by, strict=True)] for g in groups]
    assert found == [[("up", "digest"), ("output", "bytes")], [("new", "bytes"), ("new2", "bytes")]]
    assert ([group.surplus_bytes for group in groups], unknown) == ([9, 5], 1)
    shown = record(groups[0].files[1], use_as(groups[0].files[1]), copies=groups[0])
    assert (shown["copies"], shown["known_by"], shown["copy_of"]) == (2, "bytes", "/mnt/up")


def test_m8_a_path_is_shown_as_the_caller_would_write_it() -> None:
    assert [file("d/f", shown=shown).shown for shown in ("", "/", "mnt/", "mnt", "..")] == [
        "d/f", "/d/f", "mnt/d/f", "mnt/d/f", "../d/f",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "count"), [("short", 1), ("\x01" * 4000, 600), ("é" * 2000, 100)])
def test_m4_any_number_of_paths_is_divided_into_requests_that_a_mount_reads(name: str, count: int) -> None:
    places = [Place(str(n), FoundMount(MOUNT.mountpoint, MOUNT.control, f"{name}/{n}")) for n in range(600)]
    requests = list(requests_of(places))
    assert [place for some in requests for place in some] == places
    longest = max(
        len(encode(Request(command="ls", params=msgspec.Raw(msgspec.json.encode(LsParams(
            paths=tuple(place.found.path for place in some), place=len(some), after=name)))))) for some in requests
    )  # fmt: skip
    assert longest <= MAX_REQUEST_BYTES
    assert len(requests) <= count


def test_m8_rsync_excludes_exactly_the_files_that_are_listed(tmp_path: Path) -> None:
    names = [
        "a/b",
        "x/a/b",
        "f [file_1].txt",
        "f 1.txt",
        "f*",
        "ff",
        "back\\slash",
        "st\\*r",
        "#c",
        "- d",
        "q?",
        "qq",
        "new\nline",
    ]
    for name in names:
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text("x")
    left_out = ["a/b", "f [file_1].txt", "f*", "back\\slash", "st\\*r", "#c", "- d", "q?", "new\nline"]
    patterns = b"".join(os.fsencode(exclude_pattern(name)) + b"\0" for name in left_out)
    subprocess.run(
        ["rsync", "-a", "--from0", "--exclude-from=-", f"{tmp_path}/from/", f"{tmp_path}/to"],
        input=patterns,
        check=True,
    )
    copied = {str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*") if path.is_file()}
    assert copied == set(names) - set(left_out)
