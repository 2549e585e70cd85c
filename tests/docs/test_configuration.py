"""docs/configuration.md against the settings and the command line themselves."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from remotefs.cli.main import build_app
from remotefs.config import Config
from remotefs.setting_sources import load
from tests.docs.support import DOCS, REPOSITORY, documents, rows, sections

TEXT = (DOCS / "configuration.md").read_text(encoding="utf-8")
SECTIONS = Config.__struct_fields__


@functools.cache
def commands() -> dict[str, Any]:
    """Every command that has options, by the words that call it."""
    return dict(_walk(typer.main.get_command(build_app()), "remotefs"))


def _walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, f"{words} {name}")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_told_with_its_default(section: str) -> None:
    settings = getattr(Config(), section)
    told = {cells[0].strip("`"): cells for cells in rows(sections(TEXT, 3)[f"[{section}]"])}
    assert list(told) == list(settings.__struct_fields__)
    for field, (_, default, unit, variable, why) in told.items():
        value = getattr(settings, field)
        if section == "names" and isinstance(value, tuple) and value:
            assert default == "below"
        elif value is None:
            assert default == "unset"
        else:
            assert tuple_for_list(tomllib.loads(f"x = {default.strip('`')}")["x"]) == value, field
        assert variable == f"`REMOTEFS_{section}_{field}`".upper()
        assert why
        assert unit or isinstance(value, bool)


def tuple_for_list(value: object) -> object:
    if isinstance(value, dict):
        return tuple(value.items())
    return tuple(value) if isinstance(value, list) else value


def test_the_lists_of_names_are_the_defaults() -> None:
    [told] = [
        tomllib.loads(block)["names"]
        for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
        if "temporary = [" in block
    ]
    defaults = Config().names
    assert (tuple(told["never_uploaded"]), tuple(told["temporary"])) == (defaults.never_uploaded, defaults.temporary)


def test_the_sample_file_is_one(tmp_path: Path) -> None:
    sample = re.findall(r"```toml\n(.*?)```", sections(TEXT, 2)["The file"], re.DOTALL)[0]
    file = tmp_path / "config.toml"
    file.write_text(sample, encoding="utf-8")
    settings = load({}, file, {})
    assert settings != Config()
    assert settings.writeback.durability == "strict"


def test_every_command_has_its_section_and_no_other() -> None:
    told = {
        re.match(r"remotefs(?: [a-z][a-z-]*)*", heading)[0] for heading in sections(sections(TEXT, 2)["Commands"], 3)
    }  # type: ignore[index]  # no heading there is another
    groups = {
        words for words, command in commands().items() if getattr(command, "commands", {}) and words != "remotefs"
    }
    assert told == set(commands()) - groups


def test_every_option_is_told_with_its_command() -> None:
    told = {re.match(r"remotefs(?: [a-z][a-z-]*)*", heading)[0]: body  # type: ignore[index]  # see above
            for heading, body in sections(sections(TEXT, 2)["Commands"], 3).items()}  # fmt: skip
    silent = [
        f"{words} {option}"
        for words, command in commands().items()
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
        for option in [*parameter.opts, *parameter.secondary_opts]
        if not re.search(rf"`{re.escape(option)}[` ]", told.get(words, ""))
    ]
    assert silent == []


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_command_line_that_is_shown_can_be_typed(document: Path) -> None:
    """Those in code blocks are parsed by the command itself: `tests/docs/test_blocks.py`."""
    shown = re.findall(r"`(remotefs [^`\n#;…|]*)", document.read_text(encoding="utf-8"))
    assert [line for line in shown if not _can_be_typed(line)] == []


def _can_be_typed(line: str) -> bool:
    known = commands()
    words = max((words for words in known if f"{line} ".startswith(f"{words} ")), key=len)
    options = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", line))
    allowed = {option for p in known[words].params for option in [*p.opts, *p.secondary_opts]} | {"--help"}
    return options <= allowed and (words != "remotefs" or bool(options))
