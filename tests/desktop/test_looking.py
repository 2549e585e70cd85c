"""What it costs to look at a folder in a file browser: types, thumbnails, free space; and what it shows of others."""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest

from tests.content import paged
from tests.desktop.browsers import BROWSERS, Browser
from tests.desktop.conftest import Desk
from tests.desktop.pictures import png
from tests.mount.inotify import Event, Inotify
from tests.mount.support import eventually, remote

_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
LARGE = paged(1 << 20, seed=5)


def requested(desk: Desk) -> Counter[str]:
    """How often the content of each file was asked for since `begin`, by its name."""
    names = {record_id: name for name, record_id in desk.ids().items()}
    return Counter(names[request.path.split("/")[-2]] for request in desk.requests("content"))


def test_a_folder_of_200_mixed_files_costs_a_look_where_the_name_tells_no_type(desk: Desk, browser: Browser) -> None:
    """Both read the beginning of files without an extension, and of those whose extension several types have."""
    told = [f"mixed/{n}.{kind}" for n in range(60) for kind in ("txt", "csv", "md")]
    untold = [f"mixed/result{n}" for n in range(10)] + [f"mixed/{n}.json" for n in range(10)]
    with Inotify(desk.mount.path) as watched:
        desk.server.store.add_generated(remote(told[0]), b"text\n")
        watched.until(Event("CREATE", "mixed/"))
        watched.watch("mixed")
        for name in told[1:]:
            desk.server.store.add_generated(remote(name), b"text\n")
        for name in untold:
            desk.server.store.add_generated(remote(name), LARGE)
        # PCManFM reads the beginning of each file of which it is told while it shows the folder.
        watched.until(*(Event("CLOSE_WRITE", name) for name in (*told[1:], *untold)))
    desk.begin()
    browser.go(desk.mount.path / "mixed")
    eventually(lambda: browser.sees_status("200 "))
    eventually(lambda: set(requested(desk)) == set(untold))
    assert desk.ops() == ["content"] * len(untold), "one request each, and none for the others"
    assert {r.headers.get("range") for r in desk.requests("content")} == {"bytes=0-262143"}, "a look, not the file"


@pytest.mark.parametrize("kind", BROWSERS)
def test_thumbnails_read_each_picture_once(desk: Desk, kind: str) -> None:
    names = [f"album/{n}.png" for n in range(4)]
    for number, name in enumerate(names):
        desk.server.store.add_generated(remote(name), png(400, number), mime_type="image/png")
    eventually((desk.mount.path / names[-1]).exists)
    desk.begin()
    browser = BROWSERS[kind].at(desk.display, desk.mount.path / "album", icons=True)
    eventually(lambda: set(requested(desk)) == set(names))
    browser.go(desk.disk)
    before = requested(desk)
    assert sum(before.values()) <= len(names) + 1, "one is looked at before the mount knows that they are read through"
    browser.go(desk.mount.path / "album")
    browser.reload()
    browser.go(desk.disk)
    assert requested(desk) == before, "what is here is not asked for again"


def test_m5_what_arrives_from_the_service_is_shown_without_a_reload(desk: Desk, browser: Browser) -> None:
    """The mount makes the kernel tell the browser."""
    desk.write("here.txt")
    browser.wait_for_file("here.txt")
    desk.foreign("arrived.txt")
    browser.wait_for_file("arrived.txt")


def test_free_space_is_that_of_the_mount(desk: Desk, browser: Browser) -> None:
    """Free space decides whether a copy begins: it is what the mount tells, not that of the disk below the mountpoint."""
    browser.reload()
    eventually(lambda: browser.sees_status("Free space: "))
    told = " ".join(each.name for each in browser.shows())
    found = re.search(r"Free space: ([\d.]+)\s(\w+)", told)
    assert found is not None
    shown = float(found[1]) * _UNITS[found[2]]
    space = os.statvfs(desk.mount.path)
    # Others use this disk meanwhile.
    assert shown == pytest.approx(space.f_bavail * space.f_frsize, rel=0.2)
