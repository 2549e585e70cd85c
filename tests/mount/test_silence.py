"""A service that hangs, on the kernel: no program is held for long, and all goes on once it answers again (R7)."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import FaultyServer, Hold
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, eventually

CONTENT = random.Random(21).randbytes(600_001)
WAIT_S = 1.0
# Others use this machine: a wait that is over takes this long at most to be seen.
SLACK_S = 5.0
# What takes no longer has not waited.
AT_ONCE_S = 0.7 * WAIT_S

MAP = "import mmap, os, sys; print(mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)[5000])"


@pytest.fixture
def mount(server: FaultyServer, make_mount: MakeMount) -> Mounted:
    for number in range(8):
        server.store.add_generated(f"{number}.bin", CONTENT)
    return make_mount(settings={"REMOTEFS_SERVICE_READ_WAIT_S": str(WAIT_S)})


def cat(path: Path) -> tuple[str, float]:
    """Why it failed, and after how many seconds."""
    began = time.monotonic()
    done = subprocess.run(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr.rpartition(": ")[2].strip(), time.monotonic() - began


def in_vain(call: Callable[[], object]) -> float:
    """Seconds until it has failed with ETIMEDOUT."""
    began = time.monotonic()
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno == errno.ETIMEDOUT
    return time.monotonic() - began


def test_a_reader_is_told_the_next_one_at_once_and_what_came_late_is_read(server: FaultyServer, mount: Mounted) -> None:
    held = server.script.add(Hold(), op="content", times=None)
    reason, took = cat(mount.path / "0.bin")
    assert reason == "Connection timed out"
    assert WAIT_S <= took < WAIT_S + SLACK_S, "the kernel asks twice, and waits once"
    for _ in range(3):
        assert in_vain((mount.path / "0.bin").read_bytes) < AT_ONCE_S
    held.release()
    eventually(lambda: cat(mount.path / "0.bin")[0] == "")
    assert (mount.path / "0.bin").read_bytes() == CONTENT
    assert server.script.count("content") == 1
    said = [line for line in mount.log().splitlines() if "the service has sent nothing for 1 s" in line]
    assert len(said) == 1, "once, not for each read that was told at once"
    assert "0.bin" in said[0]


def test_out_of_reach_nothing_waits_and_the_mount_asks_by_itself(server: FaultyServer, mount: Mounted) -> None:
    assert (mount.path / "7.bin").read_bytes() == CONTENT
    rules = [server.script.add(Hold(), op=op, times=None) for op in ("content", "list")]
    began = time.monotonic()
    in_vain((mount.path / "0.bin").read_bytes)
    eventually(lambda: not mount.status().online)
    listings, lost_for = server.script.count("list"), time.monotonic() - began
    for number in range(1, 7):
        assert in_vain((mount.path / f"{number}.bin").read_bytes) < AT_ONCE_S
    assert server.script.count("content") == 2
    # With a pause of 1 s and more between them, whoever reads; and one poll that was under way.
    assert server.script.count("list") - listings <= 2 + lost_for + time.monotonic() - began
    assert (mount.path / "7.bin").read_bytes() == CONTENT, "what is here is read"
    (mount.path / "new.txt").write_bytes(b"written meanwhile")

    for rule in rules:
        server.script.remove(rule)
    eventually(lambda: mount.status().online)
    for number in range(7):
        assert (mount.path / f"{number}.bin").read_bytes() == CONTENT
    mount.flush()
    assert "Connection timed out" not in mount.log()


def test_a_mapped_reader_gets_sigbus_and_a_cold_program_does_not_start(server: FaultyServer, mount: Mounted) -> None:
    program = shutil.which("true")
    assert program is not None
    server.store.add_generated("program", Path(program).read_bytes())
    eventually((mount.path / "program").exists)
    (mount.path / "program").chmod(0o755)
    held = server.script.add(Hold(), op="content", times=None)
    began = time.monotonic()
    mapped = subprocess.run([sys.executable, "-c", MAP, mount.path / "0.bin"], capture_output=True, check=False)
    assert mapped.returncode == -signal.SIGBUS
    with pytest.raises(OSError):
        subprocess.run([mount.path / "program"], check=False)
    assert time.monotonic() - began < 2 * WAIT_S + SLACK_S

    held.release()
    eventually(lambda: cat(mount.path / "program")[0] == "")
    subprocess.run([mount.path / "program"], check=True)
    eventually(lambda: cat(mount.path / "0.bin")[0] == "")
    mapped = subprocess.run([sys.executable, "-c", MAP, mount.path / "0.bin"], capture_output=True, check=True)
    assert int(mapped.stdout) == CONTENT[5000]


def test_a_write_and_a_cut_that_need_the_bytes_are_told_too(server: FaultyServer, mount: Mounted) -> None:
    held = server.script.add(Hold(), op="content", times=None)

    def overwrite() -> None:
        number = os.open(mount.path / "0.bin", os.O_WRONLY)
        try:
            os.pwrite(number, b"!", 10)
        finally:
            os.close(number)

    assert in_vain(overwrite) < WAIT_S + SLACK_S
    assert in_vain(overwrite) < AT_ONCE_S
    assert in_vain(lambda: os.truncate(mount.path / "1.bin", 100)) < WAIT_S + SLACK_S
    assert (mount.path / "1.bin").stat().st_size == len(CONTENT)
    held.release()
    eventually(lambda: cat(mount.path / "0.bin")[0] == "")
    overwrite()
    assert (mount.path / "0.bin").read_bytes() == CONTENT[:10] + b"!" + CONTENT[11:]


def test_a_killed_reader_is_gone_in_that_time(server: FaultyServer, mount: Mounted) -> None:
    held = server.script.add(Hold(), op="content", times=None)
    # Without the page cache: such a one cannot be killed before it is answered.
    command = ["dd", f"if={mount.path}/0.bin", "iflag=direct", "bs=1M", "status=none"]
    reader = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held.wait_until_hit()
    reader.kill()
    reader.wait(WAIT_S + SLACK_S)


def test_a_body_that_stops_half_way_is_told_and_taken_up(server: FaultyServer, mount: Mounted) -> None:
    large = random.Random(22).randbytes(3 << 20)
    server.store.add_generated("large.bin", large)
    path = mount.path / "large.bin"
    eventually(path.exists)
    held = server.script.add(Hold(after_bytes=1_500_000), op="content", times=1)
    with path.open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 1 << 20, 0) == large[: 1 << 20]
        held.wait_until_hit()
        assert in_vain(lambda: os.pread(file.fileno(), 1000, 1_600_000)) < WAIT_S + SLACK_S
        assert in_vain(lambda: os.pread(file.fileno(), 1000, 1_600_000)) < AT_ONCE_S
        held.release()
        eventually(lambda: cat(path)[0] == "")
        assert os.pread(file.fileno(), 1000, 1_600_000) == large[1_600_000:1_601_000]
    assert server.script.count("content") == 1
