"""The locks install as they are, with any pip and whatever was released since: on stubs, within seconds."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.setup.index import NEWER, Index, Stub, index_only, local_index
from tests.setup.support import NEW_PIP, OLD_PIP, REPOSITORY, fresh_environment, installed, pins, run

BUILD, RUN, DEV = "requirements-build.lock", "requirements.lock", "requirements-dev.lock"
# The one that has no wheels. It asks for what builds it, without a version.
BUILT = {"pyfuse3": ("cython", "setuptools", "setuptools-scm")}


def stub_of(name: str, version: str) -> Stub:
    """What a resolver would see of a package of this environment."""
    found = importlib.metadata.metadata(name)
    assert found["Version"] == version, f"{name} is not the locked one here: run `make setup-dev`"
    return Stub(
        name, version, tuple(found.get_all("Requires-Dist") or ()), tuple(found.get_all("Provides-Extra") or ())
    )


def offer(index: Index, lock: str, folder: Path) -> set[str]:
    """Put stubs of all that a lock names into the index, newer ones beside them, and write a lock of the stubs.

    Returns the names of the files that the lock means.
    """
    lines, files = [], set()
    for name, version in pins(lock).items():
        stub = stub_of(name, version)
        file, content = stub.sources(BUILT[name]) if name in BUILT else stub.wheel()
        lines.append(f"{name}=={version} --hash={index.add(name, file, content)}")
        files.add(file)
        index.add(name, *replace(stub, version=NEWER).wheel())
    (folder / lock).write_text("\n".join(lines) + "\n")
    return files


@pytest.mark.parametrize("locks", [(BUILD, RUN), pytest.param((DEV,), marks=pytest.mark.long)], ids=["run", "dev"])
def test_a_lock_installs_though_everything_has_a_newer_release(tmp_path: Path, locks: tuple[str, ...]) -> None:
    python = fresh_environment(tmp_path / "env", OLD_PIP)
    with local_index() as index:
        wanted = set().union(*(offer(index, lock, tmp_path) for lock in locks))
        run("scripts/install.sh", python, *(tmp_path / lock for lock in locks), env=index_only(index.url, os.environ))
    assert index.fetched == wanted
    assert installed(python) == {name: version for lock in locks for name, version in pins(lock).items()}


def test_a_lock_that_lacks_what_its_packages_need_is_refused(tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "env", NEW_PIP)
    with local_index() as index:
        offer(index, BUILD, tmp_path)
        whole = (tmp_path / BUILD).read_text().splitlines()
        (tmp_path / BUILD).write_text("\n".join(line for line in whole if not line.startswith("pluggy==")))
        with pytest.raises(AssertionError, match="pluggy, which is not installed"):
            run("scripts/install.sh", python, tmp_path / BUILD, env=index_only(index.url, os.environ))


def test_the_locks_agree_about_what_they_share() -> None:
    versions: dict[str, set[str]] = {}
    for lock in sorted(REPOSITORY.glob("requirements*.lock")):
        for name, version in pins(lock.name).items():
            versions.setdefault(name, set()).add(version)
    assert {name: seen for name, seen in versions.items() if len(seen) > 1} == {}
