"""What `pipx install` gets: the wheel, as hatchling builds it."""

from __future__ import annotations

import configparser
import os
import re
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.setup.support import REPOSITORY, run

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, env=os.environ)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_it_has_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "remotefs").rglob("*.py")}
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == modules | {"remotefs/py.typed"}


def test_it_brings_what_a_mount_needs_and_the_server_as_an_extra(wheel: zipfile.ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    wanted = Parser().parsestr(wheel.read(path).decode()).get_all("Requires-Dist") or []
    always = {name_of(line) for line in wanted if "extra ==" not in line}
    extra = {name_of(line) for line in wanted if "extra == 'server'" in line}
    assert always == {name_of(line) for line in PROJECT["dependencies"]} >= {"pyfuse3", "trio", "httpx"}
    assert extra == {name_of(line) for line in PROJECT["optional-dependencies"]["server"]}


def test_it_brings_the_command(wheel: zipfile.ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(path).decode())
    assert dict(entries["console_scripts"]) == {"remotefs": "remotefs.cli.main:main"}


def test_the_documented_list_of_packages_is_all_but_pyfuse3() -> None:
    text = (REPOSITORY / "docs" / "installation.md").read_text()
    (listed,) = re.findall(r"pip install (cachetools .*)", text)
    needed = {name_of(line) for line in PROJECT["dependencies"]} - {"pyfuse3"}
    assert {name_of(word.strip("'")) for word in listed.split()} == needed


def test_the_documented_wheel_is_the_one_that_is_built(wheel: zipfile.ZipFile) -> None:
    assert Path(wheel.filename or "").name in (REPOSITORY / "docs" / "installation.md").read_text()


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
