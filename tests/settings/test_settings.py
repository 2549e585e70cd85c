"""Every setting refuses what cannot be, with its place, the value, and what may stand there (H6)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.config import Config, Secret
from remotefs.errors import RemotefsError, UsageError
from remotefs.setting_kinds import Kind
from remotefs.setting_sources import OTHER_VARIABLES, PROFILE_VARIABLE, kinds_of, load, variable_of

SETTINGS = [(section, field) for section in Config.__struct_fields__ for field in kinds_of(section)]
# None of these can be any setting, but for a flag, an id or a pattern, each of which has its own below.
NEVER = ["-1", "nan", "inf", "-inf", "1e30", str(10**30), "9" * 5000, "", " "]


def value_of(config: Config, section: str, field: str) -> object:
    value: object = getattr(getattr(config, section), field)
    return value


def refusal(environ: Mapping[str, str], file: Path | None = None, flags: Mapping[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load(environ, file, {"service": flags or {}})
    return str(caught.value)


def test_every_setting_has_a_kind() -> None:
    for section, field in SETTINGS:
        assert isinstance(kinds_of(section)[field], Kind), field


@pytest.mark.parametrize(("section", "field"), SETTINGS)
def test_a_default_is_what_its_kind_allows(section: str, field: str) -> None:
    default = value_of(Config(), section, field)
    if default is not None and not isinstance(default, Secret):
        assert kinds_of(section)[field].read(default) == default


# Texts that a setting of each kind cannot be.
REFUSED = {
    **dict.fromkeys(("Time", "Size", "Number", "Part"), NEVER),
    "Rate": [*NEVER, "1023", "2T", "10M/min"],
    "ListenAddress": [
        "9464", ":9464", "0.0.0.0:9464", "[::]:9464", "192.168.1.7:9464", "example.com:9464", "127.0.0.1:0",
        "127.0.0.1:70000", "127.0.0.1", "unix:", "unix:a/b", "unix:..", "http://127.0.0.1:9464",
    ],
    "Times": [*NEVER, "0", "5 5", "15 5", "1 2 3 4 5 6 7 8 9 10 11"],
    "Word": ["", "maybe", "REMOTE!", "2", "nan"],
    "Flag": ["", "maybe", "2", "nan"],
    "Id": ["", "a b", "a\nb", "ü"],
    "SecretText": [""],
    "StoreAddress": [
        "bucket", "s3://", "s3:///x", "https://h/b", "s3://me:hush@b", "s3://b?q=1", "s3://b/../c", "s3://b//c",
        "file://h/x", "file:///", "file:x", "file:///a/../b", "memory:///",
    ],
    "FilePath": ["", "key", "./key", "~other/key", "/a\nb"],
    "CommandLine": ["", " ", "'open", "''", "''  pass"],
    "CredentialName": ["", "a/b", "..", ".", "a b", "ü"],
    "Headers": ["no colon", ": no name"],
    "Patterns": ["*", "**", "a/b"],
    "TimesByPattern": ["a", "=1h", "a=", "a/b=1h", "a=59m", "a=91d", "a=1h b", "a=nan"],
    "Address": [
        "", "example.com", "ftp://example.com", "https://", "https://user:hush@example.com", "https://h?q=1",
        "https://h#f", "https://h:99999", "https://h:0", "https://h h", "https://[::1", "https://a\nb",
    ],
}  # fmt: skip


def refused(section: str, field: str) -> list[str]:
    """Texts that the setting cannot be."""
    return REFUSED[type(kinds_of(section)[field]).__name__]


@pytest.mark.parametrize(("section", "field"), SETTINGS)
def test_what_cannot_be_is_refused_with_its_place_and_what_may_stand_there(section: str, field: str) -> None:
    variable, kind = variable_of(section, field), kinds_of(section)[field]
    for text in REFUSED[type(kind).__name__]:
        said = refusal({variable: text})
        assert said.startswith(f"{variable}: "), text
        assert said.endswith(f"give {kind.allowed}")
        assert field in said
        assert len(said) < 400
        if not kind.is_secret and type(kind).__name__ not in {"Times", "Patterns", "TimesByPattern"}:
            assert repr(text)[:80] in said


@pytest.mark.parametrize(("section", "field"), SETTINGS)
def test_a_file_with_a_value_that_cannot_be_is_refused_with_its_line(tmp_path: Path, section: str, field: str) -> None:
    file = tmp_path / "config.toml"
    nothing = "{}" if field != "expires_in" else "{a = 1}"
    for value in ("nan", "inf", "[[]]", nothing, "1979-05-27", "-1", "1" + "0" * 30, '["", ""]'):
        file.write_text(f"# A comment.\n\n[{section}]\n{field} = {value}\n", encoding="utf-8")
        said = refusal({}, file)
        assert said.startswith(f"{file}, line 4: "), value
        assert f"[{section}] {field}" in said


zeroes = {
    ("writeback", "upload_workers"), ("writeback", "backlog_intents"), ("refresh", "budget_fraction"), ("cache", "chunk_bytes"),
    ("service", "connect_timeout_s"), ("service", "io_timeout_s"), ("service", "request_deadline_s"),
    ("service", "read_wait_s"), ("service", "max_file_bytes"), ("refresh", "poll_in_use_s"), ("refresh", "poll_idle_s"),
    ("refresh", "walk_every_s"), ("refresh", "check_viewed_every_s"), ("mount", "max_tasks"), ("mount", "max_background"),
}  # fmt: skip


@pytest.mark.parametrize(("section", "field"), sorted(zeroes))
def test_nothing_at_all_is_refused_where_work_would_stand_still(section: str, field: str) -> None:
    assert "give a" in refusal({variable_of(section, field): "0"})


@pytest.mark.parametrize("value", ["3G", "100", "4095", "12K", "1536K", "96KiB"])
def test_a_chunk_is_a_power_of_two_within_its_range(value: str) -> None:
    assert "a size from 4 KiB to 1 MiB, a power of two" in refusal({"REMOTEFS_CACHE_CHUNK_BYTES": value})


@pytest.mark.parametrize(
    ("section", "field", "text", "value"),
    [
        ("cache", "reserve_bytes", "500MB", 500_000_000), ("cache", "chunk_bytes", "64KiB", 65536),
        ("cache", "evictable_bytes", "1G", 1 << 30), ("service", "storage_bytes", "0", 0),
        ("writeback", "reupload_wait_s", "5m", 300.0), ("refresh", "walk_every_s", "2h", 7200.0),
        ("refresh", "trash_days", "30d", 30.0), ("refresh", "trash_days", "36h", 1.5), ("refresh", "trash_days", "7", 7.0),
        ("refresh", "poll_in_use_s", "1.5", 1.5), ("service", "requests_per_minute", "0", 0),
        ("service", "upload_rate", "10M", 10 << 20), ("service", "download_rate", "500KB/s", 500_000),
        ("service", "upload_rate", "0", 0), ("metrics", "listen", "[::1]:9464", "[::1]:9464"),
        ("shared", "store", "s3://b/a/", "s3://b/a"), ("shared", "store", "", ""), ("shared", "store", "file:///a%20b", "file:///a%20b"),
        ("metrics", "listen", "unix:/run/m.sock", "unix:/run/m.sock"), ("log", "access", "true", True),
        ("writeback", "replace_downloadable", "True", True), ("names", "temporary", "", ()),
        ("service", "base_url", "http://[::1]:8080/base/", "http://[::1]:8080/base/"),
    ],
)  # fmt: skip
def test_units_are_read_from_the_environment_and_from_a_file(
    tmp_path: Path, section: str, field: str, text: str, value: object
) -> None:
    assert value_of(load({variable_of(section, field): text}, None, {}), section, field) == value
    if section != "names":
        file = tmp_path / "config.toml"
        file.write_text(f"[{section}]\n{field} = {json.dumps(text)}\n")
        assert value_of(load({}, file, {}), section, field) == value


def test_lists_are_read_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[writeback]\nreadback_after_s = [\n  1,\n  "1m"]\n[service]\ncustom_headers = [["X-A", "v"]]\n')
    config = load({"REMOTEFS_SERVICE_CUSTOM_HEADERS": "X-B: w: x\n\nX-C:y"}, file, {})
    assert config.writeback.readback_after_s == (1.0, 60.0)
    assert config.service.custom_headers == (("X-B", Secret("w: x")), ("X-C", Secret("y")))
    assert load({}, file, {}).service.custom_headers == (("X-A", Secret("v")),)


def test_expiries_by_pattern_are_read_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[upload.expires_in]\n"*.tmp" = "1d"\nscratch = 3600\n')
    assert load({}, file, {}).upload.expires_in == (("*.tmp", 86_400.0), ("scratch", 3600.0))
    from_environment = load({"REMOTEFS_UPLOAD_EXPIRES_IN": "a=b=1h *=90d"}, file, {})
    assert from_environment.upload.expires_in == (("a=b", 3600.0), ("*", 90 * 86_400.0))


def test_the_flag_wins_over_our_variable_that_over_the_services_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[service]\nbase_url = "http://file"\n')
    theirs, ours = {"ANTHROPIC_BASE_URL": "http://theirs"}, {"REMOTEFS_SERVICE_BASE_URL": "http://ours"}
    assert load({}, file, {}).service.base_url == "http://file"
    assert load({"ANTHROPIC_BASE_URL": ""}, file, {}).service.base_url == "http://file"
    assert load(theirs, file, {}).service.base_url == "http://theirs"
    assert load(theirs | ours, file, {}).service.base_url == "http://ours"
    assert load(ours, file, {"service": {"base_url": "http://flag"}}).service.base_url == "http://flag"


def test_each_place_is_named(tmp_path: Path) -> None:
    assert refusal({"ANTHROPIC_BASE_URL": "nowhere"}).startswith("ANTHROPIC_BASE_URL: ")
    assert refusal({"ANTHROPIC_CUSTOM_HEADERS": "nothing"}).startswith("ANTHROPIC_CUSTOM_HEADERS: ")
    assert refusal({}, flags={"base_url": "nowhere"}).startswith("--base-url: ")
    file = tmp_path / "config.toml"
    for text, line in (
        ("[cache]\nreserve_bytes = 1\n\n[writeback]\n# More.\nupload_workers = 0 # none\n", 6),
        ("writeback.close_wait_s = 1\nwriteback.upload_workers = 0\n", 2),
        ("\n[writeback]\nreadback_after_s = [\n  0,\n  1,\n]\nclose_wait_s = 1\n", 3),
        ('[names]\ntemporary = ["""\nupload_workers = 0\n"""]\n[writeback]\n"upload_workers" = 0\n', 6),
        ("writeback = {close_wait_s = 1, upload_workers = 0}\n", 1),
        ("[writeback]\r\nupload_workers = 0\r\n", 2),
        ("\ufeff[writeback]\nupload_workers = 0\n", 2),
    ):
        file.write_text(text, encoding="utf-8", newline="")
        assert refusal({}, file).startswith(f"{file}, line {line}: "), text


def test_an_unknown_name_is_refused_with_the_names_that_are_near(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for text, said in (
        ("[cache]\nchunk_byte = 1\n", "line 2: there is no setting chunk_byte in [cache]; did you mean chunk_bytes"),
        ("[cache]\nupload_workers = 1\n", "there is no setting upload_workers in [cache]; it belongs to [writeback]"),
        ("[Writback]\nx = 1\n", "line 1: there is no section [Writback]; did you mean writeback?"),
        ("[quux]\n", "line 1: there is no section [quux]"),
        ("\nupload_workers = 1\n", "line 2: upload_workers is outside of a section"),
        ("[cache\n", "(at line 1, column 7)"),
    ):
        file.write_text(text)
        assert said in refusal({}, file), text


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("REMOTEFS_CACHE_CHUNK_BYTE", "did you mean REMOTEFS_CACHE_CHUNK_BYTES"),
        ("REMOTEFS_UPLOAD_WORKERS", "did you mean REMOTEFS_SHARED_UPLOAD_WORKERS or REMOTEFS_WRITEBACK_UPLOAD_WORKERS"),
        ("REMOTEFS_QUUX", "is not a setting"),
        ("REMOTEFS_", "is not a setting"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_names_that_are_near(name: str, near: str) -> None:
    said = refusal({name: "1"})
    assert said.startswith(f"the environment sets {name}, ")
    assert near in said


def test_variables_of_our_own_tools_are_let_through() -> None:
    assert load(dict.fromkeys(OTHER_VARIABLES - {PROFILE_VARIABLE}, "1"), None, {}) == Config()


@pytest.mark.parametrize("variable", ["ANTHROPIC_BASE_URL", "REMOTEFS_SERVICE_BASE_URL"])
def test_a_refusal_shows_no_password(variable: str) -> None:
    assert "hush" not in refusal({variable: "https://me:hush@example.com"})


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "Is a directory" in refusal({}, tmp_path)
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xff")
    assert str(file) in refusal({}, file)
    assert load({}, tmp_path / "missing.toml", {}) == Config()


@given(st.sampled_from(SETTINGS), st.text(max_size=30))
def test_any_text_is_either_a_value_in_its_range_or_refused(setting: tuple[str, str], text: str) -> None:
    try:
        value = value_of(load({variable_of(*setting): text}, None, {}), *setting)
    except RemotefsError:
        return
    assert value is not None
    assert not isinstance(value, float) or math.isfinite(value)
    assert not isinstance(value, int | float) or value >= 0


anything: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(st.sampled_from(SETTINGS), anything)
def test_any_value_of_a_file_is_either_read_or_refused(setting: tuple[str, str], value: object) -> None:
    kind = kinds_of(setting[0])[setting[1]]
    try:
        read = kind.read(value)
    except ValueError:
        assert kind.shown(value)
        return
    assert not isinstance(read, float) or (math.isfinite(read) and read >= 0)
