"""Where the key comes from: a file, a command, a credential of systemd; how private each has to be (A6)."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from remotefs import keys
from remotefs.config import Secret, ServiceConfig
from remotefs.credentials import KeyRing, credential_advice
from remotefs.errors import LocalError, RemotefsError, UsageError
from remotefs.keys import check_key_file, signed
from remotefs.setting_sources import load

KEY = "sk-ant-0123456789abcdefghij"


def key_file(path: Path, text: str = f"{KEY}\n", mode: int = 0o600) -> ServiceConfig:
    path.write_text(text)
    path.chmod(mode)
    return ServiceConfig(key_file=str(path))


def command(*words: str) -> ServiceConfig:
    return ServiceConfig(key_command=words)


def python(script: str) -> ServiceConfig:
    return command(sys.executable, "-c", script)


def refusal(service: ServiceConfig) -> str:
    with pytest.raises(RemotefsError) as caught:
        signed(service)
    said = str(caught.value)
    assert KEY not in said
    assert KEY not in repr(caught.value.__cause__)
    return said


def test_a_key_is_read_from_a_file(tmp_path: Path) -> None:
    for text in (KEY, f"{KEY}\n", f"  {KEY}\r\nthe key of the team\n"):
        service = key_file(tmp_path / "key", text, 0o400)
        assert signed(service).api_key == Secret(KEY)
        (tmp_path / "key").unlink()


def test_a_key_file_of_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key_file(tmp_path / "key")
    assert signed(ServiceConfig(key_file="~/key")).api_key == Secret(KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644, 0o666])
def test_a_key_file_that_others_can_read_or_change_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "the key"
    said = refusal(key_file(path, mode=mode))
    assert f"(mode {mode:04o})" in said
    assert said.endswith(f"chmod 600 '{path}'")


def test_a_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert "has no key in its first line" in refusal(key_file(path, ""))
    assert "has no key in its first line" in refusal(key_file(path, f"\n{KEY}"))
    assert "has a line NAME=value" in refusal(key_file(path, f"export ANTHROPIC_API_KEY={KEY}\n"))
    path.write_bytes(b"\xff" + KEY.encode())
    assert "is not a text" in refusal(ServiceConfig(key_file=str(path)))
    path.unlink()
    assert refusal(ServiceConfig(key_file=str(path))) == f"key_file: {path} cannot be read: No such file or directory"
    assert "is not a regular file" in refusal(ServiceConfig(key_file=str(tmp_path)))
    os.mkfifo(path, 0o600)
    assert "is not a regular file" in refusal(ServiceConfig(key_file=str(path)))


@pytest.mark.root("gives a file to another user")
def test_a_key_file_of_another_user_is_refused(tmp_path: Path) -> None:
    service = key_file(tmp_path / "key")
    os.chown(tmp_path / "key", 12345, 12345)
    assert "belongs to user 12345; it has to be yours or root's" in refusal(service)


def test_a_key_is_the_first_line_that_a_command_prints_without_a_shell() -> None:
    assert signed(command("printf", "%s\n$HOME\n", KEY)).api_key == Secret(KEY)
    assert signed(command("echo", "$HOME; id")).api_key == Secret("$HOME; id")


def test_a_command_that_fails_is_told_without_anything_that_could_be_a_key() -> None:
    assert refusal(python("print('KEY'); raise SystemExit(7)")).endswith("ended with 7")
    said = refusal(python(f"import sys; print('{KEY}'); sys.exit('no such entry for {KEY} in {KEY}/{KEY}.gpg')"))
    assert said.endswith("ended with 1: no such entry for … in ….gpg")
    assert refusal(python("import os; os.kill(os.getpid(), 9)")).endswith("was ended by SIGKILL")
    assert "has no key in its first line" in refusal(python("pass"))
    assert "cannot be run: No such file or directory" in refusal(command("/no/such/program"))
    with pytest.raises(LocalError):
        signed(command("false"))


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "COMMAND_WAIT_S", 0.5)
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    said = refusal(command("sh", "-c", f"exec 3>{fifo}; sleep 1000; true"))
    assert said == "key_command: sh gave no key within 0.5 s"
    # At its end once nobody has it open for writing any more.
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_checking_a_mount_runs_no_command_and_looks_at_the_file(tmp_path: Path) -> None:
    check_key_file(command("touch", str(tmp_path / "ran")))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UsageError, match="chmod 600"):
        check_key_file(key_file(tmp_path / "key", mode=0o644))


def test_the_credential_of_systemd_is_used_where_no_key_is_named(tmp_path: Path) -> None:
    # As systemd makes it for a service of a user: of root, its mode being the mask of an ACL.
    key_file(tmp_path / "anthropic-api-key", mode=0o440)
    key_file(tmp_path / "team", "sk-team", mode=0o400)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert signed(load(environ, None, {}).service).api_key == Secret(KEY)
    named = environ | {"REMOTEFS_SERVICE_KEY_CREDENTIAL": "team"}
    assert signed(load(named, None, {}).service).api_key == Secret("sk-team")
    assert signed(load(environ | {"ANTHROPIC_API_KEY": "sk-mine"}, None, {}).service).api_key == Secret("sk-mine")
    assert load({"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}, None, {}).service == ServiceConfig()
    assert "LoadCredential=team:FILE" in refusal(load({"REMOTEFS_SERVICE_KEY_CREDENTIAL": "team"}, None, {}).service)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
@pytest.mark.parametrize(
    "text",
    [
        f'[service]\napi_key = "{KEY}"\n', f'[service]\nauth_token = "{KEY}"\n',
        f'[profile.other.service]\napi_key = "{KEY}"\n', f'[service]\ncustom_headers = [["X-Api-Key", "{KEY}"]]\n',
    ],
)  # fmt: skip
def test_a_settings_file_with_a_key_that_others_can_read_is_refused(tmp_path: Path, text: str, mode: int) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(UsageError) as caught:
        load({}, file, {})
    assert str(caught.value).endswith(
        f"holds a key, and others can read or change it (mode {mode:04o}): chmod 600 {file}"
    )
    file.chmod(0o600)
    load({}, file, {})


def test_a_settings_file_without_a_key_may_be_read_by_all(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[service]\nkey_command = "pass show x"\ncustom_headers = [["X-Team", "blue"]]\n')
    file.chmod(0o644)
    assert load({}, file, {}).service.key_command == ("pass", "show", "x")
    file.chmod(0o666)
    with pytest.raises(UsageError, match="names a command to run, and others can change it: chmod go-w"):
        load({}, file, {})


def test_two_keys_of_one_source_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[service]\nkey_file = "/key"\nkey_command = "pass"\n')
    with pytest.raises(UsageError) as caught:
        load({}, file, {})
    assert str(caught.value) == f"{file}, line 3: key_command and key_file both name a key; give one of them"


def test_a_refused_key_is_named_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[service]\napi_key = "{KEY}"\n')
    file.chmod(0o600)
    assert f"the key in {file}, line 2, " in credential_advice(load({}, file, {}).service)
    assert "the key in ANTHROPIC_API_KEY, " in credential_advice(load({"ANTHROPIC_API_KEY": KEY}, None, {}).service)
    from_file = key_file(tmp_path / "key")
    assert f"the key in {tmp_path / 'key'}, " in credential_advice(signed(from_file))


def test_every_key_of_a_run_stays_hidden(tmp_path: Path) -> None:
    service = key_file(tmp_path / "key")
    ring = KeyRing(signed(service), lambda: signed(service))
    hidden = ring.secrets
    assert ring.read_again() is None
    (tmp_path / "key").write_text("sk-new")
    found = ring.read_again()
    assert found is not None
    # Before it is used: a refusal may repeat it.
    assert hidden == [KEY, "sk-new"]
    ring.take(found)
    assert ring.service.api_key == Secret("sk-new")
    assert hidden == [KEY, "sk-new"]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_new_key_for_another_address_is_not_sent_to_the_present_one() -> None:
    present = ServiceConfig(base_url="https://one", api_key=Secret("sk-1"))
    ring = KeyRing(present, lambda: ServiceConfig(base_url="https://two", api_key=Secret("sk-2")))
    with pytest.raises(UsageError, match="another address or workspace"):
        ring.read_again()
