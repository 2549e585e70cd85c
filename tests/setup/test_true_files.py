"""The locks with the true files, from an index in which everything has a newer release. Minutes, so run by test-long.

The files are fetched once, by pip, from whatever index it is set to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.setup.index import NEWER, Index, Stub, index_only, local_index
from tests.setup.support import NEW_PIP, OLD_PIP, copy_of_checkout, fresh_environment, installed, pins, run
from tests.setup.test_locks import BUILD, DEV, RUN, stub_of

LOCKS = (BUILD, RUN, DEV)
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Serves every file that the locks name for this interpreter, and a newer stub of each package."""
    folder = tmp_path_factory.mktemp("files")
    for lock in LOCKS:
        run(
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation",
            "--require-hashes", "--dest", folder, "-r", lock, env=os.environ,
        )  # fmt: skip
    with local_index() as running:
        for lock in LOCKS:
            for name, version in pins(lock).items():
                stub = stub_of(name, version)
                running.add(name, *Stub(name, NEWER, stub.requires, stub.extras).wheel())
        for path in folder.iterdir():
            running.add(path.name.split("-")[0], path.name, path.read_bytes())
        yield running


@pytest.fixture
def environment(index: Index) -> dict[str, str]:
    return index_only(index.url, os.environ)


def version_of(remotefs: Path) -> str:
    return run(remotefs, "--version", env=os.environ)


@pytest.mark.parametrize("pip", [OLD_PIP, NEW_PIP])
def test_every_lock_installs_and_the_command_runs(tmp_path: Path, environment: dict[str, str], pip: str) -> None:
    python = fresh_environment(tmp_path / "env", pip)
    checkout = copy_of_checkout(tmp_path / "checkout")
    run("scripts/install.sh", python, BUILD, RUN, env=environment, cwd=checkout)
    assert installed(python) == pins(BUILD) | pins(RUN)
    run(
        python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ".",
        env=environment, cwd=checkout,
    )  # fmt: skip
    assert version_of(python.with_name("remotefs")) == "remotefs 0.1.0\n"
    run("scripts/install.sh", python, DEV, env=environment, cwd=checkout)
    assert installed(python) == {**pins(BUILD), **pins(RUN), **pins(DEV), "remotefs": "0.1.0"}


@pytest.mark.mount
def test_a_set_up_that_is_cut_anywhere_is_mended_by_the_next(
    tmp_path: Path, environment: dict[str, str], index: Index
) -> None:
    checkout = copy_of_checkout(tmp_path / "checkout")
    remotefs = checkout / ".venv" / "bin" / "remotefs"

    # Cut while it fetches, again and again, each time further on.
    for fetched in (0, 1, 12, 30):
        index.fetched.clear()
        cut = subprocess.Popen(
            ["scripts/setup.sh", "dev"], cwd=checkout, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while cut.poll() is None and len(index.fetched) < fetched:
            time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.killpg(cut.pid, signal.SIGKILL)
        cut.wait()
    run("scripts/setup.sh", "dev", env=environment, cwd=checkout)
    assert version_of(remotefs) == "remotefs 0.1.0\n"

    # A package was taken away, and the note that all is there with it.
    run(remotefs.with_name("python"), "-m", "pip", "uninstall", "--yes", "--quiet", "msgspec", env=environment)
    (checkout / ".venv" / ".run").unlink()
    run("scripts/setup.sh", env=environment, cwd=checkout)
    assert version_of(remotefs) == "remotefs 0.1.0\n"
    assert run("scripts/setup.sh", env=environment, cwd=checkout) == ""
