"""What the kernel knows of the mount is counted exactly: nothing stays known or open for ever, nothing goes too soon.

An inode that is forgotten one count too late is a leak; one too early, and the kernel's next question fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from remotefs.vfs.handles import HandleStatistics
from tests.faults import KEY, faulty_server
from tests.mount.support import PATIENCE_S, detach, environment, eventually
from tests.posix.support import RENAME_EXCHANGE, getdents, link_through, opened, rename2, write_file

SCRIPT = Path(__file__).with_name("counted_mount.py")
# Only root may tell the kernel to forget names.
pytestmark = pytest.mark.root("makes the kernel forget names")
NOTHING = HandleStatistics(files=0, directories=0, known_inodes=0)


class CountedMount:
    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        self.path = path
        self._process = process

    def statistics(self) -> HandleStatistics:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return HandleStatistics(**json.loads(self.line()))

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def left(self, wanted: HandleStatistics) -> HandleStatistics:
        """What is counted after the kernel dropped every name that nobody uses; it takes its time, so wait for it."""

        def is_so() -> bool:
            Path("/proc/sys/vm/drop_caches").write_text("2")
            return self.statistics() == wanted

        with suppress(AssertionError):
            eventually(is_so, timeout=PATIENCE_S / 3)
        return self.statistics()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountedMount]:
    folder = tmp_path_factory.mktemp("counted")
    (folder / "mnt").mkdir()
    with faulty_server(folder / "server") as server:
        env = environment(KEY, {"REMOTEFS_SERVICE_BASE_URL": server.url, "PYTHONPATH": str(Path.cwd())})
        process = subprocess.Popen(
            [sys.executable, SCRIPT, folder / "mnt", folder / "state"],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        mount = CountedMount(folder / "mnt", process)
        try:
            while mount.line() != "Ready":
                assert process.poll() is None
            yield mount
        finally:
            detach(mount.path)
            process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


@pytest.fixture(autouse=True)
def _work_in_it(counted: CountedMount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(counted.path)


def _assert_left(counted: CountedMount, monkeypatch: pytest.MonkeyPatch, wanted: HandleStatistics = NOTHING) -> None:
    monkeypatch.chdir("/")
    assert counted.left(wanted) == wanted


def test_names_that_were_made_found_listed_moved_and_removed(
    counted: CountedMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        write_file(f"file{number}")
        Path(f"folder{number}").mkdir()
        Path(f"folder{number}/link").symlink_to("x")
        os.link(f"file{number}", f"folder{number}/hard")
        os.mkfifo(f"folder{number}/fifo")
        os.rename(f"folder{number}/fifo", f"fifo{number}")
    rename2("file1", "folder2", RENAME_EXCHANGE)
    os.rename("file3", "file4")
    for name in ("file5", "folder6/link", "missing"):
        with suppress(FileNotFoundError):
            os.unlink(name)
    for _ in range(3):
        assert len(list(Path().rglob("*"))) > 100
        with opened(".", os.O_RDONLY) as fd:
            getdents(fd, 200)  # a listing that is given up

    _assert_left(counted, monkeypatch)
    # And what was forgotten is found again.
    assert (counted.path / "folder7" / "hard").read_bytes() == b"content"


def test_calls_that_fail_count_nothing(counted: CountedMount, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file("there")
    for call in (lambda: os.mkdir("there"), lambda: os.link("there", "there"), lambda: os.symlink("x", "there"),
                 lambda: os.open("there", os.O_CREAT | os.O_EXCL), lambda: os.rmdir("there"), lambda: os.stat("nope")):  # fmt: skip
        with pytest.raises(OSError, match=r"exists|Not a directory|No such"):
            call()

    _assert_left(counted, monkeypatch)


def test_open_files_hold_what_they_need_until_they_close(
    counted: CountedMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file("removed", b"still here")
    write_file("kept")
    with opened("removed", os.O_RDWR) as removed, opened("kept", os.O_RDONLY) as kept, opened(".", os.O_RDONLY):
        os.unlink("removed")
        os.rename("kept", "moved")
        link_through(f"/proc/self/fd/{kept}", "again")
        _assert_left(counted, monkeypatch, HandleStatistics(files=2, directories=1, known_inodes=2))
        assert (os.pread(removed, 99, 0), os.fstat(removed).st_nlink, os.fstat(kept).st_nlink) == (b"still here", 0, 2)

    _assert_left(counted, monkeypatch)


def test_numbers_are_never_used_again(counted: CountedMount, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for _ in range(20):
        write_file("again")
        seen.append(os.stat("again").st_ino)
        os.unlink("again")
    assert len(set(seen)) == 20
    assert seen == sorted(seen)
