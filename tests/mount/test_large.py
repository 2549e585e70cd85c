"""A file nearly as large as the service takes: up and down byte for byte, in little memory (R6, W1)."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.support import mounted
from tests.server_process import ServerProcess, running_server

SIZE = 450 << 20
# More than may be resident: enough to see that not all of a file is.
SAMPLE_SIZE = 240 << 20
PIECE = 1 << 20
RESIDENT_KIB = 200 << 10
# Of eight such files that are read at once.
EIGHT_RESIDENT_KIB = 300 * 10**6 >> 10


def pieces(size: int) -> Iterator[bytes]:
    """The content: no two pieces alike, and cheap to make."""
    noise = random.Random(7).randbytes(PIECE)
    for number in range(size // PIECE):
        yield number.to_bytes(8) + noise[8:]


def peak_kib(pid: int) -> int:
    """The most memory that was ever resident in a process (VmHWM in proc(5))."""
    [line] = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM:")]
    return int(line.split()[1])


def write(path: Path, size: int = SIZE) -> str:
    digest = hashlib.blake2b()
    with path.open("wb", buffering=0) as file:
        for piece in pieces(size):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path / "server") as server:
        yield server


@pytest.mark.long
def test_240_mb_go_up_and_come_down_in_200_mb_of_memory(server: ServerProcess, tmp_path: Path) -> None:
    _check_that_it_goes_up_and_comes_down(server, tmp_path, SAMPLE_SIZE)


@pytest.mark.long
def test_450_mb_go_up_and_come_down_in_200_mb_of_memory(server: ServerProcess, tmp_path: Path) -> None:
    _check_that_it_goes_up_and_comes_down(server, tmp_path, SIZE)


def _check_that_it_goes_up_and_comes_down(server: ServerProcess, tmp_path: Path, size: int) -> None:
    with mounted(tmp_path / "one", server.url, server.key) as one:
        digest = write(one.path / "large.bin", size)
        one.flush()
        assert read(one.path / "large.bin") == digest
        assert peak_kib(one.pid) < RESIDENT_KIB

    with mounted(tmp_path / "two", server.url, server.key) as two:
        assert (two.path / "large.bin").stat().st_size == size
        assert read(two.path / "large.bin") == digest
        assert peak_kib(two.pid) < RESIDENT_KIB


@pytest.mark.long
def test_eight_files_of_450_mb_at_once_take_less_than_300_mb_of_memory(server: ServerProcess, tmp_path: Path) -> None:
    with mounted(tmp_path / "one", server.url, server.key) as one:
        digests = {number: write(one.path / f"{number}.bin") for number in range(8)}
        one.flush()
    with mounted(tmp_path / "two", server.url, server.key) as two:
        command = ["b2sum", *(two.path / f"{number}.bin" for number in digests)]
        readers = [subprocess.Popen([*command[:1], path], stdout=subprocess.PIPE, text=True) for path in command[1:]]
        seen = [reader.communicate()[0].split()[0] for reader in readers]
        assert seen == list(digests.values())
        assert peak_kib(two.pid) < EIGHT_RESIDENT_KIB
