"""What `pipx install` gets: the wheel, as hatchling builds it."""

from __future__ import annotations

import configparser
import os
import re
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.setup.support import REPOSITORY, run

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the archive of the sources, and the wheel that was built out of that archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, env=os.environ)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    sources = folder / archive.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, env=os.environ, cwd=sources)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    (built,) = dist.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(path).decode())


def test_it_has_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "remotefs").rglob("*.py")}
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    manuals = {
        f"remotefs-{PROJECT['version']}.data/data/share/man/man{page.suffix[1:]}/{page.name}"
        for page in (REPOSITORY / "docs" / "man").glob("*.[1-8]")
    }
    assert names == modules | {"remotefs/py.typed"} | manuals


def test_it_brings_what_a_mount_needs_and_the_server_as_an_extra(metadata: Message) -> None:
    wanted = metadata.get_all("Requires-Dist") or []
    always = {name_of(line) for line in wanted if "extra ==" not in line}
    extra = {name_of(line) for line in wanted if "extra == 'server'" in line}
    assert always == {name_of(line) for line in PROJECT["dependencies"]} >= {"pyfuse3", "trio", "httpx"}
    assert extra == {name_of(line) for line in PROJECT["optional-dependencies"]["server"]}


def test_it_brings_the_command(wheel: zipfile.ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(path).decode())
    assert dict(entries["console_scripts"]) == PROJECT["scripts"]


def test_it_has_a_description_that_can_be_read_anywhere_and_the_licence(
    wheel: zipfile.ZipFile, metadata: Message
) -> None:
    """A relative link leads nowhere on the page of an index, and the project has no address of its own."""
    text = str(metadata.get_payload())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert (metadata["Version"], metadata["License-Expression"]) == (PROJECT["version"], "MIT")
    assert "\ndocs/installation.md covers" in text
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_the_sources_are_whole_and_nothing_lies_about_in_them(dist: Path) -> None:
    """So that `make test` works in them; what they lack of the repository has nothing to do with the program."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("without git nobody knows which files belong to the project")
    (sources,) = (path for path in dist.iterdir() if path.is_dir())
    there = {str(path.relative_to(sources)) for path in sources.rglob("*") if path.is_file()}
    tracked = run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", env=os.environ, cwd=REPOSITORY
    ).splitlines()
    wanted = {name for name in tracked if not name.startswith(".ci/") and (REPOSITORY / name).exists()}
    assert there - wanted == {"PKG-INFO"}
    assert wanted - there == set()


def test_the_documented_list_of_packages_is_all_but_pyfuse3() -> None:
    text = (REPOSITORY / "docs" / "installation.md").read_text()
    (listed,) = re.findall(r"pip install (cachetools .*)", text)
    needed = {name_of(line) for line in PROJECT["dependencies"]} - {"pyfuse3"}
    assert {name_of(word.strip("'")) for word in listed.split()} == needed


def test_the_documented_wheel_is_the_one_that_is_built(wheel: zipfile.ZipFile) -> None:
    assert Path(wheel.filename or "").name in (REPOSITORY / "docs" / "installation.md").read_text()


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
