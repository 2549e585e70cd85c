"""Named profiles of the settings file: which value wins, and whose key is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from remotefs.config import Config, Secret
from remotefs.errors import UsageError
from remotefs.setting_sources import load, profiles_of

FILE = """
[service]
requests_per_minute = 200
api_key = "sk-own"

[writeback]
upload_workers = 3

[profile.work.service]
api_key = "sk-work"
base_url = "https://work.example"

[profile.work.writeback]
durability = "strict"

[profile.play]
writeback = { upload_workers = 1 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE, encoding="utf-8")
    path.chmod(0o600)
    return path


def key_of(config: Config) -> str | None:
    return config.service.api_key.reveal() if config.service.api_key is not None else None


def refusal(file: Path, environ: dict[str, str], profile: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load(environ, file, {}, profile=profile)
    return str(caught.value)


def test_a_profile_wins_over_the_sections_of_its_file_and_leaves_the_rest(file: Path) -> None:
    assert profiles_of(file) == ("work", "play")
    config = load({}, file, {}, profile="work")
    assert (key_of(config), config.service.base_url) == ("sk-work", "https://work.example")
    assert (config.service.requests_per_minute, config.writeback.upload_workers) == (200, 3)
    assert config.writeback.durability == "strict"
    play = load({}, file, {}, profile="play")
    assert (key_of(play), play.writeback.upload_workers) == ("sk-own", 1)
    assert key_of(load({}, file, {})) == "sk-own"
    assert profiles_of(None) == profiles_of(file.with_name("missing.toml")) == ()


def test_our_variables_and_flags_win_over_a_profile(file: Path) -> None:
    environ = {"REMOTEFS_WRITEBACK_DURABILITY": "local", "REMOTEFS_SERVICE_BASE_URL": "https://variable"}
    config = load(environ, file, {"service": {"base_url": "https://flag"}}, profile="work")
    assert (config.writeback.durability, config.service.base_url) == ("local", "https://flag")


def test_a_variable_chooses_the_profile_and_the_flag_wins(file: Path) -> None:
    assert key_of(load({"REMOTEFS_PROFILE": "work"}, file, {})) == "sk-work"
    assert key_of(load({"REMOTEFS_PROFILE": "work"}, file, {}, profile="play")) == "sk-own"
    assert key_of(load({"REMOTEFS_PROFILE": ""}, file, {})) == "sk-own"


def test_the_key_of_another_account_in_the_environment_is_not_used_for_a_profile_with_a_key(file: Path) -> None:
    said: list[str] = []
    environ = {
        "ANTHROPIC_API_KEY": "sk-elsewhere", "ANTHROPIC_AUTH_TOKEN": "token", "ANTHROPIC_BASE_URL": "https://elsewhere",
        "ANTHROPIC_WORKSPACE_ID": "wrkspc_1", "ANTHROPIC_CUSTOM_HEADERS": "X-A: b",
    }  # fmt: skip
    config = load(environ, file, {}, said.append, "work")
    assert (key_of(config), config.service.auth_token) == ("sk-work", None)
    assert (config.service.base_url, config.service.workspace_id) == ("https://work.example", None)
    assert config.service.custom_headers == ()
    assert sorted(said) == [f"{name} is not used: the profile has a key of its own" for name in sorted(environ)]


def test_a_profile_without_a_key_takes_that_of_the_environment_and_its_own_address(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[profile.lab.service]\nbase_url = "https://lab"\n')
    environ = {"ANTHROPIC_API_KEY": "sk-mine", "ANTHROPIC_BASE_URL": "https://elsewhere"}
    config = load(environ, file, {}, profile="lab")
    assert (key_of(config), config.service.base_url) == ("sk-mine", "https://lab")


@pytest.mark.parametrize("variable", ["REMOTEFS_SERVICE_API_KEY", "REMOTEFS_SERVICE_AUTH_TOKEN"])
def test_two_keys_that_are_both_meant_for_remotefs_are_refused(file: Path, variable: str) -> None:
    said = refusal(file, {variable: "sk-hush"}, "work")
    assert said == f"{variable}: the profile has a key too ({file}, line 10); use one of the two"


def test_the_key_of_the_environment_wins_over_that_of_the_file_and_it_is_told(file: Path) -> None:
    said: list[str] = []
    config = load({"ANTHROPIC_AUTH_TOKEN": "token"}, file, {}, said.append)
    assert (config.service.api_key, config.service.auth_token) == (None, Secret("token"))
    [told] = said
    assert told == f"{file}, line 4: the key is not used: ANTHROPIC_AUTH_TOKEN has one, which takes precedence"


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(file: Path) -> None:
    assert refusal(file, {}, "wrok") == (
        f"there is no profile 'wrok' in {file}; did you mean work? (its profiles: work, play)"
    )
    assert refusal(file, {"REMOTEFS_PROFILE": "zzz"}).endswith("(its profiles: work, play)")
    empty = file.with_name("empty.toml")
    assert refusal(empty, {}, "work") == f"there is no profile 'work' in {empty}, which has no profiles"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profile.a.writeback]\nupload_workers = 0\n", "line 2: 0 is not valid for [writeback] upload_workers"),
        ("[profile.a.quux]\n", "line 1: there is no section [quux]"),
        ("[profile.a]\nbase_url = 'x'\n", "line 2: base_url is outside of a section such as [profile.a.service]"),
        ("[profile]\na = 1\n", "line 2: a profile is a table such as [profile.work.service]"),
        ("profile = 1\n", "line 1: a profile is a table such as [profile.work.service]"),
        ("[profile.'a b'.service]\n", "line 1: 'a b' is not valid for a profile: give a name"),
        ("[profile.''.service]\n", "line 1: '' is not valid for a profile: give a name"),
    ],
)
def test_what_cannot_be_is_refused_in_every_profile_of_the_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    assert f"{file}, {said}" in refusal(file, {})
