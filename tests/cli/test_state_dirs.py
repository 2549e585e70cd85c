"""Which folder keeps the state of a mount (S1)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from remotefs.api.models import Account
from remotefs.cli.launch.state_dirs import (
    account_dir,
    fingerprint,
    locate_state_dir,
    prepare_state_dir,
    remember_new_key,
)
from remotefs.config import Secret, ServiceConfig
from remotefs.control.lock import Holder, lock_state
from remotefs.errors import AuthenticationFailed, StateUnusable, Unreachable

ORGANIZATION = "8f4e2c1a-0000-4000-8000-123456789abc"
SERVICE = ServiceConfig(base_url="https://api.example.com", api_key=Secret("sk-first"))
ROTATED = ServiceConfig(base_url="https://api.example.com", api_key=Secret("sk-second"))
names = st.text(min_size=1, max_size=200)
accounts = st.builds(Account, st.none() | names, st.none() | names)


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def read_with_mode(file: Path) -> tuple[str, int]:
    return file.read_text(), stat.S_IMODE(file.stat().st_mode)


class Service:
    """A service that knows whose each key is, and counts who asks."""

    def __init__(self, account: Account | Exception) -> None:
        self.account = account
        self.asked = 0

    async def identify(self) -> Account:
        self.asked += 1
        if isinstance(self.account, Exception):
            raise self.account
        return self.account


async def test_a_first_start_asks_and_later_ones_do_not(tmp_path: Path) -> None:
    service = Service(Account(ORGANIZATION, None))
    first = await locate_state_dir(tmp_path, SERVICE, service.identify)
    service.account = Unreachable("the network is down")
    assert await locate_state_dir(tmp_path, SERVICE, service.identify) == first
    assert service.asked == 1
    assert first.is_relative_to(tmp_path / "accounts")


async def test_a_key_that_was_taken_in_mid_run_finds_the_folder_without_the_network(tmp_path: Path) -> None:
    service = Service(Account(ORGANIZATION, "ws"))
    first = await locate_state_dir(tmp_path, SERVICE, service.identify)
    remember_new_key(tmp_path, SERVICE, ROTATED)
    service.account = Unreachable("the network is down")
    assert await locate_state_dir(tmp_path, ROTATED, service.identify) == first
    # Of a key that was never asked for, nothing is known.
    remember_new_key(tmp_path / "other", SERVICE, ROTATED)
    with pytest.raises(Unreachable):
        await locate_state_dir(tmp_path / "other", ROTATED, service.identify)


async def test_a_new_key_of_the_same_account_finds_the_same_folder(tmp_path: Path) -> None:
    service = Service(Account(ORGANIZATION, "ws"))
    first = await locate_state_dir(tmp_path, SERVICE, service.identify)
    assert await locate_state_dir(tmp_path, ROTATED, service.identify) == first
    assert service.asked == 2


async def test_keys_of_two_accounts_never_share(tmp_path: Path) -> None:
    first = await locate_state_dir(tmp_path, SERVICE, Service(Account(ORGANIZATION, "a")).identify)
    second = await locate_state_dir(tmp_path, ROTATED, Service(Account(ORGANIZATION, "b")).identify)
    assert first != second


async def test_without_knowledge_and_network_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"api\.example\.com.*no route.*--state-dir"):
        await locate_state_dir(tmp_path, SERVICE, Service(Unreachable("no route")).identify)


async def test_a_wrong_key_is_the_services_word(tmp_path: Path) -> None:
    with pytest.raises(AuthenticationFailed):
        await locate_state_dir(tmp_path, SERVICE, Service(AuthenticationFailed("no", status=401)).identify)
    assert names_in(tmp_path) == []


async def test_what_is_not_to_be_remembered_is_asked_each_time(tmp_path: Path) -> None:
    service = Service(Account(ORGANIZATION, None))
    for _ in range(2):
        await locate_state_dir(tmp_path, SERVICE, service.identify, remember=False)
    assert service.asked == 2
    assert names_in(tmp_path) == []


async def test_the_book_is_private_and_holds_no_key(tmp_path: Path) -> None:
    await locate_state_dir(tmp_path, SERVICE, Service(Account(ORGANIZATION, None)).identify)
    book, mode = read_with_mode(tmp_path / "accounts.json")
    assert mode == 0o600
    assert ORGANIZATION in book
    assert "sk-first" not in book


async def test_a_broken_book_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_bytes(b'{"accounts": [')
    service = Service(Account(ORGANIZATION, None))
    for _ in range(2):
        await locate_state_dir(tmp_path, SERVICE, service.identify)
    assert service.asked == 1


@pytest.mark.parametrize(
    "other",
    [
        ServiceConfig(base_url="https://other.example.com", api_key=Secret("sk-first")),
        ROTATED,
        ServiceConfig(base_url="https://api.example.com", api_key=Secret("sk-first"), workspace_id="w"),
    ],
)
def test_whatever_may_change_the_account_changes_the_fingerprint(other: ServiceConfig) -> None:
    assert fingerprint(other) != fingerprint(SERVICE)


def test_a_slash_at_the_end_of_the_address_changes_nothing() -> None:
    slashed = ServiceConfig(base_url="https://api.example.com/", api_key=Secret("sk-first"))
    assert fingerprint(slashed) == fingerprint(SERVICE)


@given(accounts)
def test_a_folder_is_one_plain_name_below_accounts(account: Account) -> None:
    folder = account_dir(Path("/data"), account, "https://api.example.com")
    assert folder.parent == Path("/data/accounts")
    assert len(os.fsencode(folder.name)) <= 255
    assert folder.name not in {"", ".", ".."}
    assert "\0" not in folder.name


@given(accounts, accounts)
def test_two_accounts_have_two_folders(one: Account, other: Account) -> None:
    assume((one.organization, one.workspace or None) != (other.organization, other.workspace or None))
    assume(one.organization is not None or other.organization is not None)
    base = "https://api.example.com"
    assert account_dir(Path("/d"), one, base) != account_dir(Path("/d"), other, base)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example.com", "https://b.example.com"),
        ("https://a.example.com/x", "https://a.example.com/y"),
        ("http://127.0.0.1:1", "http://127.0.0.1:11"),
    ],
)
def test_where_no_account_is_named_the_address_is_it(one: str, other: str) -> None:
    nobody = Account(None, None)
    assert account_dir(Path("/d"), nobody, one) != account_dir(Path("/d"), nobody, other)
    assert account_dir(Path("/d"), nobody, one) == account_dir(Path("/d"), nobody, one + "/")


def test_a_new_folder_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    prepare_state_dir(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_of_an_earlier_mount_is_taken_and_made_private(tmp_path: Path) -> None:
    with lock_state(tmp_path, Holder(pid=1, mountpoint="/mnt")):
        pass
    (tmp_path / "state.db").touch()
    tmp_path.chmod(0o755)
    prepare_state_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_folder_full_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(StateUnusable, match=r"thesis\.tex"):
        prepare_state_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.parametrize("inside", ["", "/below"])
def test_a_file_is_no_state_folder(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateUnusable, match="file"):
        prepare_state_dir(Path(f"{tmp_path}/file{inside}"))


@pytest.mark.root("files of another user")
def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(StateUnusable, match="65534"):
        prepare_state_dir(tmp_path)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no tmpfs to try")
def test_a_folder_in_memory_is_warned_of() -> None:
    folder = Path(f"/dev/shm/remotefs-test-{os.getpid()}")
    try:
        assert "tmpfs" in (prepare_state_dir(folder) or "")
    finally:
        folder.rmdir()
