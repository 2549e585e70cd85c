"""The HTTP client that the settings ask for, and httpx's exceptions in this project's terms.

An exception of httpx holds the request, and with it the key. So no exception of remotefs has one of them as its cause
or context.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Iterator
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
    OutOfSockets,
    ReplyBroken,
    TransportError,
    Unreachable,
    UsageError,
)

_log = logging.getLogger(__name__)
# Every server of this API accepts this version so far, also gateways that know no newer one.
API_VERSION = "2023-06-01"
# The value of `anthropic-beta` that asks for the beta shape.
FILES_BETA = "files-api-2025-04-14"
# More connections than the kernel's waiting reads and the upload workers need together, far fewer than the limit of
# open files. Idle ones are closed before load balancers do it (after 60 s and more), because a POST on a connection
# that is just being closed has an ambiguous outcome.
_LIMITS = PoolLimits(connections=160, idle_connections=32, idle_s=30.0)
# No connection was made, so the service cannot have carried anything out.
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError,
                  httpx.UnsupportedProtocol)  # fmt: skip

# Why this machine makes no socket, or finds no port for one: too many are open, or there is no memory.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def base_url(config: ServiceConfig) -> httpx.URL:
    """Return the address of the service, checked, without a trailing `/` or `/v1`.

    Raises UsageError for an address that cannot be used.
    """
    try:
        url = httpx.URL(config.base_url.strip().rstrip("/").removesuffix("/v1"))
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"the base URL is not valid: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"the base URL {url.copy_with(userinfo=b'')} is not an http(s) address")
    if url.userinfo or url.query or url.fragment:
        raise UsageError("the base URL must not contain a user, a password, a query or a fragment")
    if url.scheme == "http" and not is_loopback(url.host):
        _log.warning("the base URL %s is not encrypted: the key and all files are sent in clear text", url)
    return url


def identity_headers(config: ServiceConfig) -> dict[str, str]:
    """Return the headers that identify the caller; they go to the service's own origin only.

    Raises UsageError for a value that no header can carry.
    """
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
    """Return an HTTP client on `transport`, or else on connection pools of its own.

    It honours HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR, but never uses a proxy for
    a loopback address. It keeps no cookies. Raises UsageError when one of these variables is not valid.
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
        raise UsageError("NO_PROXY cannot be used: it is not a list of addresses") from None


def timeouts(config: ServiceConfig, *, reply_extra_s: float = 0.0) -> httpx.Timeout:
    """Return the timeouts of a request: for each step between two pieces, not for the whole.

    A reply gets `reply_extra_s` seconds more, for work that the service does before it answers.
    """
    io_s = config.io_timeout_s
    return httpx.Timeout(connect=config.connect_timeout_s, read=io_s + reply_extra_s, write=io_s, pool=io_s)


def lost_request(error: httpx.RequestError, *, action: str, host: str, idempotent: bool, whole: bool) -> TransportError:
    """Return the exception for a request that got no reply.

    `whole`: every byte of it was handed over, so the service may have carried it out. `idempotent`: sending it again
    does no harm, so the outcome does not matter.
    """
    reason = _reason(error)
    if isinstance(error, _NOT_CONNECTED) and (shortage := _shortage(error)) is not None:
        return OutOfSockets(f"{action}: this machine could open no connection to {host}: {shortage.strerror}")
    if isinstance(error, _NOT_CONNECTED):
        return Unreachable(f"{action}: {host} cannot be reached: {reason}")
    if not whole:
        return Unreachable(f"{action}: the connection to {host} broke before the whole request was sent: {reason}")
    if not idempotent:
        return AmbiguousOutcome(f"{action}: the request was sent but no reply came; its outcome is unknown: {reason}")
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded(f"{action}: no answer from {host} in time")
    return ReplyBroken(f"{action}: the connection to {host} broke before the answer: {reason}")


def broken(error: httpx.HTTPError | httpx.StreamError) -> TransportError:
    """Return the exception for a reply that ended in the middle of its body."""
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded("the service stopped sending in the middle of a reply")
    return ReplyBroken(f"the body of a reply was cut short: {_reason(error)}")


def is_loopback(host: str) -> bool:
    """Return whether `host` is an address of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shortage(error: Exception) -> OSError | None:
    """Return an error of the system if nothing but a shortage on this machine was in the way; None otherwise."""
    found = [_behind(one) for one in _system_errors(error)]
    return found[0] if found and all(one.errno in _SHORTAGES for one in found) else None


def _behind(error: OSError) -> OSError:
    """Return what kept a name from being looked up, other errors as they are.

    Without a socket for its question the resolver says that the name is not known, so a socket is tried here.
    """
    if isinstance(error, socket.gaierror):
        try:
            socket.socket().close()
        except OSError as shortage:
            return shortage
    return error


def _system_errors(error: BaseException) -> Iterator[OSError]:
    """Yield the errors of the system below an exception: one for each address that was tried."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            for one in cause.exceptions:
                yield from _system_errors(one)
            return
        if isinstance(cause, OSError) and cause.errno is not None:
            yield cause
            return
        cause = cause.__cause__ or cause.__context__


def _reason(error: Exception) -> str:
    """Return the reason of an error for a person to read, at most 200 characters of httpx's own text.

    An untrusted certificate gets a hint, because the usual cause is a company's own CA.
    """
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
    """Return a pool of connections through the proxy at `address`; None for no proxy, which httpx takes as the default.

    Raises UsageError for an address that cannot be used.
    """
    if address is None:
        return None
    try:
        proxy = httpx.Proxy(address)
    except (ValueError, httpx.InvalidURL):
        raise _bad_proxy("it is not a proxy address") from None
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise _bad_proxy("a SOCKS proxy needs the package socksio")
    return Pool(secure, _LIMITS, proxy)


def _bad_proxy(reason: str) -> UsageError:
    return UsageError(f"a proxy variable (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) cannot be used: {reason}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
