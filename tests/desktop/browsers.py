"""The two file browsers: the same acts, by the keys, buttons and menus of each."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from tests.desktop.display import Display
from tests.desktop.window import Program
from tests.mount.support import PATIENCE_S, eventually

_XFCONF = """<?xml version="1.0" encoding="UTF-8"?>
<channel name="thunar" version="1.0">
  <property name="last-view" type="string" value="{view}"/>
  <property name="last-window-width" type="int" value="860"/>
  <property name="last-window-height" type="int" value="500"/>
</channel>
"""
_PCMANFM = """[ui]
view_mode={view}
win_width=860
win_height=500
"""


class Browser(Program):
    """A file browser with one window. It lists files in rows, which the tests can read; or it shows icons."""

    # Where the program keeps its settings below the home, and what it is given there.
    settings: ClassVar[tuple[str, str]]
    # What it calls its views.
    rows: ClassVar[str]
    icons: ClassVar[str]
    # Keys that show the home.
    home_keys = "alt+Home"
    # The buttons that confirm what a dialog asks.
    confirm: ClassVar[tuple[str, ...]]

    @classmethod
    def at(cls, display: Display, folder: Path, *, icons: bool = False) -> Self:
        """Start the browser with a window on `folder`."""
        place, text = cls.settings
        path = display.home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(view=cls.icons if icons else cls.rows))
        browser = cls(display, display.start(cls.__name__.lower(), folder))
        browser.wait_for_title(folder.name)
        browser.activate()
        return browser

    def activate(self) -> None:
        """Bring its window to the front."""
        self.display.run("xdotool", "windowactivate", "--sync", next(iter(self.titles())))

    def go(self, folder: Path) -> None:
        """Show a folder by typing its path."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self.keys("ctrl+l")
            self.keys("ctrl+a")
            self.write(str(folder))
            # The first Return may only choose what was offered to complete the path.
            for _ in range(2):
                self.keys("Return")
                with suppress(AssertionError):
                    self.wait_for_title(folder.name, timeout=4)
                    return
            self.keys("Escape")
        raise AssertionError(f"{folder} is not shown: {self.titles()}")

    def reload(self) -> None:
        """Look again: what comes from the service by itself is not announced."""
        self.keys("F5")

    def lists(self, name: str) -> bool:
        """Whether the open folder shows a file of this name."""
        return self.find(name, role="table cell") is not None

    def wait_for_file(self, name: str) -> None:
        self.wait_for(name, role="table cell")

    def select(self, name: str) -> None:
        """Click on a file, so that it alone is selected."""
        self.click(name, role="table cell")
        eventually(lambda: self.sees_status(name))

    def sees_status(self, text: str) -> bool:
        """Whether the status bar says this."""
        return any(text in each.name for each in self.shows() if each.role in {"status bar", "label"})

    def open(self, name: str) -> None:
        """Open a file or a folder by a double click."""
        self.click(name, role="table cell", times=2)

    def copy_to(self, name: str, folder: Path) -> None:
        """Copy a file of the open folder into another one, which is open then."""
        self.select(name)
        self.keys("ctrl+c")
        self.go(folder)
        self.keys("ctrl+v")

    def rename(self, name: str, new: str) -> None:
        self.select(name)
        self.keys("F2")
        self._answer(new, "Rename", "OK")

    def make_folder(self, name: str) -> None:
        self.keys("ctrl+shift+n")
        self._answer(name, "Create", "OK")

    def _answer(self, text: str, *buttons: str) -> None:
        """Type a name into a dialog and press its button."""
        self.wait_for(*buttons, role="push button")
        self.keys("ctrl+a")
        self.write(text)
        self.click(*buttons, role="push button")
        eventually(lambda: self.find(*buttons, role="push button") is None)

    def trash(self, name: str) -> None:
        """Move a file to the desktop's trash."""
        raise NotImplementedError

    def show_trash(self) -> None:
        """Show the desktop's trash."""
        raise NotImplementedError

    def empty_trash(self) -> None:
        """Empty the trash, which is shown."""
        raise NotImplementedError

    def delete(self, name: str) -> None:
        """Delete a file for good."""
        self.select(name)
        self.keys("shift+Delete")
        self.click(*self.confirm, role="push button")

    def _click_place(self, name: str, button: int = 1) -> None:
        """Click on a place in the side pane."""
        self.click(name, role="table cell", button=button)


class Thunar(Browser):
    settings = (".config/xfce4/xfconf/xfce-perchannel-xml/thunar.xml", _XFCONF)
    rows, icons = "ThunarDetailsView", "ThunarIconView"
    confirm = ("Delete",)

    def trash(self, name: str) -> None:
        self.select(name)
        self.keys("Delete")

    def show_trash(self) -> None:
        self._click_place("Trash")
        self.wait_for_title("Trash")

    def restore(self, name: str) -> None:
        """Take a file back out of the trash, which is shown."""
        self.select(name)
        self.click("Restore Selected Items", role="push button")

    def empty_trash(self) -> None:
        self.click("Empty Trash", role="push button")
        # The dialog's own button has the same name, and is the last.
        self.wait_for("Cancel", role="push button")
        self.click("Empty Trash", role="push button", last=True)

    def unmount(self, name: str) -> None:
        """Eject what the side pane shows under this name."""
        self._click_place(name, button=3)
        self.click("Unmount", role="menu item")


class PCManFM(Browser):
    settings = (".config/pcmanfm/default/pcmanfm.conf", _PCMANFM)
    rows, icons = "list", "icon"
    confirm = ("Yes",)

    def trash(self, name: str) -> None:
        self.select(name)
        self.keys("Delete")
        self.click("Yes", role="push button")

    def show_trash(self) -> None:
        self._click_place("Trash Can")
        self.wait_for_title("trash:///")

    def empty_trash(self) -> None:
        self.click("Trash Can", role="table cell", button=3)
        self.click("Empty Trash Can", role="menu item")
        self.click("Yes", role="push button")


BROWSERS: dict[str, type[Browser]] = {"thunar": Thunar, "pcmanfm": PCManFM}
