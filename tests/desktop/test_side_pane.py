"""The mount as a volume: shown in the side pane, and ejected there."""

from __future__ import annotations

import pytest

from tests.desktop.browsers import Thunar
from tests.desktop.conftest import Desk
from tests.mount.support import eventually, is_mounted, is_running, stored


@pytest.fixture
def thunar(desk: Desk) -> Thunar:
    """PCManFM lists volumes alone, and a FUSE mount is none."""
    return Thunar.at(desk.display, desk.disk)


def test_an_eject_unmounts_and_loses_nothing(desk: Desk, thunar: Thunar) -> None:
    pid = desk.mount.pid
    (desk.mount.path / "last.txt").write_bytes(b"written just before\n")
    thunar.unmount("mnt")
    eventually(lambda: not is_mounted(desk.mount.path))
    eventually(lambda: not is_running(pid))
    assert stored(desk.server) == {"last.txt": b"written just before\n"}
    eventually(lambda: thunar.find("mnt", role="table cell") is None)


def test_a_mount_in_use_is_not_ejected_and_goes_on(desk: Desk, thunar: Thunar) -> None:
    desk.write("kept.txt")
    with (desk.mount.path / "kept.txt").open("rb") as open_file:
        thunar.unmount("mnt")
        thunar.wait_for_another_window()
        assert is_mounted(desk.mount.path)
        assert open_file.read() == b"first\n"
        thunar.keys("Escape")
    thunar.unmount("mnt")
    eventually(lambda: not is_mounted(desk.mount.path))
