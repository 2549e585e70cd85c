"""`remotefs` itself: its help and version at once, and one line for a word that is not known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from remotefs import __version__
from remotefs.cli.main import COMMANDS, HELP_OPTIONS, SECTIONS, VERSION_OPTIONS, build_app, main
from remotefs.cli.spec import all_commands, leaves

# What the library that reads options takes to load is most of the time that a help may take.
HEAVY = {"typer", "rich", "trio", "httpx", "msgspec", "difflib", "remotefs.config"}


def remotefs(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remotefs", *arguments],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(env or {})},
    )  # fmt: skip


@pytest.mark.parametrize("option", [*HELP_OPTIONS, *VERSION_OPTIONS])
def test_help_and_version_load_next_to_nothing(option: str) -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; sys.argv = ['remotefs', {option!r}]\n"
        "from remotefs.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sys.modules, file=sys.stderr)"
    )
    # Without `site`, whose hooks belong to the tests' environment.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    status, *modules = done.stderr.split()
    assert status == "0"
    assert not HEAVY & set(modules)
    assert done.stdout.startswith("Usage: remotefs " if option in HELP_OPTIONS else f"remotefs {__version__}\n")


def test_the_help_has_a_line_for_each_command_that_fits_a_terminal() -> None:
    done = remotefs("--help")
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", done.stdout, re.MULTILINE)
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert all(f"\n{title}:\n" in done.stdout for title in SECTIONS)
    for status in ("0 success", "1 failure", "2 wrong use", "3 changes", "130 interrupted"):
        assert status in done.stdout


def test_each_summary_is_the_first_sentence_of_the_commands_own_help() -> None:
    commands: dict[str, Any] = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]  # a group
    assert set(commands) == set(COMMANDS)
    for name, command in commands.items():
        assert (command.help or "").startswith(COMMANDS[name].summary.rstrip(".")), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["moutn"], "there is no command moutn; did you mean mount or umount? (`remotefs --help` lists them all)"),
        (["xyzzy"], "there is no command xyzzy (`remotefs --help` lists them all)"),
        (["a\nb\x1b[31m"], "there is no command 'a\\nb\\x1b[31m' (`remotefs --help` lists them all)"),
        (["--versoin"], "there is no option --versoin; did you mean --version? (`remotefs --help` lists them all)"),
        (["mount"], "mount: MOUNTPOINT is missing (`remotefs mount --help` says more)"),
        (["mount", "--loacl", "m"], "mount: there is no option --loacl; did you mean --local or --local-root?"),
        (["umount", "a", "b"], "umount: got unexpected extra argument(s) (b) (`remotefs umount --help` says more)"),
        (["umount", "a", "--timeout"], "--timeout: a value is missing"),
        (["umount", "a", "--timeout", "3y"], "--timeout: '3y' is not valid: give a time from 0 s to 365 d ("),
        (
            ["dedupe", "a", "--keep", "newes"],
            "--keep: 'newes' is not valid: give one of newest, oldest; did you mean newest?",
        ),
        (["cache", "inof"], "cache: there is no command inof; did you mean info? (`remotefs cache --help` says more)"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_may_stand_there(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["remotefs", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.startswith(f"remotefs: {said}")
    assert printed.err.count("\n") == 1


def test_without_a_command_it_shows_its_help_and_fails() -> None:
    done = remotefs()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == remotefs("--help").stdout
    assert "Commands:" in remotefs("cache").stderr


@pytest.mark.parametrize("words", [("cache", "trim")])
def test_h_is_help_for_every_command(words: tuple[str, ...]) -> None:
    short, long = remotefs(*words, "-h"), remotefs(*words, "--help")
    assert short.returncode == 0
    assert short.stdout == long.stdout
    assert short.stdout.startswith(f"Usage: remotefs {' '.join(words)} [OPTIONS]")


# They print no facts, or JSON alone.
WITHOUT_JSON = {"mount", "umount", "generate", "serve", "completion", "install"}


def test_every_command_that_prints_facts_prints_json() -> None:
    silent = [
        " ".join(command.words)
        for command in leaves(all_commands())
        if command.words[0] not in WITHOUT_JSON and not any("--json" in option.names for option in command.options)
    ]
    assert silent == []
