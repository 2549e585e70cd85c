"""`scripts/setup.sh` mends whatever is left of an earlier set-up; here with two packages, see test_true_files for all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.setup.index import Index, Stub, index_only, local_index
from tests.setup.support import copy_of_checkout, installed, run

# Builds by itself, so that an editable installation takes nothing but this file.
PROJECT = """
[project]
name = "remotefs"
version = "0.1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import shutil
def build_editable(folder, settings=None, metadata=None):
    shutil.copy("remotefs-0.1.0-py3-none-any.whl", folder)
    return "remotefs-0.1.0-py3-none-any.whl"
"""


class Checkout:
    """A checkout whose locks name one stub each."""

    def __init__(self, place: Path, index: Index) -> None:
        self.place = copy_of_checkout(place)
        self._index = index
        (place / "pyproject.toml").write_text(PROJECT)
        (place / "backend.py").write_text(BACKEND)
        name, content = Stub("remotefs", "0.1.0").wheel()
        (place / name).write_bytes(content)
        self.lock("requirements-build.lock", Stub("builder", "1"))
        self.lock("requirements.lock", Stub("runner", "1", ("builder<2",)))
        self.lock("requirements-dev.lock", Stub("tester", "1"))

    def lock(self, lock: str, stub: Stub) -> None:
        digest = self._index.add(stub.name, *stub.wheel())
        (self.place / lock).write_text(f"{stub.name}=={stub.version} --hash={digest}\n")

    def set_up(self, *arguments: str) -> str:
        return run("scripts/setup.sh", *arguments, env=index_only(self._index.url, os.environ), cwd=self.place)

    @property
    def python(self) -> Path:
        return self.place / ".venv" / "bin" / "python"

    def packages(self) -> dict[str, str]:
        return {name: version for name, version in installed(self.python).items() if name != "setuptools"}


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    with local_index() as index:
        yield Checkout(tmp_path / "checkout", index)


WHOLE = {"builder": "1", "runner": "1", "remotefs": "0.1.0"}


@pytest.mark.mount
@pytest.mark.long
def test_a_set_up_that_broke_is_made_again_and_then_left_alone(checkout: Checkout) -> None:
    # As far as one gets that is stopped at once.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.place / ".venv"], check=True)
    checkout.set_up()
    assert checkout.packages() == WHOLE
    made = checkout.python.lstat()
    assert checkout.set_up() == ""
    assert checkout.python.lstat() == made


@pytest.mark.mount
@pytest.mark.long
def test_what_broke_later_is_made_again(checkout: Checkout) -> None:
    checkout.set_up("dev")
    assert checkout.packages() == {**WHOLE, "tester": "1"}
    run(checkout.python, "-m", "pip", "uninstall", "--yes", "--quiet", "runner", env=os.environ)
    (checkout.place / ".venv" / ".run").unlink()
    checkout.set_up()
    assert checkout.packages() == WHOLE


@pytest.mark.mount
@pytest.mark.long
def test_what_an_older_lock_left_does_not_break_a_newer_one(checkout: Checkout) -> None:
    """`runner` is dropped; it would not have fitted the new `builder`."""
    checkout.set_up("dev")
    checkout.lock("requirements-build.lock", Stub("builder", "2"))
    checkout.lock("requirements.lock", Stub("walker", "1"))
    checkout.set_up("dev")
    assert checkout.packages() == {"builder": "2", "walker": "1", "tester": "1", "remotefs": "0.1.0"}


@pytest.mark.mount
@pytest.mark.long
def test_a_checkout_that_was_moved_works_at_its_new_place(checkout: Checkout, tmp_path: Path) -> None:
    checkout.set_up()
    checkout.place = checkout.place.rename(tmp_path / "moved")
    checkout.set_up()
    assert checkout.packages() == WHOLE
    assert str(checkout.place) in (checkout.python.parent / "pip").read_text().splitlines()[0]


@pytest.mark.mount
@pytest.mark.long
def test_a_lock_that_cannot_be_installed_is_told_of_and_tried_again(checkout: Checkout) -> None:
    good = (checkout.place / "requirements.lock").read_text()
    (checkout.place / "requirements.lock").write_text(good.replace("sha256:", "sha256:0"))
    with pytest.raises(AssertionError, match="runner"):
        checkout.set_up()
    (checkout.place / "requirements.lock").write_text(good)
    checkout.set_up()
    assert checkout.packages() == WHOLE
