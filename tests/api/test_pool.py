"""What the pool makes of the libraries' terms: errors, proxies of the environment, tunnels."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
import trio
import trustme

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.http import httpcore, httpx
from remotefs.api.pool import Pool, PoolLimits
from remotefs.api.proxies import proxies_in_environment
from remotefs.errors import Unreachable
from tests.api.support import URGENT, raw_reply, raw_server, read_head, settings

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
FILE = (
    b'{"id":"file_1","type":"file","filename":"a","size_bytes":5,"mime_type":"text/plain",'
    b'"created_at":"2026-01-02T03:04:05Z","downloadable":false,"expires_at":null}'
)
# Told within httpcore alone, which then takes another connection.
WITHIN = {"ConnectionNotAvailable"}


@pytest.fixture
def proxy_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """None is set."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def client_of(url: str) -> Client:
    config = settings(base_url=url)
    return Client(config, Budget.for_service(config), chance=lambda: 0.0)


# --- errors ---


def core_errors() -> list[str]:
    public = {name: getattr(httpcore, name) for name in httpcore.__all__ if hasattr(httpcore, name)}
    return sorted(
        name for name, kind in public.items() if isinstance(kind, type) and issubclass(kind, Exception)
    )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in core_errors() if name not in WITHIN])
async def test_every_error_becomes_its_namesake(name: str) -> None:
    """One that was left out would reach people as an internal error."""

    class Failing(httpcore.AsyncNetworkBackend):
        async def connect_tcp(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
            raise getattr(httpcore, name)("it broke")

    pool = Pool(ssl.create_default_context(), PoolLimits(1, 1, 1.0), backend=Failing())
    with pytest.raises(httpx.TransportError, match="it broke") as raised:
        await pool.handle_async_request(httpx.Request("GET", "http://files.test/"))
    assert type(raised.value) is getattr(httpx, name)


# --- proxies ---


@pytest.mark.parametrize(
    ("variables", "proxies"),
    [
        ({}, {}),
        ({"HTTPS_PROXY": "http://p:1"}, {"https://": "http://p:1"}),
        ({"HTTP_PROXY": "p:1", "ALL_PROXY": "socks5://p:2"}, {"http://": "http://p:1", "all://": "socks5://p:2"}),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.org, *"}, {}),
        (
            {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.org, .b.org,10.0.0.1,::1,LOCALHOST,https://c.org:8,,"},
            {
                "https://": "http://p:1", "all://*a.org": None, "all://*.b.org": None, "all://10.0.0.1": None,
                "all://[::1]": None, "all://LOCALHOST": None, "https://c.org:8": None,
            },
        ),
    ],
)  # fmt: skip
def test_the_variables_name_proxies_and_exceptions(
    proxy_variables: pytest.MonkeyPatch, variables: dict[str, str], proxies: dict[str, str | None]
) -> None:
    for name, value in variables.items():
        proxy_variables.setenv(name, value)
    assert proxies_in_environment() == proxies


async def test_an_exception_is_asked_for_directly(proxy_variables: pytest.MonkeyPatch) -> None:
    asked = []

    async def proxy(stream: trio.SocketStream) -> None:
        asked.append((await read_head(stream))[0].split()[1])
        await stream.send_all(raw_reply(FILE))

    async with raw_server(proxy) as url:
        proxy_variables.setenv("ALL_PROXY", url)
        proxy_variables.setenv("NO_PROXY", "files.invalid")
        async with client_of("http://files.invalid") as client:
            with trio.fail_after(20), pytest.raises(Unreachable):
                await client.metadata("file_1", priority=URGENT)
        async with client_of("http://else.invalid") as client:
            await client.metadata("file_1", priority=URGENT)
    assert asked == [b"http://else.invalid/v1/files/file_1"]


async def test_an_encrypted_address_is_reached_through_a_tunnel(
    proxy_variables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The proxy is told who asks, and sees nothing of what is asked."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    proxy_variables.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("files.test").configure_cert(context)
    heads = []

    async def proxy(stream: trio.SocketStream) -> None:
        heads.append((await read_head(stream))[0])
        await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await secure.receive_some(65536)
        await secure.send_all(raw_reply(FILE))

    async with raw_server(proxy) as url:
        proxy_variables.setenv("HTTPS_PROXY", url.replace("://", "://me:secret@"))
        async with client_of("https://files.test") as client:
            assert (await client.metadata("file_1", priority=URGENT)).id == "file_1"
    assert heads[0].startswith(b"CONNECT files.test:443 ")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:secret") in heads[0]
    assert b"x-api-key" not in heads[0]


async def test_a_proxy_that_refuses_is_unreachable(proxy_variables: pytest.MonkeyPatch) -> None:
    async def proxy(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(proxy) as url:
        proxy_variables.setenv("HTTPS_PROXY", url)
        async with client_of("https://files.test") as client:
            with pytest.raises(Unreachable, match="403"):
                await client.metadata("file_1", priority=URGENT)
