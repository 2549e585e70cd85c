"""One client by the settings, and httpx's exceptions in this project's terms.

What httpx raises holds the request, and so the key; no exception of remotefs has one of those as its cause or context.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec

from remotefs import __version__
from remotefs.api.decompression import ACCEPTED
from remotefs.api.http import httpx
from remotefs.api.pool import Pool, PoolLimits
from remotefs.api.proxies import proxies_in_environment
from remotefs.config import ServiceConfig
from remotefs.credentials import check_headers
from remotefs.errors import (
    AmbiguousOutcome,
    DeadlineExceeded,
    ReplyBroken,
    TransportError,
    Unreachable,
    UsageError,
)

_log = logging.getLogger(__name__)
# Accepted by every server of this API so far, also by gateways that know no newer one.
API_VERSION = "2023-06-01"
# The word in `anthropic-beta` that asks for the beta shape.
FILES_BETA = "files-api-2025-04-14"
# More connections than the kernel's waiting reads and the upload workers together, far fewer than open files allow.
# Idle for less than load balancers wait before they close one (60 s and more): a POST on a closing one is ambiguous.
_LIMITS = PoolLimits(connections=160, idle_connections=32, idle_s=30.0)
# The connection was never made: nothing can have been carried out.
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError,
                  httpx.UnsupportedProtocol)  # fmt: skip


def base_url(config: ServiceConfig) -> httpx.URL:
    """The checked address, without a trailing `/` or `/v1`; raises UsageError."""
    try:
        url = httpx.URL(config.base_url.strip().rstrip("/").removesuffix("/v1"))
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"the base URL cannot be read: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"the base URL {url.copy_with(userinfo=b'')} is no http(s) address")
    if url.userinfo or url.query or url.fragment:
        raise UsageError("the base URL must not carry a user, a password, a query or a fragment")
    if url.scheme == "http" and not is_loopback(url.host):
        _log.warning("the base URL %s is not encrypted: the key and all files travel readable", url)
    return url


def identity_headers(config: ServiceConfig) -> dict[str, str]:
    """Who asks: sent to the service's own origin only. Raises UsageError for what no header can carry."""
    check_headers(config)
    headers = {"anthropic-version": API_VERSION}
    if config.api_key is not None:
        headers["x-api-key"] = config.api_key.reveal()
    elif config.auth_token is not None:
        headers["authorization"] = f"Bearer {config.auth_token.reveal()}"
    if config.workspace_id is not None:
        headers["anthropic-workspace-id"] = config.workspace_id
    return headers | {name.lower(): value.reveal() for name, value in config.custom_headers}


def make_http_client(config: ServiceConfig, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """The client, on `transport` or else on pools of its own. HTTP(S)_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and
    SSL_CERT_DIR are honoured, but a loopback address is never asked for through a proxy, and no cookie is kept.
    Raises UsageError when one of them is wrong.
    """
    url = base_url(config)
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    if transport is None:
        secure = _ssl_context()
        transport = Pool(secure, _LIMITS)
        mounts = {where: _pool_through(proxy, secure) for where, proxy in _proxies(url).items()}
    try:
        return httpx.AsyncClient(
            headers={"user-agent": f"remotefs/{__version__}", "accept-encoding": ACCEPTED},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=timeouts(config),
            mounts=mounts,
            transport=transport,
        )
    except (ValueError, httpx.InvalidURL):
        raise UsageError("NO_PROXY cannot be used: it holds no list of addresses") from None


def timeouts(config: ServiceConfig, *, reply_extra_s: float = 0.0) -> httpx.Timeout:
    """Between two pieces, not for the whole; `reply_extra_s` more for a reply that takes work at the service."""
    io_s = config.io_timeout_s
    return httpx.Timeout(connect=config.connect_timeout_s, read=io_s + reply_extra_s, write=io_s, pool=io_s)


def lost_request(error: httpx.RequestError, *, action: str, host: str, idempotent: bool, whole: bool) -> TransportError:
    """What a request without a reply means.

    `whole`: every byte of it was handed over, so that the service may have carried it out. `idempotent`: sending it
    again does no harm, so the outcome does not matter.
    """
    reason = _reason(error)
    if isinstance(error, _NOT_CONNECTED):
        return Unreachable(f"{action}: {host} cannot be reached: {reason}")
    if not whole:
        return Unreachable(f"{action}: the connection to {host} broke before all was sent: {reason}")
    if not idempotent:
        return AmbiguousOutcome(f"{action}: it was sent and no reply came, so its outcome is not known: {reason}")
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded(f"{action}: no answer from {host} in time")
    return ReplyBroken(f"{action}: the connection to {host} broke before the answer: {reason}")


def broken(error: httpx.HTTPError | httpx.StreamError) -> TransportError:
    """What a reply that ends in the middle of its body means."""
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded("the body of a reply stopped coming")
    return ReplyBroken(f"the body of a reply was cut short: {_reason(error)}")


def is_loopback(host: str) -> bool:
    """Whether an address of this machine is meant."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    """For a person. Certificates get a hint, for the usual cause is a company's own CA."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message}); SSL_CERT_FILE can name your own CA"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return "it took too long"
    return str(error)[:200] or type(error).__name__


def _ssl_context() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"SSL_CERT_FILE or SSL_CERT_DIR cannot be used: {error.strerror or error}") from None


def _proxies(base: httpx.URL) -> dict[str, str | None]:
    direct = {f"all://{_bracketed(base.host)}": None} if is_loopback(base.host) else {}
    return proxies_in_environment() | direct


def _pool_through(address: str | None, secure: ssl.SSLContext) -> Pool | None:
    """A pool of connections through a proxy; None, which stands for the pool without one, where there is none."""
    if address is None:
        return None
    try:
        proxy = httpx.Proxy(address)
    except (ValueError, httpx.InvalidURL):
        raise _bad_proxy("it is no proxy address") from None
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise _bad_proxy("a SOCKS proxy needs the package socksio")
    return Pool(secure, _LIMITS, proxy)


def _bad_proxy(reason: str) -> UsageError:
    return UsageError(f"a proxy variable (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) cannot be used: {reason}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
