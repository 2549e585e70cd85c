"""The way to the service: its name, a connection, TLS, and one request, each with the time that it took."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

import msgspec

from remotefs.cli.doctor.findings import Finding, ok, problem, warning
from remotefs.config import Config

# The whole of it, in seconds.
PATIENCE_S = 3.0
# For the process that asks to load the HTTP client.
START_S = 5.0
# A clock that differs by less does no harm.
CLOCK_S = 60.0
_PORTS = {"https": 443, "http": 80}


class Step(msgspec.Struct, frozen=True):
    """One step of the way: how long it took, or why it failed."""

    name: str
    seconds: float = 0.0
    error: str | None = None
    detail: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the service answered to one small listing."""

    seconds: float
    error: str | None = None
    organization: str | None = None
    workspace: str | None = None
    shape: str = ""
    limit_per_minute: float | None = None
    # How far the clock here is ahead of the service's.
    ahead_s: float | None = None


class NetworkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The steps up to the first that failed; `reply` is None where no request was sent."""

    steps: list[Step] = []
    reply: Reply | None = None


def way_to(base_url: str, proxy: str | None) -> NetworkFacts:
    """Return how far one gets on the way to the service, or to its proxy; sends nothing."""
    target = urlsplit(proxy or base_url)
    host, port = target.hostname or "", target.port or _PORTS.get(target.scheme, 80)
    steps: list[Step] = []
    try:
        begun = time.monotonic()
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        steps.append(Step("name", time.monotonic() - begun, detail=f"{host} is {found[0][4][0]}"))
    except OSError as error:
        return NetworkFacts(steps=[Step("name", error=f"{host}: {error.strerror or error}")])
    try:
        begun = time.monotonic()
        with socket.create_connection((host, port), timeout=PATIENCE_S) as plain:
            steps.append(Step("connection", time.monotonic() - begun, detail=f"to {host}:{port}"))
            if target.scheme == "https":
                steps.append(_handshake(plain, host))
    except OSError as error:
        steps.append(Step("connection", error=f"{host}:{port}: {error.strerror or error}"))
    return NetworkFacts(steps=steps)


def ask(config: Config) -> NetworkFacts:
    """Return what the service answers to one small listing, or that it does not; loads the HTTP client."""
    import trio  # noqa: PLC0415 - only where a request is sent

    return NetworkFacts(reply=trio.run(partial(_ask, config)))


def judge(facts: NetworkFacts) -> Iterator[Finding]:
    """Yield what is to say of the way to the service: pure."""
    for step in facts.steps:
        if step.error is None:
            yield ok("network", f"{step.name}: {step.detail}, {step.seconds * 1000:.0f} ms")
        else:
            yield problem("network", f"{step.name}: {step.error}", _advice(step))
    if facts.reply is not None:
        yield from _reply(facts.reply)


def late(what: str) -> Finding:
    """Return the finding for a step that did not end in time."""
    advice = "is this machine online? a firewall may drop the packets, a proxy may be needed (HTTPS_PROXY)"
    return problem("network", f"{what}: no answer within {PATIENCE_S:g} s", advice)


def _handshake(plain: socket.socket, host: str) -> Step:
    begun = time.monotonic()
    try:
        # It reads SSL_CERT_FILE and SSL_CERT_DIR, as the client does.
        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secure:
            return Step("TLS", time.monotonic() - begun, detail=secure.version() or "")
    except ssl.SSLCertVerificationError as error:
        return Step("TLS", error=f"the certificate of {host} is not trusted: {error.verify_message}")
    except OSError as error:
        return Step("TLS", error=f"{host}: {error.strerror or error}")


def _advice(step: Step) -> str:
    match step.name:
        case "name":
            return "check the address of the service, and the name servers (/etc/resolv.conf)"
        case "TLS":
            return "SSL_CERT_FILE can name your own certificate authorities"
    return "check the address, the firewall and the proxy variables"


def _reply(reply: Reply) -> Iterator[Finding]:
    took = f"{reply.seconds * 1000:.0f} ms"
    if reply.error is not None:
        yield problem("request", f"{reply.error} ({took})", "see the lines above; `remotefs probe` asks for more")
        return
    limit = "no limit known" if reply.limit_per_minute is None else f"at most {reply.limit_per_minute:,.0f} a minute"
    yield ok("request", f"a listing was answered in {took}, in the shape {reply.shape}; {limit}")
    account = ", workspace ".join(filter(None, [reply.organization, reply.workspace]))
    yield ok("account", account or "not named by the service: its address stands for it")
    if reply.ahead_s is not None and abs(reply.ahead_s) > CLOCK_S:
        way = "ahead of" if reply.ahead_s > 0 else "behind"
        found = f"this machine's is {abs(reply.ahead_s):,.0f} s {way} the service's"
        yield warning("clock", found, "set it (timedatectl set-ntp true)")
    elif reply.ahead_s is not None:
        yield ok("clock", "agrees with the service's")


async def _ask(config: Config) -> Reply:
    import trio  # noqa: PLC0415 - see above

    from remotefs.api.budget import Budget, Priority  # noqa: PLC0415 - see above
    from remotefs.api.client import Client  # noqa: PLC0415 - see above
    from remotefs.errors import RemotefsError  # noqa: PLC0415 - see above
    from remotefs.keys import signed  # noqa: PLC0415 - see above

    budget = Budget.for_service(config.service)
    begun = time.monotonic()
    try:
        # A command may give the key: it has the time of this process for that.
        service = signed(config.service)
        with trio.fail_after(PATIENCE_S):
            async with Client(service, budget) as client:
                await client.list_page(None, priority=Priority.FIRST_LISTING, limit=1)
    except (RemotefsError, trio.TooSlowError) as error:
        return Reply(seconds=time.monotonic() - begun, error=str(error) or f"no answer within {PATIENCE_S:g} s")
    account = client.account
    return Reply(
        seconds=time.monotonic() - begun,
        organization=account.organization if account else None,
        workspace=account.workspace if account else None,
        shape=client.shape,
        limit_per_minute=budget.limit_per_minute,
        ahead_s=time.time() - client.clock.now_ns() / 1e9 if client.clock.is_sure else None,
    )
