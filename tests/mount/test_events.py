"""M5: names that others add and remove fire the kernel's events in the mount, by a helper process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from remotefs.mount.announcing import helper
from remotefs.server.queries import ListQuery
from tests.faults import FaultyServer
from tests.mount.conftest import MakeMount, Scene
from tests.mount.inotify import Event, Inotify
from tests.mount.support import (
    Mounted,
    content_of,
    eventually,
    ids,
    is_mounted,
    is_running,
    ops,
    remote,
    remotefs,
    run,
)

# The system calls of the helper that are not the one in which it waits for a packet.
_READ = "0"


def add(server: FaultyServer, path: str, data: bytes = b"bytes") -> str:
    """A file of somebody else; its id."""
    return server.store.add(remote(path), data, downloadable=True).id


@dataclass(frozen=True)
class Folder:
    """A folder of a mount that tests share, and what others do in it."""

    mount: Mounted
    server: FaultyServer
    path: Path

    def add(self, path: str, data: bytes = b"bytes") -> str:
        return add(self.server, f"{self.path.name}/{path}", data)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path))


@pytest.fixture
def folder(scene: Scene) -> Folder:
    """With a file of others, so that it stays; the helper runs."""
    here = Folder(scene.mount, scene.server, scene.folder)
    with Inotify(here.path) as events:
        here.add("stays")
        events.until(Event("CREATE", "stays"))
    return here


def helper_of(mount: Mounted) -> int | None:
    """The process that announces."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if status.read_text().rpartition(")")[2].split()[1] == str(mount.pid):
                words = status.with_name("cmdline").read_bytes().split(b"\0")
                if b"remotefs-announcer" in words:
                    return int(status.parent.name)
    return None


def announced(mount: Mounted, server: FaultyServer, name: str = "first") -> int:
    """Have a first file announced; the process that did it."""
    with Inotify(mount.path) as events:
        add(server, name)
        events.until(Event("CREATE", name))
    found = helper_of(mount)
    assert found is not None
    return found


def test_m5_what_others_add_replace_and_remove_is_announced_once(folder: Folder) -> None:
    old = folder.add("replaced")
    eventually(lambda: folder.names() == ["replaced", "stays"])
    with Inotify(folder.path) as events:
        folder.add("before")
        events.until(Event("CREATE", "before"))
        since = folder.server.script.count()
        gone = folder.add("comes")
        seen = events.until(Event("CREATE", "comes"), Event("CLOSE_WRITE", "comes"))
        assert Counter(seen)[Event("CREATE", "comes")] == 1
        # Nothing was asked of the service for it, and nothing is pending.
        assert ops(folder.server, since) == []
        assert folder.mount.status().pending == ()
        assert (folder.path / "comes").read_bytes() == b"bytes"

        folder.add("replaced", b"newer")
        copy = f"replaced [{old}]"
        seen = events.until(Event("CREATE", "replaced"))
        assert seen[:3] == [Event("MOVED_FROM", "replaced"), Event("MOVED_TO", copy), Event("CREATE", "replaced")]
        assert (folder.path / "replaced").read_bytes() == b"newer"

        folder.server.store.delete(gone)
        assert events.until(Event("DELETE", "comes")) == [Event("DELETE", "comes")]
        assert folder.names() == sorted(["before", "replaced", copy, "stays"])


def test_m5_folders_come_and_go_with_their_files(folder: Folder) -> None:
    with Inotify(folder.path) as events:
        gone = folder.add("d/f")
        events.until(Event("CREATE", "d/"))
        second = folder.add("d/second")
        eventually(lambda: (folder.path / "d" / "second").exists())
        events.watch("d")
        folder.server.store.delete(second)
        events.until(Event("DELETE", "d/second"))
        folder.server.store.delete(gone)
        seen = events.until(Event("DELETE", "d/"))
        assert Counter(seen)[Event("DELETE", "d/")] == 1
    assert folder.names() == ["stays"]


def test_m5_each_file_is_announced_once_though_somebody_opens_them(folder: Folder) -> None:
    """As new, or as changed where it was open before."""
    names = [f"f{number}" for number in range(100)]
    with Inotify(folder.path) as events, ExitStack() as files:
        for name in names:
            folder.add(name)
        for name in names:
            eventually((folder.path / name).exists)
            files.enter_context((folder.path / name).open("rb"))
        seen = events.read()
        while len({event.path for event in seen}) < len(names):
            seen += events.until(timeout_s=15)
    told = Counter(event.path for event in seen if event.what in {"CREATE", "ATTRIB"})
    assert told == Counter(names)


def test_m5_what_this_mount_does_is_announced_by_the_kernel_alone(folder: Folder) -> None:
    with Inotify(folder.path) as events:
        (folder.path / "mine").write_bytes(b"x")
        folder.mount.flush()
        (folder.path / "mine").rename(folder.path / "moved")
        folder.mount.flush()
        (folder.path / "moved").unlink()
        folder.mount.flush()
        folder.add("theirs")
        seen = Counter(event.what for event in events.until(Event("CREATE", "theirs")))
    assert (seen["CREATE"], seen["MOVED_TO"], seen["DELETE"]) == (2, 1, 1)


