"""`mount.fuse.remotefs`, as mount(8) calls it: its arguments, its SOURCE, its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from remotefs.cli.launch.mount_source import with_source
from remotefs.cli.launch.plan import MountArgs
from remotefs.cli.mount_helper import SYSTEM_PATH, Call, mount_args, path_with_system, read_call, run
from remotefs.errors import UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with a profile `work`, the accounts `one` and `two/x` and `two/y`, and a folder whose account has no name."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    settings = tmp_path / "config" / "remotefs" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('[profile.work.service]\nbase_url = "http://work"\n')
    data = tmp_path / "data" / "remotefs"
    accounts = {
        f"http://x - {n}": {"organization": organization, "workspace": workspace}
        for n, (organization, workspace) in enumerate([("one", None), ("two", "x"), ("two", "y"), ("gone", None)])
    }
    for name in ("one", "two+x", "two+y", "url=localhost.0123456789ab"):
        (data / "accounts" / name).mkdir(parents=True)
    (data / "accounts.json").write_text(json.dumps({"accounts": accounts}))
    return data / "accounts"


def source(text: str, **fields: str) -> MountArgs:
    return with_source(MountArgs(mountpoint="/mnt", **fields), text)


@pytest.mark.parametrize("text", ["", "none", "remotefs"])
def test_a_source_that_stands_for_the_settings(text: str) -> None:
    assert source(text) == MountArgs(mountpoint="/mnt")


@pytest.mark.parametrize("text", ["https://api.anthropic.com", "http://localhost:8080/path", "HTTP://x"])
def test_a_source_that_is_an_address(text: str) -> None:
    assert source(text) == MountArgs(mountpoint="/mnt", base_url=text)


def test_a_source_that_is_a_profile(tmp_path: Path) -> None:
    assert source("work") == MountArgs(mountpoint="/mnt", profile="work")
    other = tmp_path / "other.toml"
    other.write_text('[profile.play.service]\nbase_url = "http://play"\n')
    assert source("play", config_file=str(other)).profile == "play"
    with pytest.raises(UsageError, match="'work' is not known"):
        source("work", config_file=str(other))


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("one", "one"),
        ("two/x", "two+x"),
        ("two+y", "two+y"),
        ("url=localhost.0123456789ab", "url=localhost.0123456789ab"),
    ],
)
def test_a_source_that_is_an_account(home: Path, text: str, folder: str) -> None:
    assert source(text) == MountArgs(mountpoint="/mnt", state_dir=str(home / folder))


def test_an_organization_with_several_workspaces_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="'two' stands for several accounts: give one of two/x, two/y"):
        source("two")


@pytest.mark.parametrize("text", ["/dev/sda1", "wrok", "gone", "two/z", "ftp://x"])
def test_any_other_source_is_refused_with_what_it_may_be(text: str) -> None:
    with pytest.raises(UsageError, match=r"profile of .*config.toml \(work\).*address.*account.*one, two.*remotefs"):
        source(text)


def test_an_option_that_contradicts_the_source_is_refused() -> None:
    assert source("work", profile="work").profile == "work"
    for text, said in (
        ("work", {"profile": "play"}),
        ("http://x", {"base_url": "http://y"}),
        ("one", {"state_dir": "/s"}),
    ):
        with pytest.raises(UsageError, match="give one of them"):
            source(text, **said)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["work", "/mnt"], Call("work", Path("/mnt"), ())),
        (["work", "/mnt", "-o", "rw,nosuid"], Call("work", Path("/mnt"), ("rw,nosuid",))),
        (
            ["-n", "-v", "work", "/mnt", "-s", "-o", "ro", "-o", "uid=5"],
            Call("work", Path("/mnt"), ("ro", "uid=5"), True, False, True),
        ),
        (["work", "/mnt", "-f", "-t", "fuse.remotefs"], Call("work", Path("/mnt"), (), False, True)),
    ],
)
def test_a_call_of_mount_8(arguments: list[str], expected: Call) -> None:
    assert read_call(arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["work"],
        ["a", "b", "c"],
        ["work", "/mnt", "-x"],
        ["work", "/mnt", "-o"],
        ["work", "/mnt", "-t", "ext4"],
        ["work", "/mnt", "-N", "/ns"],
    ],
)
def test_a_call_that_cannot_be_ends_with_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments, {}) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mount.fuse.remotefs: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", ["umask=9", "foo", "durability=x", "config=/missing"])
def test_a_word_that_cannot_be_ends_with_1(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["remotefs", "/mnt", "-o", words], {}) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_call_that_only_looks_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["work", str(tmp_path), "-f", "-o", "foo", "-s"], {}) == 0
    assert capsys.readouterr() == ("", "")


def test_a_mount_that_cannot_be_ends_with_32(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["work", str(tmp_path / "missing")], {"ANTHROPIC_API_KEY": "sk-hush"}) == 32
    assert "does not exist" in capsys.readouterr().err


def test_the_table_of_mounts_shows_the_source_unless_it_is_told() -> None:
    assert mount_args(Call("work", Path("/mnt"), ())).plan({}).options.fsname == "work"
    assert mount_args(Call("none", Path("/mnt"), ())).plan({}).options.fsname == "none"
    assert mount_args(Call("work", Path("/mnt"), ("fsname=x",))).plan({}).options.fsname == "x"
    with pytest.raises(UsageError, match="comma"):
        mount_args(Call("http://x/a,b", Path("/mnt"), ()))


def test_a_name_that_mount_8_made_a_path_of_is_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("work", "one", "none", "other"):
        (tmp_path / name).mkdir()
    assert mount_args(Call(str(tmp_path / "work"), Path("/mnt"), ())).profile == "work"
    assert mount_args(Call(str(tmp_path / "none"), Path("/mnt"), ())).plan({}).options.fsname == "none"
    with pytest.raises(UsageError, match="is not known"):
        mount_args(Call(str(tmp_path / "other"), Path("/mnt"), ()))
    monkeypatch.chdir("/")
    with pytest.raises(UsageError, match="is not known"):
        mount_args(Call(str(tmp_path / "work"), Path("/mnt"), ()))


def test_programs_are_found_without_a_path() -> None:
    assert path_with_system({}).split(":") == list(SYSTEM_PATH)
    assert path_with_system({"PATH": "/opt/bin:/usr/bin"}).startswith("/opt/bin:/usr/bin:/usr/local/sbin:")
