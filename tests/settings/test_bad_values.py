"""The table of bad values, made from the settings and the commands themselves (H6).

Each bad value of each setting, by the environment and by a file, and of each option and argument of each command, is
refused with one line that names the place and the value and says what may stand there, and the exit status is 2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from remotefs.cli.console import printable
from remotefs.cli.exit_status import EXIT_USAGE, exit_status
from remotefs.cli.main import build_app
from remotefs.cli.wrong_use import as_wrong_use
from remotefs.config import Config
from remotefs.errors import UsageError
from remotefs.setting_kinds import Kind
from remotefs.setting_sources import kinds_of, load, variable_of
from tests.mount.support import environment

# No number, time or size of any setting or option is one of these.
NO_NUMBER = [
    "",
    " ",
    "much",
    "-1",
    "nan",
    "inf",
    "-inf",
    "1e30",
    "9" * 5000,
    "1 2",
    "1_0",
    "٣",
    "３",
    "0x10",
    "1,5",
    "1\x00",
    "½",
]
NO_TIME = [*NO_NUMBER, "3y", "1h 30m", "5 parsecs", "s", "10K"]
NO_SIZE = [*NO_NUMBER, "1X", "10 s", "K", "1.5", "1KK"]
NO_WORD = ["", " ", "maybe", "REMOTE!", "nan", "2", "ｌｏｃａｌ", "remote\n"]
NO_ADDRESS = [
    "", "example.com", "ftp://h", "https://", "https://user:hush@h", "https://h?q=1", "https://h#f", "https://h:99999",
    "https://h h", "https://[::1", "https://a\nb", "javascript:alert(1)",
]  # fmt: skip
NO_RATE = [*NO_NUMBER, "1023", "2T", "10M/min"]
NO_PLACE_TO_LISTEN = [
    "9464", ":9464", "0.0.0.0:9464", "[::]:9464", "192.168.1.7:9464", "example.com:9464", "127.0.0.1:0",
    "127.0.0.1:70000", "127.0.0.1", "unix:", "unix:a/b", "unix:..", "http://127.0.0.1:9464",
]  # fmt: skip
NO_STORE = [
    "bucket", "s3://", "s3:///x", "https://h/b", "s3://me:hush@b", "s3://b?q=1", "s3://b#f", "s3://b/../c", "s3://b//c",
    "s3://b:9000/c", "gs://b b", "az://b\n", "file://h/x", "file://", "file:///", "file:x", "file:///a/../b", "memory:///",
    "file:///a%00b", "file:///a%ff",
]  # fmt: skip
NO_ID = ["", " ", "a b", "a\nb", "ü", "\u202e"]
# By the kind of a setting.
BY_KIND = {
    "Time": NO_TIME,
    "Size": NO_SIZE,
    "Number": [*NO_NUMBER, "1.5", "1K", "5s"],
    "Part": [*NO_NUMBER, "1.5", "50%", "1.1"],
    "Times": [*(text for text in NO_TIME if text != "1 2"), "5 5", "15 5", "1 2 3 4 5 6 7 8 9 10 11"],
    "Word": NO_WORD,
    "Flag": ["", "maybe", "2", "nan", "ja", "ｔｒｕｅ"],
    "Id": NO_ID,
    "Text": [""],
    "FilePath": ["", "key", "./key", "~me/key", "/a\nb"],
    "CommandLine": ["", " ", "'open", '""'],
    "CredentialName": ["", "a b", "a/b", ".."],
    "SecretText": [""],
    "Headers": ["no colon", ": no name"],
    "Patterns": ["*", "**", "a/b", "ok a/b"],
    "TimesByPattern": ["a", "=1h", "a=", "a/b=1h", "a=59m", "a=91d", "a=nan", "a=1h b"],
    "Address": NO_ADDRESS,
    "Rate": NO_RATE,
    "ListenAddress": NO_PLACE_TO_LISTEN,
    "StoreAddress": NO_STORE,
}
# What no file has for any setting, as TOML.
IN_FILE = ["nan", "inf", "[[]]", "1979-05-27", "-1", "1" + "0" * 400, '["", ""]', '"\\u202e"', "{ a = { b = 1 } }"]
SETTINGS = [(section, field) for section in Config.__struct_fields__ for field in kinds_of(section)]


def assert_one_line(text: str) -> None:
    assert text == printable(text)
    assert len(text) < 600
    assert "Traceback" not in text


def kind_name(kind: Kind) -> str:
    """The name of a kind that the table has, or of the one that it is made from."""
    return next(one.__name__ for one in type(kind).__mro__ if one.__name__ in BY_KIND)


@pytest.mark.parametrize(("section", "field"), SETTINGS)
def test_a_bad_variable_is_one_line(section: str, field: str) -> None:
    variable, kind = variable_of(section, field), kinds_of(section)[field]
    for text in BY_KIND[kind_name(kind)]:
        # A power of two is asked for.
        with pytest.raises(UsageError) as caught:
            load({variable: text}, None, {})
        said = str(caught.value)
        assert_one_line(said)
        assert said.startswith(f"{variable}: ")
        assert said.endswith(f" is not valid for [{section}] {field}: give {kind.allowed}")
        assert exit_status(caught.value) == EXIT_USAGE
        if kind.is_secret:
            assert "hush" not in said


@pytest.mark.parametrize(("section", "field"), SETTINGS)
def test_a_bad_line_of_a_file_is_one_line(tmp_path: Path, section: str, field: str) -> None:
    file, kind = tmp_path / "config.toml", kinds_of(section)[field]
    name = kind_name(kind)
    # Any text is a key; patterns and headers are lists.
    bad = [value for value in IN_FILE if name not in {"SecretText", "Text", "CommandLine"} or "u202e" not in value]
    if name not in {"Patterns", "Headers"}:
        bad.append(json.dumps(BY_KIND[name][0]))
    for value in bad:
        file.write_text(f"\n[{section}]\n{field} = {value}\n", encoding="utf-8")
        with pytest.raises(UsageError) as caught:
            load({}, file, {})
        said = str(caught.value)
        assert_one_line(said)
        assert said.startswith(f"{file}, line 3: "), value
        assert f"[{section}] {field}: give {kind.allowed}" in said


# -- options and arguments

# By the metavar; those that take any text have their own tests, and are listed so that a new one is not forgotten.
BY_METAVAR = {
    "TIME": NO_TIME,
    "DAYS": NO_TIME,
    "SIZE": NO_SIZE,
    "NUMBER": [*NO_NUMBER, "1.5", "0"],
    "PORT": [*NO_NUMBER, "65536"],
    "MOUNTPOINT": [""],
    "PATH": [""],
    "DIR": [""],
    "FILE": [""],
    "DEST": [""],
    "PATH... DEST": [""],
    "SOURCE... [DEST]": [""],
    "(ID|PATH)... DEST": [""],
    "ID": NO_ID,
    "NAME": [""],
    "PATTERN": [""],
    "ADDRESS": [""],
    "LISTEN": NO_PLACE_TO_LISTEN,
    "RATE": NO_RATE,
    "TYPE": ["", "nonsense", "a/", "ü/x"],
    "SHELL": ["", "tcsh"],
}
# Read by the command itself: see below.
OTHERS = {"URL", "OPTION,...", "MOUNT_PATH", "[-- COMMAND [ARG]...]"}


def places() -> Iterator[tuple[str, Any, Any]]:
    """Each command with each of its options and arguments that take a value."""
    for name, command in typer.main.get_command(build_app()).commands.items():  # type: ignore[attr-defined]  # a group
        for words, one in _walk(name, command):
            for parameter in one.params:
                if not getattr(parameter, "is_flag", False):
                    yield words, one, parameter


def _walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    if inner := getattr(command, "commands", None):
        for name, one in inner.items():
            yield from _walk(f"{words} {name}", one)
    else:
        yield words, command


PLACES = list(places())


def refusal(words: str, command: Any, parameter: Any, value: str) -> str:
    """What is said of a value, and that nothing was begun."""
    given = [f"{max(parameter.opts, key=len)}", value] if parameter.param_type_name == "option" else [value]
    needed = [
        word
        for other in command.params
        if other.required and other is not parameter
        for word in ([*other.opts[:1], "/missing"] if other.param_type_name == "option" else ["x"])
    ]
    with pytest.raises(BaseException) as caught:
        # It is read, and not carried out.
        command.make_context(f"remotefs {words}", [*needed, *given])
    wrong_use = as_wrong_use(caught.value)
    assert wrong_use is not None, caught.value
    assert (wrong_use.is_line, wrong_use.status) == (True, EXIT_USAGE)
    return wrong_use.text


@pytest.mark.parametrize(
    ("words", "command", "parameter"), PLACES, ids=lambda value: str(getattr(value, "name", value))
)
def test_a_bad_value_of_an_option_is_one_line(words: str, command: Any, parameter: Any) -> None:
    choices = getattr(parameter.type, "choices", None)
    metavar = parameter.metavar
    if metavar in OTHERS:
        return
    assert choices or metavar in BY_METAVAR, f"{words} {parameter.name}: a metavar without bad values"
    place = max(parameter.opts, key=len) if parameter.param_type_name == "option" else metavar
    for value in NO_WORD if choices else BY_METAVAR[metavar]:
        if value.startswith("-") and parameter.param_type_name == "argument":
            continue
        said = refusal(words, command, parameter, value)
        assert_one_line(said)
        assert said.startswith(f"{place}: "), said
        assert "give " in said, said
        assert repr(value)[:40].replace("\\\\", "\\") in said, said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mount", "m", "--base-url", "ftp://h"], "--base-url: the value (not shown) is not valid for [service] base_url: give an address such as "),
        (["mount", "m", "--shared-store", "s3://me:hush@b"], "--shared-store: the value (not shown) is not valid for [shared] store: give an address such as "),
        (["mount", "m", "--base-url", "https://me:hush@h"], "--base-url: the value (not shown) is not valid"),
        (["mount", "--local", "m", "-o", "bogus"], "-o bogus: no such option; known are "),
        (["id", "--resources", "data", "a"], "--resources: data: the path in a session's container begins with /"),
        (["umount", "m", "--timeout", "3\x1b[31my"], "--timeout: '3\\x1b[31my' is not valid: give a time from "),
    ],
)  # fmt: skip
def test_the_command_itself_says_it_in_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "m").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "remotefs", *words], cwd=tmp_path, env={**environment(), "HOME": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", os.getcwd())},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert done.stderr.startswith(f"remotefs: {said}")
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_a_bad_variable_is_told_by_every_command_that_reads_settings(tmp_path: Path) -> None:
    env = {**environment(), "REMOTEFS_CACHE_CHUNK_BYTES": "3K", "HOME": str(tmp_path)}
    for words in (["mount", "--local", "m"],):
        done = subprocess.run(
            [sys.executable, "-m", "remotefs", *words], cwd=tmp_path, env={**env, "PYTHONPATH": os.environ.get("PYTHONPATH", os.getcwd())},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == EXIT_USAGE
        assert done.stderr == (
            "remotefs: REMOTEFS_CACHE_CHUNK_BYTES: '3K' is not valid for [cache] chunk_bytes: give a size from 4 KiB to 1 MiB, "
            "a power of two (bytes, or with K, M, G or T)\n"
        )
