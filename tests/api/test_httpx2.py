"""This layer, and the tests that ask the server by httpx, work on httpx's successor too: moving is a matter of names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# Without what waits for names that nobody has, or reads thousands of pages.
QUICK = "not nobody and not endless and not exception"


def passes_on_httpx2(*arguments: str) -> None:
    """Run tests in a process whose `httpx` is `httpx2`, by the packages of `.envs/httpx2` before those of `.venv`."""
    (packages,) = (REPOSITORY / ".envs" / "httpx2" / "lib").glob("python*/site-packages")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.api.on_httpx2", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(packages)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "remotefs speaks HTTP by httpx2" in done.stdout, done.stdout


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(("test_wire.py",), id="wire", marks=pytest.mark.long),
        pytest.param(("test_large_reads.py", "test_pool.py"), id="pool"),
    ],
)
def test_requests_on_real_sockets(files: tuple[str, ...]) -> None:
    passes_on_httpx2("-k", QUICK, *(f"tests/api/{file}" for file in files))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_test_of_the_client_and_of_the_server() -> None:
    passes_on_httpx2("--ignore", "tests/api/test_httpx2.py", "tests/api", "tests/server")
