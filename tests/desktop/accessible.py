"""What a program shows, as its accessibility interface tells it; run by the Python that has Debian's python3-gi.

    /usr/bin/python3 accessible.py PID

prints a JSON array of what is on the screen and has a name: role, name, states, and the box [x, y, width, height].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402 -- the version is chosen before

# A program that does not answer is waited for by the test, which asks again.
_TIMEOUT_MS = 800
_MOST_CHILDREN = 60
_STATES = ("SHOWING", "SELECTED", "FOCUSED", "SENSITIVE", "ACTIVE")
# Their names are empty: what stands in them is their text.
_TEXTS = {"text", "entry"}


def main(pid: int) -> None:
    Atspi.set_timeout(_TIMEOUT_MS, 5000)
    desktop = Atspi.get_desktop(0)
    found = []
    for number in range(desktop.get_child_count()):
        program = desktop.get_child_at_index(number)
        if program is not None and program.get_process_id() == pid:
            found += list(_below(program))
    print(json.dumps(found))


def _below(node: Any) -> Iterator[dict[str, Any]]:
    try:
        states = node.get_state_set()
        shown = [name for name in _STATES if states.contains(getattr(Atspi.StateType, name))]
        role, name = node.get_role_name(), node.get_name() or ""
        if role not in {"application", "desktop frame"} and "SHOWING" not in shown:
            return
        if role in _TEXTS:
            name = Atspi.Text.get_text(node, 0, -1)
        if name:
            yield {"role": role, "name": name, "states": shown, "box": _box(node)}
        children = [node.get_child_at_index(number) for number in range(min(node.get_child_count(), _MOST_CHILDREN))]
    except GLib.Error:
        # It went away meanwhile, or is busy.
        return
    for child in children:
        if child is not None:
            yield from _below(child)


def _box(node: Any) -> list[int]:
    box = Atspi.Component.get_extents(node, Atspi.CoordType.SCREEN)
    return [box.x, box.y, box.width, box.height]


if __name__ == "__main__":
    main(int(sys.argv[1]))