def test_m5_the_helper_has_no_descriptor_but_its_socket(folder: Folder) -> None:
    found = helper_of(folder.mount)
    targets = [os.readlink(entry) for entry in Path(f"/proc/{found}/fd").iterdir()]
    # One that is there for the length of a call is of the mount's folders.
    assert sorted(target.partition(":")[0] for target in targets)[:3] == ["/dev/null", "/dev/null", "socket"]
    assert not any("fuse" in target for target in targets)
    # It is a process of its own, not a thread.
    assert not Path(f"/proc/{folder.mount.pid}/task/{found}").exists()


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [(("-o", "ro"), {}), pytest.param((), {"REMOTEFS_REFRESH_EVENTS": "false"}, marks=pytest.mark.long)],
)
def test_m5_a_read_only_mount_and_one_without_events_announce_nothing(
    make_mount: MakeMount, server: FaultyServer, arguments: tuple[str, ...], settings: dict[str, str]
) -> None:
    mount = make_mount(*arguments, settings=settings)
    with Inotify(mount.path) as events:
        add(server, "comes")
        eventually(lambda: (mount.path / "comes").exists())
        time.sleep(0.5)
        assert events.read() == []
    assert helper_of(mount) is None


@pytest.mark.long
def test_m5_a_helper_that_hangs_is_replaced(mount: Mounted, server: FaultyServer) -> None:
    found = announced(mount, server)
    os.kill(found, signal.SIGSTOP)
    with Inotify(mount.path) as events:
        add(server, "lost")
        eventually(lambda: not is_running(found))
        add(server, "next")
        events.until(Event("CREATE", "next"))
    assert "did not answer" in mount.log()


def test_m5_a_mount_that_is_killed_while_the_helper_is_in_a_call_is_gone_at_once(
    mount: Mounted, server: FaultyServer
) -> None:
    found = announced(mount, server)
    # The mount answers nothing any more, so the helper waits in the kernel.
    with Inotify(mount.path):
        add(server, "waits")
        _stop_within_a_call(mount, server, found)
        pid = mount.pid
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        eventually(lambda: not is_running(pid) and not is_running(found))
        assert time.monotonic() - began < 1.0
    mount.started()
    announced(mount, server, "after")


def _stop_within_a_call(mount: Mounted, server: FaultyServer, found: int) -> None:
    for number in range(200):
        add(server, f"waits{number}")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(random.Random(time.monotonic_ns()).random() * 0.01)
        os.kill(mount.pid, signal.SIGSTOP)
        time.sleep(0.02)
        if Path(f"/proc/{found}/syscall").read_text().split()[0] not in {_READ, "running"}:
            return
        os.kill(mount.pid, signal.SIGCONT)
    raise AssertionError("the helper was never seen in a call")


@pytest.mark.parametrize(
    ("command", "files"),
    [
        (("fusermount3", "-u"), 300),
        pytest.param(("umount",), 1000, marks=[pytest.mark.long, pytest.mark.root("umount")]),
    ],
)
def test_m5_a_mount_can_be_unmounted_while_it_announces(
    mount: Mounted, server: FaultyServer, command: tuple[str, ...], files: int
) -> None:
    """It may be busy for a moment, as by any program at work in it."""
    found = announced(mount, server)
    for number in range(files):
        add(server, f"f{number}")
    eventually(lambda: (mount.path / f"f{files // 2}").exists())
    tries = 0
    while subprocess.run([*command, str(mount.path)], check=False, capture_output=True).returncode:
        tries += 1
        assert tries < 20
    eventually(lambda: not is_running(found))


