"""A service that hangs: the window repaints and answers, whatever reads wait (R7)."""

from __future__ import annotations

import time

from tests.desktop.browsers import Browser
from tests.desktop.conftest import Desk
from tests.desktop.test_files import a_reader_of_text
from tests.faults import Hold
from tests.mount.support import eventually

# What a person takes for "at once"; it takes in four calls of xdotool.
ANSWER_S = 1.0


def assert_answers(desk: Desk, browser: Browser) -> None:
    """The browser changes to the home within a second, and paints it."""
    began = time.monotonic()
    browser.keys(browser.home_keys)
    browser.wait_for_title(desk.display.home.name, timeout=ANSWER_S)
    assert time.monotonic() - began < ANSWER_S
    browser.wait_for_file("disk")


def test_the_window_answers_while_a_file_that_was_opened_waits(desk: Desk, browser: Browser) -> None:
    read = a_reader_of_text(desk)
    desk.foreign("held.txt", b"at last\n")
    held = desk.server.script.add(Hold(), op="content", times=None)
    browser.reload()
    browser.open("held.txt")
    held.wait_until_hit()
    assert_answers(desk, browser)
    held.release()
    eventually(lambda: read.exists() and read.read_bytes() == b"at last\n")


def test_the_window_answers_while_a_copy_waits(desk: Desk, browser: Browser) -> None:
    desk.foreign("held.txt", b"at last\n")
    held = desk.server.script.add(Hold(), op="content", times=None)
    browser.reload()
    browser.copy_to("held.txt", desk.disk)
    held.wait_until_hit()
    assert_answers(desk, browser)
    held.release()
    eventually(lambda: (desk.disk / "held.txt").read_bytes() == b"at last\n")


def test_the_window_answers_while_a_file_that_was_copied_in_is_not_taken(desk: Desk, browser: Browser) -> None:
    (desk.disk / "letter.txt").write_text("dear service\n")
    held = desk.server.script.add(Hold(), op="upload", times=None)
    browser.go(desk.disk)
    browser.copy_to("letter.txt", desk.mount.path)
    held.wait_until_hit()
    assert_answers(desk, browser)
    held.release()
    eventually(lambda: desk.stored() == {"letter.txt": b"dear service\n"})


def test_a_folder_of_files_without_a_type_does_not_hold_the_window_for_each(desk: Desk, browser: Browser) -> None:
    """Thunar reads the beginning of each in the thread of its window; only the first waits as long as a read may."""
    for n in range(8):
        desk.foreign(f"untold/result{n}", b"text\n")
    held = desk.server.script.add(Hold(), op="content", times=None)
    browser.go(desk.mount.path / "untold")
    held.wait_until_hit()
    began = time.monotonic()
    browser.keys(browser.home_keys)
    browser.wait_for_title(desk.display.home.name)
    # 10 s for the first, then 2.5, 0.6, ...
    assert time.monotonic() - began < 20
