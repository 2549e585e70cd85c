"""What the documents show as code is code: shells, Python and settings that a reader can copy."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from remotefs.cli.main import build_app
from remotefs.config import Config
from remotefs.setting_sources import OTHER_VARIABLES, RENAMED, load
from tests.docs.sessions import blocks_of, steps_of
from tests.docs.support import REPOSITORY, documents

SHELLS = {"console", "sh", "bash", "shell"}
# Variables of the project's own tools, which no program that is installed reads.
OF_THE_TESTS = {"REMOTEFS_LIVES_S"}
# Fields of an entry in the journal, which look like variables.
OF_THE_JOURNAL = {"REMOTEFS_LOGGER", "REMOTEFS_MOUNTPOINT"}
ENDS_A_COMMAND = {"|", "||", "&&", "&", ";", "(", ")", "|&"}
# What mount answers of a file, and the two attributes that a person sets (A5, M1, M3).
ATTRIBUTES = {
    "id", "mime_type", "created_at", "expires_at", "downloadable", "readable", "state", "usable_as", "name_type", "expires_in",
}  # fmt: skip
# What remotefs uses for itself: the way to the control socket, and the label of a staged file.
INNER_ATTRIBUTES = {"control", "label"}

every_document = pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))


def scripts_of(document: Path) -> Iterator[str]:
    """Yield every command that a document shows in a code block."""
    for block in blocks_of(document.read_text(encoding="utf-8")):
        if block.language == "console":
            yield from (step.command for step in steps_of(block.text))
        elif block.language in SHELLS:
            yield block.text


def blocks_in(document: Path, language: str) -> list[str]:
    return [block.text for block in blocks_of(document.read_text(encoding="utf-8")) if block.language == language]


@every_document
def test_every_shell_block_is_one(document: Path) -> None:
    script = "\n".join(scripts_of(document))
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.stderr == ""


@every_document
def test_every_python_block_is_one(document: Path) -> None:
    for block in blocks_in(document, "python"):
        compile(block, str(document), "exec")


@every_document
def test_every_settings_block_can_be_loaded(document: Path, tmp_path: Path) -> None:
    for block in blocks_in(document, "toml"):
        file = tmp_path / "config.toml"
        file.write_text(block, encoding="utf-8")
        # It may hold a key.
        file.chmod(0o600)
        assert load({}, file, {}) is not None


@every_document
def test_every_setting_that_is_named_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = {(section, field) for section, field in re.findall(r"`\[(\w+)\] ([a-z]\w+)", text)}
    named |= {(section, field) for section, field in re.findall(rf"`({'|'.join(sections())})\.(?!py`)([a-z_]+)`", text)}
    assert {name for name in named - {*RENAMED} if name[1] not in sections().get(name[0], ())} == set()


@every_document
def test_every_variable_that_is_named_exists(document: Path) -> None:
    settings = {f"REMOTEFS_{section}_{field}".upper() for section, fields in sections().items() for field in fields}
    named = set(re.findall(r"\bREMOTEFS_[A-Z_]+[A-Z]\b(?!_?[<…])", document.read_text(encoding="utf-8")))
    assert named - settings - OTHER_VARIABLES - OF_THE_TESTS - OF_THE_JOURNAL == set()


@every_document
def test_every_attribute_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"\buser\.remotefs\.(\w+)", document.read_text(encoding="utf-8")))
    assert named - ATTRIBUTES - INNER_ATTRIBUTES == set()


@functools.cache
def sections() -> dict[str, tuple[str, ...]]:
    """The names of all settings, by their section."""
    return {name: getattr(Config(), name).__struct_fields__ for name in Config.__struct_fields__}


@every_document
def test_the_command_itself_takes_every_command_line(document: Path) -> None:
    refused = [f"{' '.join(words)}: {why}" for words in command_lines(document) if (why := refusal(words))]
    assert refused == []


def command_lines(document: Path) -> Iterator[list[str]]:
    """Yield the words of every call of remotefs in the code blocks of a document."""
    for script in scripts_of(document):
        for words in commands_of(script):
            if words[:1] == ["remotefs"]:
                yield words[1:]


def commands_of(script: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a script, without redirections and variables that it sets."""
    script = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", script, flags=re.MULTILINE | re.DOTALL)
    inner = re.findall(r"\$\(([^()]*)\)", script)
    plain = re.sub(r"\s\d?(?:>{1,2}|<{1,3})(?:&\d|\s*\S+)", " ", re.sub(r"\$\([^()]*\)", "X", script))
    # A comment takes the line break that ends it.
    lexer = shlex.shlex(plain.replace("\\\n", " ").replace("\n", "\n\n"), posix=True, punctuation_chars="|&;()\n")
    lexer.whitespace = " \t\r"
    # Of addresses.
    lexer.wordchars += ":"
    words: list[str] = []
    for token in lexer:
        if token in ENDS_A_COMMAND or set(token) == {"\n"}:
            yield words
            words = []
        elif words or (token not in {"do", "then", "until", "while", "if", "!", "sudo", "time"} and "=" not in token):
            words.append(token)
    yield words
    for each in inner:
        yield from commands_of(each)


def refusal(words: list[str]) -> str:
    """Return why remotefs does not take a command line; empty where it does. Runs nothing."""
    command = whole_command()
    try:
        context = command.make_context("remotefs", [*words])
        while hasattr(command, "resolve_command"):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
    except click.exceptions.Exit:
        return ""
    except Exception as error:  # noqa: BLE001 - typer's own classes of wrong use are not exported
        why = getattr(error, "message", "") or str(error) or type(error).__name__
        # The reader has the files, this machine does not.
        return "" if why.endswith("does not exist.") else why
    return ""


@functools.cache
def whole_command() -> Any:
    return typer.main.get_command(build_app())


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        (["mount", "~/files"], True),
        (["mount"], False),
        (["mount", "~/files", "--loud"], False),
        (["trash", "restore", "1"], True),
        (["trash", "restore", "one"], False),
        (["mend"], False),
    ],
)
def test_a_line_that_cannot_be_typed_is_noticed(line: list[str], *, taken: bool) -> None:
    assert (refusal(line) == "") is taken


def test_commands_are_found_within_others() -> None:
    found = list(
        commands_of("a=1 remotefs ls -0 | xargs -0 rm -- > out; b=$(remotefs id x) # remotefs no\nremotefs umount m")
    )
    assert [words for words in found if words[:1] == ["remotefs"]] == [
        ["remotefs", "ls", "-0"], ["remotefs", "umount", "m"], ["remotefs", "id", "x"],
    ]  # fmt: skip
