"""Windows as a person has them: keys and the mouse by xdotool, and what is shown by the accessibility interface."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.desktop.display import Display
from tests.mount.support import PATIENCE_S, eventually

ACCESSIBLE = Path(__file__).with_name("accessible.py")
# The one that Debian's python3-gi is for.
SYSTEM_PYTHON = "/usr/bin/python3"
# Between two keys, in milliseconds, as a person types: programs lose some that come faster.
_TYPING_MS = 20


class Shown(NamedTuple):
    """Something on the screen that has a name."""

    role: str
    name: str
    states: frozenset[str]
    box: tuple[int, int, int, int]


@dataclass
class Program:
    """A program with windows on a desktop."""

    display: Display
    process: subprocess.Popen[bytes]

    # -- what a person sees

    def titles(self) -> dict[str, str]:
        """The titles of its windows by their numbers."""
        found = self.display.run(
            "xdotool", "search", "--all", "--onlyvisible", "--pid", self.process.pid, "--name", ".", check=False
        )
        return {number: self._title(number) for number in found.split()}

    def _title(self, number: str) -> str:
        return self.display.run("xdotool", "getwindowname", number, check=False).strip()

    def shows(self) -> list[Shown]:
        """What is on the screen of all its windows, as far as it has a name."""
        listed = self.display.run(SYSTEM_PYTHON, "-W", "ignore", ACCESSIBLE, self.process.pid, check=False)
        return [
            Shown(each["role"], each["name"], frozenset(each["states"]), tuple(each["box"]))
            for each in json.loads(listed or "[]")
        ]

    def find(self, *names: str, role: str | None = None, last: bool = False) -> Shown | None:
        """The first (or last) thing with one of the names; what has no room of its own is passed over."""
        found = [each for each in self.shows() if each.name in names and role in {None, each.role} and each.box[2] > 0]
        return found[-1 if last else 0] if found else None

    def wait_for(self, *names: str, role: str | None = None, last: bool = False) -> Shown:
        """Wait for a thing with one of the names."""
        end = time.monotonic() + PATIENCE_S
        while (found := self.find(*names, role=role, last=last)) is None:
            assert time.monotonic() < end, f"none of {names} in {self.titles()}: {[each.name for each in self.shows()]}"
        return found

    def wait_for_title(self, title: str, timeout: float = PATIENCE_S) -> str:
        """Wait for a window of this title (or with a program's name behind it); its number."""
        end = time.monotonic() + timeout
        while (number := self._window(title)) is None:
            assert time.monotonic() < end, f"no window is called {title}: {self.titles()}"
        return number

    def wait_for_another_window(self) -> None:
        """Wait for a dialog, or any window beside the first."""
        eventually(lambda: len(self.titles()) > 1)

    def _window(self, title: str) -> str | None:
        return next((n for n, name in self.titles().items() if name == title or name.startswith(f"{title} - ")), None)

    # -- what a person does

    def keys(self, *keys: str) -> None:
        """Press keys in the active window."""
        self.display.run("xdotool", "key", "--delay", _TYPING_MS, *keys)

    def write(self, text: str) -> None:
        """Type a text into the active window."""
        self.display.run("xdotool", "type", "--delay", _TYPING_MS, text)

    def click(self, *names: str, role: str | None = None, last: bool = False, button: int = 1, times: int = 1) -> None:
        """Click on a thing with one of the names, once it is there."""
        x, y, width, height = self.wait_for(*names, role=role, last=last).box
        where = (x + min(width // 2, 40), y + height // 2)
        self.display.run("xdotool", "mousemove", *where, "click", "--repeat", times, "--delay", 60, button)
