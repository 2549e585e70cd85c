"""A real mount at work on a disk that fills, fails and heals: it lives on, and nothing that it acknowledged is lost (H7)."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.crash.power import ForgetfulDisk
from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import Mounted, environment, is_mounted, is_running, remotefs, stored

WRITERS = 3
FILES = 40
# What may fail, with what, and how much of it.
TROUBLES = [
    (errno.ENOSPC, 1.0, "write,make"), (errno.ENOSPC, 0.3, "write,make"), (errno.EIO, 0.3, "write"),
    (errno.EIO, 0.5, "make"), (errno.EIO, 1.0, "write,make"),
]  # fmt: skip


@dataclass
class Writer:
    """Writes, renames, removes and reads files of its own, and remembers what each may hold now."""

    folder: Path
    seed: int
    # By name: what it holds by the last acknowledged close, and what may be there instead since.
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    attempted: dict[str, set[bytes | None]] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    wrong: list[str] = field(default_factory=list)
    # By name: what was done, and how it ended.
    told: dict[str, list[str]] = field(default_factory=dict)

    def work(self, stop: threading.Event) -> None:
        """Go on until told to stop; errors are the disk's, and what they leave behind is either old or new."""
        chance = random.Random(self.seed)
        while not stop.is_set():
            name = f"f{chance.randrange(FILES)}"
            act = chance.choices([self._write, self._remove, self._read], [6, 1, 5])[0]
            told = self.told.setdefault(name, [])
            told.append(f"{datetime.now(tz=UTC):%H:%M:%S.%f} {act.__name__}")
            try:
                act(name, chance)
                self.done += 1
            except OSError as error:
                told[-1] += f": {error.strerror}"
                if error.errno not in {errno.ENOSPC, errno.EIO, errno.ENOENT}:
                    self.wrong.append(str(error))
                self.failed += 1
                time.sleep(0.02)

    def _write(self, name: str, chance: random.Random) -> None:
        content = chance.randbytes(chance.randrange(1, 20_000))
        self.attempted.setdefault(name, {None}).add(content)
        (self.folder / name).write_bytes(content)
        self.acknowledged[name] = content
        self.attempted[name] = {content}

    def _remove(self, name: str, _: random.Random) -> None:
        self.attempted.setdefault(name, {None}).add(None)
        (self.folder / name).unlink()
        self.acknowledged.pop(name, None)
        self.attempted[name] = {None}

    def _read(self, name: str, _: random.Random) -> None:
        if name in self.acknowledged and not self.is_right(name, (self.folder / name).read_bytes()):
            self.wrong.append(name)

    def is_right(self, name: str, found: bytes | None) -> bool:
        """Whether a file may hold that: what was acknowledged last, or (a part of) what came after it and failed."""
        may_be = self.attempted.get(name, {None})
        # A write that failed in the middle has truncated the file, and may have written the first of its bytes.
        return found in may_be or (len(may_be) > 1 and any(one and found == one[: len(found or b"")] for one in may_be))


@contextmanager
def at_work(folder: Path) -> Iterator[list[Writer]]:
    """Writers in threads."""
    stop = threading.Event()
    writers = [Writer(folder / f"w{number}", number) for number in range(WRITERS)]
    threads = [threading.Thread(target=writer.work, args=(stop,)) for writer in writers]
    for writer in writers:
        writer.folder.mkdir()
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        stop.set()
        for thread in threads:
            thread.join(60.0)


def run_on_a_failing_disk(
    tmp_path: Path, server: FaultyServer, seconds: float, troubles: list[tuple[int, float, str]]
) -> None:
    disk = ForgetfulDisk(tmp_path)
    mount = Mounted(tmp_path / "mnt", disk.root / "state", environment(KEY), ("--base-url", server.url))
    mount.path.mkdir()
    # Its disk is bad, which is told in the log.
    mount.may_log_tracebacks = True
    chance = random.Random(1)
    try:
        mount.started()
        pid = mount.pid
        with at_work(mount.path) as writers:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                disk.fail(*chance.choice(troubles))
                time.sleep(chance.uniform(0.1, 1.5))
                disk.fail(0, 0.0, "")
                time.sleep(chance.uniform(0.2, 2.0))
                assert is_running(pid)
                assert is_mounted(mount.path)
        assert min(writer.done for writer in writers) > 0
        assert sum(writer.failed for writer in writers) > 0
        assert [writer.wrong for writer in writers] == [[]] * WRITERS
        # It has healed by itself; of a sync that failed nobody can say so, and the next mount makes up for that.
        remotefs("retry", mount.path)
        if any(calls == "sync" for _, _, calls in troubles):
            assert mount.umount(timeout=20).returncode in {0, 3}
            mount.started()
        mount.flush()
        _compare(writers, server)
        checked = remotefs("check", mount.path)
        assert checked.returncode == 0, checked.stderr
    finally:
        disk.fail(0, 0.0, "")
        if is_mounted(mount.path):
            mount.end()
        print(mount.log()[-8000:])
        disk.close()


def _compare(writers: list[Writer], server: FaultyServer) -> None:
    """Here and at the service is what was acknowledged, or what came after it."""
    at_service = stored(server)
    for number, writer in enumerate(writers):
        for name in {*writer.attempted}:
            path = writer.folder / name
            here = path.read_bytes() if path.exists() else None
            assert writer.is_right(name, here), (path, here and len(here), writer.told[name])
            if here:
                assert at_service.get(f"w{number}/{name}") == here, path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


@pytest.mark.mount
@pytest.mark.long
def test_a_disk_that_fills_fails_and_heals(tmp_path: Path, server: FaultyServer) -> None:
    run_on_a_failing_disk(tmp_path, server, 7.0, TROUBLES)


@pytest.mark.mount
@pytest.mark.long
def test_a_disk_that_fills_fails_and_heals_for_half_an_hour(tmp_path: Path, server: FaultyServer) -> None:
    run_on_a_failing_disk(tmp_path, server, 1800.0, TROUBLES)


@pytest.mark.mount
@pytest.mark.long
def test_a_disk_whose_syncs_fail_acknowledges_nothing_that_is_lost(tmp_path: Path, server: FaultyServer) -> None:
    run_on_a_failing_disk(tmp_path, server, 60.0, [*TROUBLES, (errno.EIO, 0.2, "sync")])
