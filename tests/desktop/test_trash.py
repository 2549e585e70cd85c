"""The desktop's trash on the mount: what it costs, what the service keeps, and what comes back (N6, S3)."""

from __future__ import annotations

import pytest

from tests.desktop.browsers import Browser, Thunar
from tests.desktop.conftest import Desk
from tests.mount.support import eventually


@pytest.fixture
def thunar(desk: Desk) -> Thunar:
    """The menu of PCManFM does not offer to restore."""
    return Thunar.at(desk.display, desk.mount.path)


def test_what_was_trashed_stays_at_the_service_and_is_restored_as_it_was(desk: Desk, thunar: Thunar) -> None:
    ours = desk.write("ours.txt", b"our words\n")
    theirs = desk.foreign("theirs.txt", b"their words\n")
    at_service = desk.stored()
    desk.begin()
    thunar.reload()
    for name in ("ours.txt", "theirs.txt"):
        thunar.trash(name)
        eventually(lambda name=name: not (desk.mount.path / name).exists())
        assert desk.mount.xattr(f"{trash(desk)}/{name}", "state") == "alias"
    # A window on a mount that goes away is closed.
    thunar.go(desk.disk)
    desk.mount.remount()
    thunar.show_trash()
    for name in ("ours.txt", "theirs.txt"):
        thunar.restore(name)
        eventually((desk.mount.path / name).exists)
    assert desk.ops() == []
    assert desk.stored() == at_service
    assert [desk.mount.xattr(name, "id") for name in ("ours.txt", "theirs.txt")] == [ours, theirs]
    assert desk.mount.xattr("ours.txt", "state") == "clean"
    assert (desk.mount.path / "ours.txt").read_bytes() == b"our words\n"
    assert (desk.mount.path / "theirs.txt").read_bytes() == b"their words\n"
    assert desk.ops() == ["content"]


def test_a_folder_is_trashed_and_restored_with_all_that_is_in_it(desk: Desk, thunar: Thunar) -> None:
    ids = {name: desk.write(name) for name in ("album/one.txt", "album/deep/two.txt")}
    desk.begin()
    thunar.trash("album")
    eventually(lambda: not (desk.mount.path / "album").exists())
    thunar.show_trash()
    thunar.restore("album")
    eventually((desk.mount.path / "album/deep/two.txt").exists)
    assert desk.ops() == []
    assert {name: desk.mount.xattr(name, "id") for name in ids} == ids
    eventually(lambda: {desk.mount.xattr(name, "state") for name in ids} == {"clean"})


def test_an_emptied_trash_deletes_what_was_in_it_and_nothing_else(desk: Desk, browser: Browser) -> None:
    desk.write("old.txt")
    desk.write("kept.txt")
    desk.begin()
    browser.trash("old.txt")
    eventually(lambda: not (desk.mount.path / "old.txt").exists())
    assert desk.ops() == []
    browser.show_trash()
    browser.wait_for_file("old.txt")
    browser.empty_trash()
    eventually(lambda: set(desk.stored()) == {"kept.txt"})
    assert desk.ops() == ["delete"]


def test_deleted_for_good_goes_at_once(desk: Desk, browser: Browser) -> None:
    desk.write("old.txt")
    desk.begin()
    browser.delete("old.txt")
    eventually(lambda: not (desk.mount.path / "old.txt").exists())
    assert desk.stored() == {}
    assert desk.ops() == ["delete"]


def trash(desk: Desk) -> str:
    """The folder of the mount in which the desktop keeps what was trashed."""
    return f"{next(path.name for path in desk.mount.path.glob('.Trash-*'))}/files"
