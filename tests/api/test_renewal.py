"""A key that the service refuses in the middle of a run: the next one is found without a new mount (A6, S1)."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
import trio
from trio.testing import MockClock

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.models import Account
from remotefs.api.upload import BytesSource
from remotefs.config import Secret, ServiceConfig
from remotefs.credentials import KeyRing
from remotefs.errors import AccountError, AuthenticationFailed, KeyReplaced, StateUnusable, UsageError
from tests.api.support import KEY, URGENT, Scripted, beta_page, ga_page, problem, settings, wire_file

NEW = "sk-test-new-0123456789"
ORGANIZATION = "anthropic-organization-id"


class Service:
    """Takes the keys that it knows, each of an account, and notes who asked for what."""

    def __init__(self, **accounts: str) -> None:
        self.accounts = {KEY: "org-1"} | accounts
        self.asked: list[tuple[str, str]] = []
        self.beta_only = False

    def revoke(self, key: str) -> None:
        del self.accounts[key]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["x-api-key"]
        self.asked.append((key, f"{request.method} {request.url.path}"))
        await request.aread()
        if key not in self.accounts:
            return problem(401, "authentication_error")
        headers = {ORGANIZATION: self.accounts[key]}
        if self.beta_only and "anthropic-beta" not in request.headers:
            return problem(400, "invalid_request_error")
        if request.url.path == "/v1/files" and request.method == "GET":
            page = beta_page() if self.beta_only else ga_page()
            return httpx.Response(200, content=page.content, headers=headers)
        return httpx.Response(200, json=wire_file(), headers=headers)


class Source:
    """A place where the key is read from."""

    def __init__(self, key: str = KEY, **changes: str) -> None:
        self.key = key
        self.changes = changes
        self.reads = 0
        self.error: Exception | None = None

    def __call__(self) -> ServiceConfig:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return settings(api_key=Secret(self.key, "the file"), **self.changes)


def client_of(
    service: Service, source: Source | None, on_account: Callable[[Account, bool], None] = lambda _, __: None
) -> tuple[Client, KeyRing]:
    keys = KeyRing(settings(), source)
    return Client(keys, Budget(None), transport=Scripted(service), on_account=on_account, chance=lambda: 0.0), keys


async def ask(client: Client) -> None:
    await client.metadata("file_1", priority=URGENT)


async def test_a_refused_request_is_repeated_once_with_the_new_key(autojump_clock: MockClock) -> None:
    service, source = Service(**{NEW: "org-1"}), Source(NEW)
    client, keys = client_of(service, source)
    async with client:
        await ask(client)
        service.revoke(KEY)
        await ask(client)
        await ask(client)
    file = "GET /v1/files/file_1"
    # The new key is tried by a listing, which shows whose it is, before anything else is sent with it.
    assert service.asked == [(KEY, file), (KEY, file), (NEW, "GET /v1/files"), (NEW, file), (NEW, file)]
    assert (source.reads, keys.generation, trio.current_time()) == (1, 1, 0.0)


async def test_many_requests_that_are_refused_together_look_once(autojump_clock: MockClock) -> None:
    service, source = Service(**{NEW: "org-1"}), Source(NEW)
    service.revoke(KEY)
    client, _ = client_of(service, source)
    async with client, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask, client)
    assert source.reads == 1
    assert len(service.asked) == 20 + 1 + 20


async def test_without_another_key_the_refusal_stands_and_the_source_is_left_alone_for_a_while(
    autojump_clock: MockClock,
) -> None:
    service, source = Service(), Source(KEY)
    service.revoke(KEY)
    client, _ = client_of(service, source)
    async with client:
        for _ in range(3):
            with pytest.raises(AuthenticationFailed, match="check the key in ANTHROPIC_API_KEY"):
                await ask(client)
        assert (source.reads, len(service.asked)) == (1, 3)
        await trio.sleep(5)
        with pytest.raises(AuthenticationFailed):
            await ask(client)
    assert source.reads == 2


async def test_a_command_is_run_more_rarely(autojump_clock: MockClock) -> None:
    service, source = Service(), Source(KEY)
    service.revoke(KEY)
    keys = KeyRing(settings(key_command=("pass",)), source)
    async with Client(keys, Budget(None), transport=Scripted(service), chance=lambda: 0.0) as client:
        for _ in range(4):
            with pytest.raises(AuthenticationFailed):
                await ask(client)
            await trio.sleep(20)
    assert source.reads == 2


async def test_a_new_key_that_is_refused_too_is_not_used(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    service, source = Service(), Source(NEW)
    service.revoke(KEY)
    client, keys = client_of(service, source)
    async with client:
        with pytest.raises(AuthenticationFailed):
            await ask(client)
    assert (keys.generation, len(service.asked)) == (0, 2)
    assert "the key was refused, and there is no other: listing with a new key: the service answered 401" in caplog.text


async def test_s1_a_new_key_of_another_account_is_refused_before_anything_is_sent_with_it(
    autojump_clock: MockClock,
) -> None:
    def on_account(account: Account, _: bool) -> None:
        if account != Account("org-1", None):
            raise AccountError("another account")

    service, source = Service(**{NEW: "org-2"}), Source(NEW)
    client, keys = client_of(service, source, on_account)
    async with client:
        await ask(client)
        service.revoke(KEY)
        with pytest.raises(AccountError):
            await client.delete("file_1", priority=URGENT)
    assert [what for key, what in service.asked if key == NEW] == ["GET /v1/files"]
    assert keys.generation == 0


async def test_s1_where_replies_name_no_account_the_guard_is_asked_again(autojump_clock: MockClock) -> None:
    seen: list[Account] = []
    service, source = Service(**{NEW: ""}), Source(NEW)
    service.accounts[KEY] = ""
    client, _ = client_of(service, source, lambda account, _: seen.append(account))
    async with client:
        await ask(client)
        service.revoke(KEY)
        await ask(client)
    assert seen == [Account(None, None)] * 2


async def test_a_server_of_the_beta_shape_takes_a_new_key(autojump_clock: MockClock) -> None:
    service, source = Service(**{NEW: "org-1"}), Source(NEW)
    service.beta_only = True
    service.revoke(KEY)
    keys = KeyRing(settings(shape="beta"), source)
    async with Client(keys, Budget(None), transport=Scripted(service), chance=lambda: 0.0) as client:
        await client.list_page(None, priority=URGENT)
    assert keys.generation == 1


@pytest.mark.parametrize("change", [{"base_url": "https://other.test"}, {"workspace_id": "wrkspc_2"}])
async def test_a_key_for_another_service_is_not_sent_to_this_one(
    autojump_clock: MockClock, change: dict[str, str]
) -> None:
    service, source = Service(**{NEW: "org-1"}), Source(NEW, **change)
    service.revoke(KEY)
    client, _ = client_of(service, source)
    async with client:
        with pytest.raises(AuthenticationFailed):
            await ask(client)
    assert [key for key, _ in service.asked] == [KEY]


async def test_a_source_that_cannot_be_read_now_is_read_again_later(autojump_clock: MockClock) -> None:
    service, source = Service(**{NEW: "org-1"}), Source(NEW)
    service.revoke(KEY)
    source.error = UsageError("line 3: half written")
    client, _ = client_of(service, source)
    async with client:
        with pytest.raises(AuthenticationFailed):
            await ask(client)
        source.error = None
        await trio.sleep(5)
        await ask(client)


async def test_what_the_next_run_has_to_know_is_noted(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    noted: list[tuple[ServiceConfig, ServiceConfig]] = []

    def remember(former: ServiceConfig, present: ServiceConfig) -> None:
        noted.append((former, present))
        raise StateUnusable("a full disk")

    service, source = Service(**{NEW: "org-1"}), Source(NEW)
    service.revoke(KEY)
    keys = KeyRing(settings(), source, remember)
    async with Client(keys, Budget(None), transport=Scripted(service), chance=lambda: 0.0) as client:
        await ask(client)
    assert noted == [(settings(), settings(api_key=Secret(NEW)))]
    assert "the next start has to ask whose the new key is: a full disk" in caplog.text


async def test_an_upload_whose_bytes_are_all_sent_is_left_to_its_caller(autojump_clock: MockClock) -> None:
    service, source = Service(**{NEW: "org-1"}), Source(NEW)
    service.revoke(KEY)
    client, _ = client_of(service, source)
    async with client:
        with pytest.raises(KeyReplaced):
            await client.upload("a.txt", BytesSource(b"hello", "text/plain"), priority=URGENT)
        await client.upload("a.txt", BytesSource(b"hello", "text/plain"), priority=URGENT)
    assert [what for _, what in service.asked].count("POST /v1/files") == 2


async def test_no_message_shows_a_key_of_before_or_after(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def repeats(request: httpx.Request) -> httpx.Response:
        text = f"invalid x-api-key {request.headers['x-api-key']}, or {KEY}"
        return httpx.Response(401, json={"type": "error", "error": {"type": "authentication_error", "message": text}})

    keys = KeyRing(settings(), Source(NEW))
    async with Client(keys, Budget(None), transport=Scripted(repeats), chance=lambda: 0.0) as client:
        with pytest.raises(AuthenticationFailed) as caught:
            await ask(client)
    assert KEY not in f"{caught.value}{caplog.text}"
    assert NEW not in f"{caught.value}{caplog.text}"
