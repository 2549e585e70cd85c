"""`remotefs completion`: the scripts in real shells, without a mount and without the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from remotefs.cli.completion.bash import bash_script
from remotefs.cli.completion.fish import fish_script
from remotefs.cli.completion.zsh import zsh_script
from remotefs.cli.main import COMMANDS
from remotefs.cli.spec import all_commands, leaves

MOUNTINFO = (
    "29 1 254:0 / / rw - ext4 /dev/root rw\n"
    "90 29 0:50 / /home/me/claude\\040files rw - fuse.remotefs remotefs rw\n"
    "91 29 0:51 / /mnt/work rw,nosuid shared:1 - fuse.remotefs remotefs rw\n"
    "92 29 0:52 / /mnt/other rw - fuse.sshfs sshfs rw\n"
)
CONFIG = '[service]\n[profile.work.service]\nshape = "ga"\n  [profile.home-1.cache]\n[profile.work.cache]\n'
_COMMANDS = all_commands()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with some files, and the scripts that read its table of mounts and its settings."""
    for name, script in (("bash", bash_script), ("zsh", zsh_script), ("fish", fish_script)):
        text = script(_COMMANDS)
        assert "/proc/self/mountinfo" in text
        (tmp_path / f"script.{name}").write_text(text.replace("/proc/self/mountinfo", str(tmp_path / "mountinfo")))
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    (tmp_path / "remotefs").mkdir()
    (tmp_path / "remotefs" / "config.toml").write_text(CONFIG)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "folder").mkdir()
    (tmp_path / "here" / "a file.txt").touch()
    return tmp_path


def bash(place: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = f". {place}/script.bash; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _remotefs; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=place / "here", env={**os.environ, "XDG_CONFIG_HOME": str(place)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return [line for line in done.stdout.split("\n") if line]


def test_bash_offers_commands_options_and_choices(place: Path) -> None:
    assert set(COMMANDS) <= set(bash(place, "remotefs", ""))
    assert bash(place, "remotefs", "um") == ["umount"]
    assert bash(place, "remotefs", "cache", "") == ["info", "trim", "clear", "-h", "--help"]
    assert bash(place, "remotefs", "cache", "trim", "--m") == ["--mount"]
    assert bash(place, "remotefs", "mount", "--durability", "") == ["remote", "local", "strict"]
    assert bash(place, "remotefs", "completion", "z") == ["zsh"]
    assert "--offline" in bash(place, "remotefs", "doctor", "--")
    assert bash(place, "remotefs", "umount", "--timeout", "") == []


def test_bash_offers_mounts_paths_and_profiles(place: Path) -> None:
    assert bash(place, "remotefs", "umount", "") == ["/home/me/claude\\ files", "/mnt/work"]
    assert bash(place, "remotefs", "status", "--json", "/mnt/w") == ["/mnt/work"]
    assert bash(place, "remotefs", "trash", "list", "--mount", "/mnt") == ["/mnt/work"]
    assert bash(place, "remotefs", "mount", "") == ["folder"]
    assert sorted(bash(place, "remotefs", "put", "")) == ["a file.txt", "folder"]
    assert bash(place, "remotefs", "mount", "--profile", "") == ["home-1", "work"]
    (place / "mountinfo").unlink()


def test_bash_knows_the_script(place: Path) -> None:
    done = subprocess.run(
        ["bash", "--norc", "-c", f". {place}/script.bash; complete -p remotefs"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "complete -F _remotefs remotefs\n"


def test_every_option_of_every_command_is_in_every_script(place: Path) -> None:
    scripts = [(place / f"script.{shell}").read_text() for shell in ("bash", "zsh")]
    fish = (place / "script.fish").read_text()
    for command in leaves(_COMMANDS):
        for option in command.options:
            for name in option.names:
                assert all(name in script for script in scripts)
                assert f"-l {name[2:]}" in fish if name.startswith("--") else f"-s {name[1:]}" in fish


@pytest.mark.long
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_offers_the_same(place: Path) -> None:
    def fish(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {place}/script.fish; complete -C '{line}'"],
            cwd=place / "here", env={**os.environ, "XDG_CONFIG_HOME": str(place), "HOME": str(place)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return [offer.split("\t")[0] for offer in done.stdout.splitlines()]

    assert set(COMMANDS) <= set(fish("remotefs "))
    assert fish("remotefs um") == ["umount"]
    assert set(fish("remotefs cache ")) == {"info", "trim", "clear"}
    assert "/mnt/work" in fish("remotefs umount ")
    assert "/home/me/claude files" in [offer.replace("\\ ", " ") for offer in fish("remotefs umount ")]
    assert sorted(fish("remotefs mount --profile ")) == ["home-1", "work"]
    assert set(fish("remotefs mount --durability ")) == {"remote", "local", "strict"}
    assert "--offline" in fish("remotefs doctor --")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_the_script(place: Path) -> None:
    script = f"autoload -U compinit; compinit -u -D; . {place}/script.zsh; print $_comps[remotefs]"
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("_remotefs\n", "")


def test_a_completion_takes_no_time(place: Path) -> None:
    """It starts nothing but the shell."""
    begun = time.monotonic()
    bash(place, "remotefs", "umount", "")
    assert time.monotonic() - begun < 2