@pytest.mark.long
def test_m5_a_thousand_arrivals_hold_up_nobody(mount: Mounted, server: FaultyServer) -> None:
    """A program asks for one name after the other: as quickly as while nothing is announced, but for a busy machine."""
    (mount.path / "mine").mkdir()
    before = _waits(mount, 500)
    with Inotify(mount.path) as events:
        for number in range(1000):
            add(server, f"f{number}")
        during = list[float]()
        created = 0
        end = time.monotonic() + 60
        while created < 1000:
            assert time.monotonic() < end
            during += _waits(mount, 20)
            created += sum(event.what == "CREATE" for event in events.read())
    assert sorted(during)[len(during) * 99 // 100] < 0.05
    assert sorted(during)[len(during) // 2] < 10 * sorted(before)[len(before) // 2] + 0.001


def _waits(mount: Mounted, times: int) -> list[float]:
    """How long names are asked for that the kernel does not know, in seconds each."""
    waits = []
    for _ in range(times):
        began = time.perf_counter()
        (mount.path / "mine" / f"{time.monotonic_ns()}").exists()
        waits.append(time.perf_counter() - began)
    return waits


@pytest.mark.long
def test_m5_umount_ends_a_mount_that_announces(mount: Mounted, server: FaultyServer) -> None:
    announced(mount, server)
    for number in range(300):
        add(server, f"f{number}")
    eventually(lambda: (mount.path / "f100").exists())
    done = mount.umount()
    assert done.returncode == 0, done.stderr
    assert not is_mounted(mount.path)


@pytest.mark.root("mounts something over the mountpoint")
@pytest.mark.parametrize("way", [pytest.param("over", marks=pytest.mark.long), "lazily"])
def test_m5_what_lies_over_or_under_the_mountpoint_is_left_alone(
    mount: Mounted, server: FaultyServer, way: str
) -> None:
    add(server, "stays")
    gone = add(server, "gone")
    eventually(lambda: (mount.path / "gone").exists())
    announced(mount, server)
    inside = os.open(mount.path, os.O_RDONLY)
    pid = mount.pid
    try:
        if way == "over":
            run("mount", "-t", "tmpfs", "over", mount.path)
        else:
            run("umount", "-l", mount.path)
        (mount.path / "gone").write_bytes(b"precious")
        (mount.path / "mine").mkdir()
        server.store.delete(gone)
        add(server, "new")
        add(server, "mine/new")
        # The mount goes on below: whoever is inside sees it.
        eventually(lambda: {"new", "mine"} <= set(os.listdir(inside)) and "gone" not in os.listdir(inside))
        time.sleep(0.5)
        assert sorted(os.listdir(mount.path)) == ["gone", "mine"]
        assert (mount.path / "gone").read_bytes() == b"precious"
        assert os.listdir(mount.path / "mine") == []
    finally:
        os.close(inside)
        if way == "over":
            run("umount", mount.path)
    if way == "lazily":
        eventually(lambda: not is_running(pid))
        (mount.path / "gone").unlink()
        (mount.path / "mine").rmdir()


def test_m5_the_helper_follows_no_link_and_leaves_the_mount_for_no_other(tmp_path: Path) -> None:
    """Without a mount: any folder has a device number."""
    (tmp_path / "mnt" / "d").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "mnt" / "link").symlink_to(tmp_path / "outside")
    mountpoint, device = os.fsencode(tmp_path / "mnt"), tmp_path.stat().st_dev
    with pytest.raises(NotADirectoryError):
        helper.open_folder(mountpoint, b"link", device)
    with pytest.raises(OSError, match="not the mount"):
        helper.open_folder(mountpoint, b"d", device + 1)
    before = len(os.listdir("/proc/self/fd"))
    os.close(helper.open_folder(mountpoint, b"d", device))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "steps", [pytest.param(100, id="sample"), pytest.param(10_000, id="all", marks=pytest.mark.long)]
)
def test_m5_changes_here_and_elsewhere_of_the_same_names_end_alike(
    mount: Mounted, server: FaultyServer, steps: int
) -> None:
    """Whatever is announced when: tree, kernel and service have the same files."""
    choose = random.Random(steps)
    add(server, "stays")
    eventually(lambda: (mount.path / "stays").exists())
    names = [f"n{number}" for number in range(12)]
    with Inotify(mount.path) as events:
        for step in range(steps):
            _one_change(mount, server, choose, choose.choice(names), step)
            events.read()
        mount.flush()
        # The service has what is here, and nothing else: no file was made, lost or doubled by an announcement.
        eventually(lambda: _contents(mount) == sorted(_records(server).values()))
    here = os.listdir(mount.path)
    listed = remotefs("ls", "-0", mount.path, env=mount.env).stdout.split("\0")
    assert sorted(filter(None, listed)) == sorted(str(mount.path / name) for name in here)
    assert [name for name in names if (mount.path / name).exists()] == [name for name in names if name in here]
    assert all((mount.path / name).stat().st_nlink == 1 for name in here)


def _contents(mount: Mounted) -> list[bytes]:
    with suppress(OSError):  # a file that is gone at the service, which the mount has not heard of yet
        return sorted(path.read_bytes() for path in mount.path.iterdir())
    return []


def _records(server: FaultyServer) -> dict[str, bytes]:
    """The contents at the service by id."""
    records = server.store.list(ListQuery(limit=1000)).records
    return {record.id: content_of(server, record.id) for record in records}


def _one_change(mount: Mounted, server: FaultyServer, choose: random.Random, name: str, step: int) -> None:
    data = f"{step}".encode()
    changes: list[Callable[[], object]] = [
        lambda: add(server, name, data),
        lambda: server.store.delete(ids(server)[name]),
        lambda: (mount.path / name).write_bytes(data),
        lambda: (mount.path / name).unlink(),
        lambda: (mount.path / name).rename(mount.path / f"n{step % 12}"),
        lambda: (mount.path / name).stat(),
    ]
    with suppress(FileNotFoundError, KeyError):
        choose.choice(changes)()
    if choose.random() < 0.05:
        time.sleep(choose.random() * 0.3)
