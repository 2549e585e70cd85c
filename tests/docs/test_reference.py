"""The man pages and docs/cli.md are what the commands and the settings say."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from remotefs.config import Config
from remotefs.setting_sources import kinds_of, variable_of
from tests.docs.support import DOCS, REPOSITORY

PAGES = sorted((DOCS / "man").glob("*"))


def test_the_pages_are_what_the_commands_say() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_every_setting_is_in_its_page_with_what_may_stand_there() -> None:
    page = (DOCS / "man" / "remotefs.toml.5").read_text(encoding="utf-8").replace("\\-", "-")
    for section in Config.__struct_fields__:
        body = page.split(f".SH [{section}]\n")[1].split("\n.SH ")[0]
        for field, kind in kinds_of(section).items():
            told = body.split(f".TP\n.B {field}\n")[1].split(".TP")[0]
            assert told.split("\n")[0], field
            assert kind.allowed[:60].split("`")[0] in told.replace("\\fB", "`")
            assert variable_of(section, field) in told


@pytest.mark.long
@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_shows_every_page_without_a_warning() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-l", *map(str, PAGES)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert all(page.stem.upper() in done.stdout for page in PAGES)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_has_nothing_to_say() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *map(str, PAGES)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
