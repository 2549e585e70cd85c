"""M2: looks at PDFs and pictures, bounded, at bytes that are here, and kept by id."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from remotefs.api.usable import Look
from remotefs.cli import looking
from remotefs.cli.listing import Listed, Place
from remotefs.cli.looking import KeptLooks, Looker, Question
from remotefs.control.client import ControlClient
from remotefs.control.find import FoundMount
from remotefs.control.messages.ls import ListedFile

PDF, PNG = "application/pdf", "image/png"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pdf(pages: int, *, password: str | None = None) -> bytes:
    writer = pytest.importorskip("pypdf").PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(100, 100)
    if password is not None:
        writer.encrypt(password)
    data = io.BytesIO()
    writer.write(data)
    return data.getvalue()


def picture(width: int, height: int, kind: str) -> bytes:
    data = io.BytesIO()
    pytest.importorskip("PIL.Image").new("L", (width, height)).save(data, kind)
    return data.getvalue()


def listed(folder: Path, name: str, mime_type: str, **fields: Any) -> Listed:
    """A file of a mount at `folder`."""
    known = {"size": 3, "modified_ns": 1, "state": "clean", "file_id": f"file_{name}", "here": True} | fields
    place = Place(str(folder), FoundMount(folder, ControlClient(folder / "none"), ""))
    return Listed(ListedFile(path=name, below=name, mime_type=mime_type, **known), place, 1)


def looks_at(files: list[Listed]) -> dict[str, Look]:
    """Where the bytes of each file lie in the mount itself."""

    def locate(here: Sequence[Listed]) -> dict[str, str]:
        return {f.file.file_id or "": str(f.place.found.mountpoint / f.file.path) for f in here}

    return looking.looks_at(files, locate)


def test_m2_bytes_that_are_moved_meanwhile_are_found_again(tmp_path: Path) -> None:
    """The end of an upload moves them from staging to the content."""
    (tmp_path / "content").write_bytes(pdf(3))
    places = iter(["staged", "content"])

    def locate(here: Sequence[Listed]) -> dict[str, str]:
        return {here[0].file.file_id or "": str(tmp_path / next(places))}

    assert looking.looks_at([listed(tmp_path, "three", PDF)], locate) == {"file_three": Look(pages=3)}


def test_m2_pages_encryption_and_pixels_are_found(tmp_path: Path) -> None:
    files = {
        "three": (pdf(3), PDF, Look(pages=3)),
        "locked": (pdf(2, password="x"), PDF, Look(encrypted=True)),
        "wide": (picture(9000, 2, "PNG"), PNG, Look(width=9000, height=2)),
        "photo": (picture(20, 30, "JPEG"), "image/jpeg; q=1", Look(width=20, height=30)),
        "moving": (picture(4, 5, "GIF"), "image/gif", Look(width=4, height=5)),
        "web": (picture(6, 7, "WEBP"), "image/webp", Look(width=6, height=7)),
    }
    for name, (data, _, _) in files.items():
        (tmp_path / name).write_bytes(data)
    found = looks_at([listed(tmp_path, name, mime_type) for name, (_, mime_type, _) in files.items()])
    assert found == {f"file_{name}": look for name, (_, _, look) in files.items()}


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", bytes(range(256)) * 20])
def test_m2_bytes_that_no_reader_takes_are_an_answer(tmp_path: Path, data: bytes) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "f").write_bytes(data)
    for mime_type in (PDF, PNG):
        [look] = looks_at([listed(tmp_path, "f", mime_type)]).values()
        assert look.failure is not None
        assert look.failure.startswith("it cannot be read: ")


def test_m2_a_file_that_takes_too_long_or_too_much_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    with Looker(patience_s=0.1) as looker:
        assert looker.look(Question(str(tmp_path / "never"), PNG)).failure == "it took longer than 0.1 s"
    with Looker() as looker:
        assert looker.look(Question(str(tmp_path / "none"), PNG)).failure is not None
        child = looker._child
        assert child is not None
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        assert f"Max address space         {1 << 30}" in limits
        child.kill()
        child.wait()
        assert looker.look(Question(str(tmp_path / "none"), PNG)).failure == "it took too much memory or time"
        assert looker.look(Question(str(tmp_path / "none"), PNG)).failure != "it took too much memory or time"


def test_the_reader_of_strangers_bytes_has_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_CUSTOM_HEADERS", "REMOTEFS_SERVICE_AUTH_TOKEN"):
        monkeypatch.setenv(name, "X-Secret: hush")
    with Looker() as looker:
        assert looker.look(Question(str(tmp_path / "none"), PNG)).failure is not None
        child = looker._child
        assert child is not None
        assert b"hush" not in Path(f"/proc/{child.pid}/environ").read_bytes()


def test_m2_a_look_is_kept_by_id_and_only_bytes_that_are_here_are_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(pdf(2))
    cold = [listed(tmp_path, "f", PDF, here=False)]
    assert looks_at(cold) == {}
    assert looks_at([listed(tmp_path, "f", "text/plain"), listed(tmp_path, "f", PDF, file_id=None)]) == {}
    assert looks_at([listed(tmp_path, "f", PDF)]) == {"file_f": Look(pages=2)}
    (tmp_path / "f").unlink()
    assert looks_at(cold) == {"file_f": Look(pages=2)}
    kept = tmp_path / "cache" / "remotefs" / "looks.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(b"{")
    assert looks_at(cold) == {}


def test_m2_only_the_newest_looks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_MOST_KEPT", 2)
    for number in range(4):
        KeptLooks(tmp_path / "looks.json").add({f"file_{number}": Look(pages=number)})
    assert list(KeptLooks(tmp_path / "looks.json").looks) == ["file_2", "file_3"]


def test_m2_without_the_readers_nothing_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(looking, "READERS", ("no_such_reader",))
    assert looks_at([listed(tmp_path, "f", PDF)]) == {}
    assert "install remotefs[look]" in capsys.readouterr().err
    assert looks_at([listed(tmp_path, "f", "text/plain")]) == {}
    assert capsys.readouterr().err == ""
