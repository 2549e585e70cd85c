"""M4: the forms in which ids are handed over, and the lock file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from remotefs.api.usable import Kind, Look, Use
from remotefs.cli.commands.handover import (
    content_block,
    counted,
    json_lines,
    json_map,
    resources,
    too_much_for_a_request,
)
from remotefs.cli.commands.lock_file import LockedFile, differences, locked, read_lock, write_lock
from remotefs.cli.main import build_app
from remotefs.control.messages.ls import ListedFile
from remotefs.errors import InvalidArgument, LocalError, UsageError

SOURCE = {"type": "file", "file_id": "file_1"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.DOCUMENT, {"type": "document", "source": SOURCE, "title": "a.pdf", "citations": {"enabled": True}}),
        (Kind.IMAGE, {"type": "image", "source": SOURCE}),
        (Kind.CONTAINER_UPLOAD, {"type": "container_upload", "file_id": "file_1"}),
    ],
)
def test_m4_title_and_citations_are_for_documents(kind: Kind, expected: dict[str, Any]) -> None:
    assert content_block("file_1", kind, title="a.pdf", citations=True) == expected
    plain = {name: value for name, value in expected.items() if name not in {"title", "citations"}}
    assert content_block("file_1", kind) == plain


def test_m4_resources_show_files_at_their_paths() -> None:
    assert resources([("a.csv", "file_1"), ("d/b.csv", "file_2")], "/data/") == [
        {"type": "file", "file_id": "file_1", "mount_path": "/data/a.csv"},
        {"type": "file", "file_id": "file_2", "mount_path": "/data/d/b.csv"},
    ]
    assert resources([("a", "file_1")], "/")[0]["mount_path"] == "/a"
    assert len(resources([(str(n), "f") for n in range(500)], "/data")) == 500


@pytest.mark.parametrize(
    ("files", "mount_path", "message"),
    [
        ([("a", "f")], "data", "begins with /"),
        ([(str(n), "f") for n in range(501)], "/data", "at most 500 files, and these are 501"),
        ([("a", "f"), ("a", "g")], "/data", "2 of the files would be /data/a"),
        ([("x" * 4096, "f")], "/d", "4,096"),
    ],
)
def test_m4_what_a_session_does_not_take_is_refused(
    files: list[tuple[str, str]], mount_path: str, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        resources(files, mount_path)


def test_m4_an_array_has_a_line_for_each_of_several() -> None:
    assert (json_lines([]), json_lines([{"a": 1}])) == (b"[]", b'[{"a":1}]')
    several = json_lines([{"a": 1}, {"b": 2}])
    assert (json.loads(several), len(several.splitlines())) == ([{"a": 1}, {"b": 2}], 4)
    assert json.loads(json_map([('a"', "1"), ("b", "2")])) == {'a"': "1", "b": "2"}
    assert json.loads(json_map([])) == {}


def test_m2_the_limits_of_a_request_are_told_for_all_together() -> None:
    images = [Use(Kind.IMAGE, "")] * 21
    assert list(too_much_for_a_request(images[:20], [Look(width=3000, height=1)])) == []
    [large] = too_much_for_a_request(images, [Look(width=3000, height=1), Look(width=10, height=10)])
    assert large.startswith("1 images are larger than 2,000 pixels")
    [pages] = too_much_for_a_request([Use(Kind.DOCUMENT, "")] * 2, [Look(pages=599), Look(pages=2)])
    assert "601 pages together" in pages
    assert counted([*images, Use(Kind.CONTAINER_UPLOAD, "")]) == "21 image blocks, 1 container_upload block"


def listed(path: str, file_id: str | None, **fields: Any) -> ListedFile:
    return ListedFile(path=path, size=fields.pop("size", 3), modified_ns=1, state="clean", file_id=file_id, **fields)


def test_m4_a_lock_file_tells_what_differs(tmp_path: Path) -> None:
    files = [listed(name, f"file_{name}", digest="aa") for name in ("same", "gone", "again", "other", "edited")]
    files.append(listed("foreign", "file_foreign"))
    write_lock(tmp_path / "lock", [locked(file, None) for file in files])
    entries = read_lock(tmp_path / "lock")
    assert entries[0] == LockedFile("same", "file_same", 3, "xxh3-128:aa")
    assert entries[-1].sum is None
    now = [
        listed("same", "file_same", digest="aa"), listed("again", "file_2", digest="aa"),
        listed("other", "file_3", digest="bb"), listed("edited", None), listed("foreign", "file_4", digest="cc"),
    ]  # fmt: skip
    assert dict(differences(entries, {file.path: file for file in now})) == {
        "gone": "is not in the mount any more",
        "again": "is file_2 now: the same content, uploaded again",
        "other": "is file_3 now: other content",
        "edited": "was changed here, and the service does not have it yet (clean)",
        "foreign": "is file_4 now: another upload, and nothing says whether its content is the same",
    }


def test_m4_what_is_no_lock_file_is_refused(tmp_path: Path) -> None:
    for text in (b"", b"[]", b'{"version": 1}', b'{"version": 2, "files": []}'):
        (tmp_path / "lock").write_bytes(text)
        with pytest.raises(InvalidArgument):
            read_lock(tmp_path / "lock")
    with pytest.raises(LocalError):
        read_lock(tmp_path / "none")
    with pytest.raises(LocalError):
        write_lock(tmp_path / "no" / "lock", [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give PATH, or `-` for a list on standard input"),
        (["-", "a", "-"], "`-` can be given once"),
        (["--json", "--map", "a"], "choose one"),
        (["--title", "a"], "add --json"),
        (["--citations", "--map", "a"], "add --json"),
        (["--resources", "data", "a"], "begins with /"),
        (["--check", "lock", "a", "b"], "give one PATH"),
    ],
)
def test_m4_wrong_use_of_id_is_refused_before_anything_is_asked(words: list[str], message: str) -> None:
    # A second command, so that the app asks for the name of one.
    done = CliRunner().invoke(build_app(("id", "path")), ["id", *words])
    assert isinstance(done.exception, UsageError | InvalidArgument)
    assert message in str(done.exception)
    assert done.stdout == ""
