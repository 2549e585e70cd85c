"""The pictures of docs/desktop.md: what a person sees. `DESKTOP_PICTURES=docs/desktop make test-desktop` renews them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.desktop.browsers import PCManFM, Thunar
from tests.desktop.conftest import Desk
from tests.desktop.pictures import png
from tests.faults import Hold
from tests.mount.support import eventually

_PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def settings() -> dict[str, str]:
    """Taking a picture takes a while, and the copy waits."""
    return {"REMOTEFS_SERVICE_READ_WAIT_S": "60"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = Path(os.environ.get("DESKTOP_PICTURES", tmp_path)).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def furnished(desk: Desk) -> Desk:
    """A mount with something in it."""
    desk.write("report.md", b"# Results\n" * 200)
    desk.write("notes.txt", b"words\n" * 40)
    desk.foreign("chart.png", png(120, 1), mime_type="image/png")
    desk.foreign("results.csv", b"run,score\n" * 900, mime_type="text/csv")
    desk.write("papers/one.txt", b"one\n")
    return desk


def test_a_folder_and_the_trash_in_thunar(furnished: Desk, folder: Path) -> None:
    browser = Thunar.at(furnished.display, furnished.mount.path)
    browser.select("report.md")
    shown = take(furnished, folder / "thunar.png")
    browser.trash("notes.txt")
    eventually(lambda: not (furnished.mount.path / "notes.txt").exists())
    browser.show_trash()
    browser.select("notes.txt")
    assert take(furnished, folder / "thunar-trash.png") != shown


def test_a_folder_in_pcmanfm(furnished: Desk, folder: Path) -> None:
    furnished.begin()
    PCManFM.at(furnished.display, furnished.mount.path, icons=True)
    eventually(lambda: "content" in furnished.ops())
    take(furnished, folder / "pcmanfm.png")


def test_a_copy_that_waits_beside_a_window_that_answers(furnished: Desk, folder: Path) -> None:
    browser = Thunar.at(furnished.display, furnished.mount.path)
    held = furnished.server.script.add(Hold(), op="content", times=None)
    browser.copy_to("results.csv", furnished.disk)
    held.wait_until_hit()
    browser.wait_for_another_window()
    take(furnished, folder / "thunar-waits.png")
    held.release()
    eventually(lambda: (furnished.disk / "results.csv").stat().st_size == 9000)


def take(desk: Desk, path: Path) -> bytes:
    """Take a picture of the screen; its bytes."""
    desk.display.picture(path)
    taken = path.read_bytes()
    assert taken.startswith(_PNG)
    return taken
