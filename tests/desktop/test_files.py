"""What a person does with files in a file browser, judged by what the service then has and was asked for."""

from __future__ import annotations

from pathlib import Path

from tests.desktop.browsers import Browser
from tests.desktop.conftest import Desk
from tests.mount.support import eventually


def test_a_folder_and_a_file_are_opened(desk: Desk, browser: Browser) -> None:
    read = a_reader_of_text(desk)
    desk.foreign("docs/note.txt", b"from the service\n")
    desk.begin()
    browser.reload()
    browser.open("docs")
    browser.wait_for_title("docs")
    assert desk.ops() == [], "looking costs nothing"
    browser.open("note.txt")
    eventually(lambda: read.exists() and read.read_bytes() == b"from the service\n")
    assert desk.ops() == ["content"]


def test_a_file_is_copied_in_and_out(desk: Desk, browser: Browser) -> None:
    (desk.disk / "letter.txt").write_text("dear service\n")
    desk.foreign("theirs.txt", b"from the service\n")
    desk.begin()
    browser.go(desk.disk)
    browser.copy_to("letter.txt", desk.mount.path)
    browser.wait_for_file("letter.txt")
    assert desk.stored()["letter.txt"] == b"dear service\n"
    assert desk.ops() == ["upload"]
    assert (desk.mount.path / "letter.txt").stat().st_mtime_ns == (desk.disk / "letter.txt").stat().st_mtime_ns
    browser.reload()
    browser.copy_to("theirs.txt", desk.disk)
    browser.wait_for_file("theirs.txt")
    eventually(lambda: (desk.disk / "theirs.txt").read_bytes() == b"from the service\n")
    assert desk.ops() == ["upload", "content"]
    assert set(desk.stored()) == {"letter.txt", "theirs.txt"}, "no temporary name got there"


def test_a_folder_of_many_is_copied_in_each_file_once(desk: Desk, browser: Browser) -> None:
    files = {f"album/{n}.txt": f"number {n}\n".encode() for n in range(12)} | {"album/deep/run.sh": b"#!/bin/sh\n"}
    for name, content in files.items():
        path = desk.disk / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (desk.disk / "album/deep/run.sh").chmod(0o755)
    desk.begin()
    browser.go(desk.disk)
    browser.copy_to("album", desk.mount.path)
    desk.arrives(files)
    assert desk.stored() == files
    assert desk.ops() == ["upload"] * len(files)
    assert (desk.mount.path / "album/deep/run.sh").stat().st_mode & 0o777 == 0o755


def test_a_file_is_renamed_and_moved_into_a_new_folder(desk: Desk, browser: Browser) -> None:
    desk.write("draft.txt")
    desk.begin()
    browser.rename("draft.txt", "final.txt")
    browser.wait_for_file("final.txt")
    browser.make_folder("done")
    browser.wait_for_file("done")
    assert (desk.mount.path / "done").is_dir()
    browser.select("final.txt")
    browser.keys("ctrl+x")
    browser.go(desk.mount.path / "done")
    browser.keys("ctrl+v")
    browser.wait_for_file("final.txt")
    eventually((desk.mount.path / "done/final.txt").exists)
    assert desk.stored() == {"done/final.txt": b"first\n"}
    assert sorted(desk.ops()) == ["delete", "upload"], "both renames cost as much as one"


def a_reader_of_text(desk: Desk) -> Path:
    """Make a program the one for text files; where it leaves what it read."""
    read = desk.disk / "read"
    applications = desk.display.home / ".local/share/applications"
    applications.mkdir(parents=True)
    program = desk.display.home / ".reader"
    program.write_text(f'#!/bin/sh\ncat "$1" > {read}\n')
    program.chmod(0o755)
    entry = f"[Desktop Entry]\nType=Application\nName=Reader\nExec={program} %f\nMimeType=text/plain;\n"
    (applications / "reader.desktop").write_text(entry)
    (desk.display.home / ".config").mkdir(exist_ok=True)
    (desk.display.home / ".config/mimeapps.list").write_text("[Default Applications]\ntext/plain=reader.desktop\n")
    return read
