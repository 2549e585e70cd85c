"""Commands that ask several mounts: one that is dead or hangs hides nothing of the others (H3)."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from remotefs.cli.launch.unmount_all import in_waves, mounts_of, unmount_all, worst
from remotefs.control.mounts import MountEntry
from tests.mount.conftest import MakeMount
from tests.mount.support import detach, is_mounted, remotefs


@pytest.mark.long
def test_a_dead_and_a_hung_mount_hide_nothing_of_the_others(make_mount: MakeMount) -> None:
    """One mount's process was killed, another's stands still, the third works."""
    # The kernel answers nothing of the hung one from its cache.
    hung = make_mount(settings={"REMOTEFS_MOUNT_ENTRY_TIMEOUT_S": "0"})
    dead, alive = make_mount(), make_mount()
    (alive.path / "f").write_bytes(b"bytes")
    dead.kill()
    hung.signal(signal.SIGSTOP)
    try:
        # Both wait for the hung one: together.
        with ThreadPoolExecutor() as pool:
            listed, shown = pool.map(lambda words: remotefs(*words), [("status", "--json"), ("status",)])
        answers = {answer["mountpoint"]: answer for answer in map(json.loads, listed.stdout.splitlines())}
        assert answers[str(alive.path)]["pid"] == alive.pid
        assert "lost its process" in answers[str(dead.path)]["error"]
        assert "hangs" in answers[str(hung.path)]["error"]
        assert listed.returncode == 1
        assert all(str(mount.path) in shown.stdout for mount in (dead, hung, alive))
        flushed = remotefs("flush", dead.path, hung.path, alive.path, "--timeout", 2)
        assert flushed.returncode == 1
        assert _told(flushed.stderr, dead.path, hung.path) == [True, True]
        assert not _told(flushed.stderr, alive.path)[0]
        assert alive.status().pending == ()
        retried = remotefs("retry", dead.path, alive.path)
        assert (retried.returncode, "0 changes are tried again" in retried.stderr) == (1, True)
    finally:
        hung.signal(signal.SIGCONT)
        detach(dead.path)


@pytest.mark.long
def test_h3_all_mounts_are_unmounted_beside_a_dead_and_a_hung_one(make_mount: MakeMount) -> None:
    """By what `umount --all` does with its list: as root the list would have the mounts of other tests too."""
    hung = make_mount(settings={"REMOTEFS_MOUNT_ENTRY_TIMEOUT_S": "0"})
    dead, busy, alive = make_mount(), make_mount(), make_mount()
    mounts = [mount.path for mount in (hung, dead, busy, alive)]
    said: list[str] = []
    with (busy.path / "open").open("w"):
        dead.kill()
        hung.signal(signal.SIGSTOP)
        try:
            # The worst of all: one is busy.
            assert unmount_all(mounts, 0.5, said.append) == 1
        finally:
            hung.signal(signal.SIGCONT)
    results = {path: [line for line in said if line.startswith(str(path))] for path in mounts}
    assert all(results.values())
    assert "is busy" in results[busy.path][0]
    assert results[alive.path] == [f"{alive.path}: unmounted"]
    assert list(map(is_mounted, mounts)) == [False, False, True, False]


def test_h3_umount_takes_one_mount_or_all() -> None:
    for arguments in ((), ("--all", "/mnt")):
        done = remotefs("umount", *arguments)
        assert (done.returncode, "MOUNTPOINT, or --all for all of yours" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("mountpoints", "waves"),
    [
        ([], []), (["/a", "/b"], [["/a", "/b"]]), (["/a", "/a/b", "/c"], [["/a/b", "/c"], ["/a"]]),
        (["/a", "/a"], [["/a"], ["/a"]]), (["/a", "/ab"], [["/a", "/ab"]]),
        (["/a", "/a/b", "/a/b/c"], [["/a/b/c"], ["/a/b"], ["/a"]]),
    ],
)  # fmt: skip
def test_a_mount_in_another_is_unmounted_first(mountpoints: list[str], waves: list[list[str]]) -> None:
    assert in_waves([Path(path) for path in mountpoints]) == [[Path(path) for path in wave] for wave in waves]


def test_a_user_unmounts_their_own_and_root_everybodys() -> None:
    table = [MountEntry(Path(f"/{n}"), fstype, "x", owner) for n, fstype, owner in (
        (1, "fuse.remotefs", 1000), (2, "fuse.remotefs", 1001), (3, "fuse.sshfs", 1000), (4, "fuse.remotefs", 0),
    )]  # fmt: skip
    assert mounts_of(1000, table) == [Path("/1")]
    assert mounts_of(0, table) == [Path("/1"), Path("/2"), Path("/4")]
    assert [worst(statuses) for statuses in ((), (0, 3), (3, 1, 0), (0, 2, 3))] == [0, 3, 1, 2]


def _told(text: str, *paths: Path) -> list[bool]:
    return [f"remotefs: {path}: " in text for path in paths]
