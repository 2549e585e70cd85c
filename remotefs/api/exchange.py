"""One request and its reply: identity, budget, account, refusals, redirects, and the loop that retries.

This layer lies between the operations (`client`) and the connection pool (`transport`). No exception that leaves here
has one of httpx's exceptions as its cause or context, because those hold the request and with it the key. That is why
a failed request is noted inside `except` and raised after the block: Python sets `__context__` on everything that is
raised inside one, and `from None` only hides it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import TypeVar

import msgspec
import trio

from remotefs import crashpoints
from remotefs.api import bounds
from remotefs.api.budget import Budget, Priority, Ticket
from remotefs.api.download import Pieces
from remotefs.api.http import httpx
from remotefs.api.models import Account, account_of
from remotefs.api.refusals import refusal
from remotefs.api.renewal import KeyRenewal
from remotefs.api.retry import GiveUp, decide
from remotefs.api.traffic import NO_REPLY, Kind, Traffic, kind_of
from remotefs.api.transport import FILES_BETA, base_url, identity_headers, lost_request, make_http_client
from remotefs.api.upload import UploadBody
from remotefs.clocks import Machine, ServiceClock, SteadyClock
from remotefs.config import MIB, ServiceConfig
from remotefs.credentials import KeyRing, credential_advice
from remotefs.errors import (
    AuthenticationFailed,
    BadRequest,
    DeadlineExceeded,
    RateLimited,
    RefusedError,
    RemoteNotFound,
    ReplyBroken,
    SpendCapReached,
    TransportError,
)

T = TypeVar("T")
# Called with the account that a reply names and whether the reply is a success.
OnAccount = Callable[[Account, bool], None]
Whom = Priority | Ticket
# The largest JSON reply that is read. A page of 1,000 entries of the largest size is 5 MB, 8 MB with all of it escaped.
_MOST_JSON_BYTES = 16 * MIB
# What a piece of it counts at least, because a flood of pieces of one byte takes as much work as one of large pieces.
_LEAST_COUNTED = 1024
_MOST_ERROR_BYTES = 256 * 1024
# The body of a refusal explains the status; the status decides without it too, so a slow body is not waited for.
_ERROR_BODY_WAIT_S = 10.0
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CLOSE_WAIT_S = 5.0


class Call(msgspec.Struct, frozen=True):
    """One operation without its body; `action` names it in errors ("upload of 'a.txt'")."""

    method: str
    path: str
    action: str
    params: tuple[tuple[str, str | int], ...] = ()

    @property
    def kind(self) -> Kind:
        """Return its kind, for the counters."""
        return kind_of(self.method, self.path)


class Reply(msgspec.Struct, frozen=True):
    """The head of a 2xx reply; the body is still to be read from `pieces`."""

    status: int
    headers: Mapping[str, str]
    pieces: Pieces
    # How long a JSON body may take, in seconds.
    body_wait_s: float

    async def read(self) -> bytes:
        """Return the whole body of a JSON reply.

        Raises ReplyBroken when the body is cut short or longer than 16 MiB, DeadlineExceeded when it takes longer than
        `body_wait_s`: each piece of it is in time, and still it might never end.
        """
        with trio.move_on_after(self.body_wait_s):
            return await self._read()
        raise DeadlineExceeded(f"a reply has not ended {self.body_wait_s:g} s after it began")

    async def _read(self) -> bytes:
        body, counted = bytearray(), 0
        async for piece in self.pieces:
            body += piece
            counted += max(len(piece), _LEAST_COUNTED)
            if counted > _MOST_JSON_BYTES:
                raise ReplyBroken(f"a reply is longer than {_MOST_JSON_BYTES} bytes, longer than any listing")
        return bytes(body)


def even_chance() -> float:
    """Return a random number in 0..1, from the system's source, so that no two clients wait in step."""
    return random.SystemRandom().random()


class Exchange:
    """Sends requests for one account over one connection pool. The owner closes it with `aclose`.

    `on_account` may raise to reject a reply of another account, `on_heard` is called whenever the service sends
    something, `chance` returns a number in 0..1 that spreads the waits between retries, `clock` learns the service's
    time.
    """

    def __init__(
        self,
        keys: KeyRing,
        budget: Budget,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        on_account: OnAccount | None = None,
        on_heard: Callable[[], None] = lambda: None,
        chance: Callable[[], float] = even_chance,
        clock: ServiceClock | None = None,
    ) -> None:
        config = keys.service
        self.base = base_url(config)
        self.account: Account | None = None
        self.traffic = Traffic()
        self.clock = clock or ServiceClock(machine := Machine(), SteadyClock(machine))
        self._budget = budget
        self._keys = keys
        self._identity = identity_headers(config)
        self._renewal = KeyRenewal(keys, self._try_key)
        self._http = make_http_client(config, transport)
        self._on_account = on_account
        # The account of the newest success that `on_account` let pass.
        self._accepted: Account | None = None
        self._on_heard = on_heard
        self._chance = chance
        self._body_wait_s = config.request_deadline_s

    async def aclose(self) -> None:
        """Close every connection."""
        with trio.move_on_after(_CLOSE_WAIT_S, shield=True):
            await self._http.aclose()

    async def retrying(self, attempt: Callable[[], Awaitable[T]], whom: Whom, deadline_s: float | None) -> T:
        """Run `attempt` until it succeeds or `retry.decide` gives up; return its result.

        Each run takes one request from the budget. One that was refused for its key is repeated once, if there is a new
        key. `deadline_s` (seconds, None for none) covers the attempts and the
        waits between them, not the waiting for the budget. Raises the last error (RefusedError or TransportError) when
        it gives up, DeadlineExceeded when the time is over.
        """
        spent_s = 0.0
        ticket = whom if isinstance(whom, Ticket) else Ticket(whom)
        failure: RefusedError | TransportError
        is_renewed = False
        for number in itertools.count():
            await self._budget.acquire(ticket)
            generation = self._keys.generation
            started = trio.current_time()
            try:
                with trio.fail_after(math.inf if deadline_s is None else deadline_s - spent_s):
                    return await attempt()
            except trio.TooSlowError:
                failure = DeadlineExceeded(f"{self.base.host} did not answer within {deadline_s:g} s")
            except (RefusedError, TransportError) as error:
                failure = error
            self.traffic.failed(failure)
            spent_s += trio.current_time() - started
            if isinstance(failure, AuthenticationFailed) and not is_renewed:
                is_renewed = await self.is_renewed(generation)
                if is_renewed:
                    continue
            verdict = decide(number, failure, elapsed_s=spent_s, deadline_s=deadline_s, chance=self._chance())
            if isinstance(verdict, GiveUp):
                break
            # A refusal is an answer: readers that watch the ticket must not count this pause as the service's silence.
            with ticket.waiting() if isinstance(failure, RefusedError) else nullcontext():
                await trio.sleep(verdict.after_s)
            spent_s += verdict.after_s
        raise failure

    @property
    def generation(self) -> int:
        """Return the number of the key in use, for `is_renewed`."""
        return self._keys.generation

    async def is_renewed(self, generation: int) -> bool:
        """Return whether another key is in use than `generation`, which was refused; look for one if it is not.

        Raises AccountError.
        """
        return await self._renewal.is_renewed(generation)

    def request(
        self,
        call: Call,
        *,
        beta: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        body: UploadBody | None = None,
        identity: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        """Build the request of one attempt, with the headers that carry the identity and choose the shape."""
        identity = self._identity if identity is None else identity
        extra = {} if timeout is None else {"timeout": timeout.as_dict()}
        request = self._http.build_request(
            call.method,
            f"{self.base}{call.path}",
            params=call.params or None,
            headers={**identity, **_shape_headers(identity, beta=beta), **(headers or {}), **_body_headers(body)},
            content=body,
            extensions=extra or None,
        )
        if body is not None:
            # httpx wraps a stream in a generator, which would stay suspended when the request is cut (see UploadBody).
            request.stream = body
        return request

    @asynccontextmanager
    async def reply(
        self, call: Call, request: httpx.Request, body: UploadBody | None = None, *, is_first: bool = False
    ) -> AsyncGenerator[Reply, None]:
        """Send the request and yield its 2xx reply; close the body at the end of the block.

        `is_first`: nothing is known yet of the account that the request's credentials are for.
        Raises RefusedError for any other status, TransportError when no answer comes.
        """
        response = await self._send(call, request, body)
        async with aclosing(Pieces(response, self._on_heard)) as pieces:
            await self._take_head(call, response, pieces, is_first=is_first)
            yield Reply(response.status_code, response.headers, pieces, self._body_wait_s)

    async def open(self, call: Call, headers: Mapping[str, str], *, beta: bool) -> Reply:
        """Send a request, follow redirects and return the 2xx reply; the caller closes its `pieces`.

        Raises RefusedError and TransportError as `reply` does; ReplyBroken after 5 redirects, for a redirect that is
        not safe to follow, and when another host answers with an error.
        """
        request, ours = self.request(call, beta=beta, headers=headers), True
        for _ in range(_MOST_REDIRECTS):
            response = await self._send(call, request, None)
            target = response.headers.get("location")
            if response.status_code not in _REDIRECTS or not target:
                return await self._opened(call, response, ours=ours)
            await response.aclose()
            request, ours = self._redirected(call, request, target, headers, ours=ours)
        raise ReplyBroken(f"{call.action}: the service redirects without end")

    async def _opened(self, call: Call, response: httpx.Response, *, ours: bool) -> Reply:
        pieces = Pieces(response, self._on_heard)
        try:
            if ours:
                await self._take_head(call, response, pieces)
            else:
                _check_stranger(call, response)
        except BaseException:
            await pieces.aclose()
            raise
        return Reply(response.status_code, response.headers, pieces, self._body_wait_s)

    def _redirected(
        self, call: Call, request: httpx.Request, target: str, headers: Mapping[str, str], *, ours: bool
    ) -> tuple[httpx.Request, bool]:
        """Return the request to the target of a redirect, and whether it still goes to the service itself.

        A request to the service's own origin carries the identity. One to another origin must be encrypted and carries
        none; a redirect back from there does not regain it. Raises ReplyBroken for any other target.
        """
        try:
            url = request.url.join(target)
        except (httpx.InvalidURL, ValueError):
            raise ReplyBroken(f"{call.action}: redirected to an invalid address") from None
        if ours and _origin(url) == _origin(self.base):
            same_identity = self._identity | dict(headers)
            return self._http.build_request(call.method, url, headers=same_identity), True
        if url.scheme != "https" or not url.host:
            raise ReplyBroken(f"{call.action}: redirected to {url.host or 'an empty address'} without encryption")
        return self._http.build_request(call.method, url, headers=dict(headers)), False

    async def _send(self, call: Call, request: httpx.Request, body: UploadBody | None) -> httpx.Response:
        failure: TransportError
        crashpoints.reached("request goes out", call.action)
        began = trio.current_time()
        status = NO_REPLY
        try:
            response = await self._http.send(request, stream=True)
        except httpx.RequestError as error:
            failure = lost_request(
                error,
                action=call.action,
                host=request.url.host,
                idempotent=body is None,
                whole=body is None or body.all_sent,
            )
        else:
            crashpoints.reached("reply has begun", call.action)
            status = response.status_code
            self._on_heard()
            return response
        finally:
            self.traffic.replied(call.kind, status, trio.current_time() - began)
        raise failure

    def _learn_clock(self, headers: Mapping[str, str]) -> None:
        service_ns = bounds.clock_ns(headers.get("date"))
        if service_ns is not None:
            self.clock.read(service_ns)

    async def _take_head(self, call: Call, response: httpx.Response, pieces: Pieces, *, is_first: bool = False) -> None:
        """Learn limit, account and clock from the headers. Raises the refusal for a status other than 2xx."""
        self._budget.on_reply(response.headers)
        known = None if is_first else self.account
        named = account_of(response.headers, known)
        self._learn_account(named, success=response.is_success, is_first=is_first)
        if response.is_success:
            # Only for a success: an error may come from a proxy, which has a clock of its own.
            self._learn_clock(response.headers)
            return
        error = refusal(
            response.status_code,
            response.headers,
            await _reason_of(pieces),
            action=call.action,
            credential=credential_advice(self._keys.service),
            secrets=self._keys.secrets,
        )
        if isinstance(error, RateLimited) and not isinstance(error, SpendCapReached):
            self._budget.on_rate_limited(error.retry_after_s)
        raise error

    def _learn_account(self, named: Account | None, *, success: bool, is_first: bool) -> None:
        """Note the account of a reply, and call `on_account` when it differs from the last accepted one.

        A refusal that names no account may come from a proxy, so it proves nothing and changes nothing.
        """
        if named is None and not success:
            return
        account = named or Account(None, None)
        if (is_first or account != self._accepted) and self._on_account is not None:
            # It raises to reject the account. `_accepted` then stays, so every later reply of that account raises too.
            self._on_account(account, success)
        if success:
            self._accepted = account
        self.account = named

    async def _try_key(self, found: ServiceConfig) -> None:
        """Ask for one file with other credentials, and use them if the service and `on_account` let them pass.

        Raises RefusedError, TransportError; what `on_account` raises.
        """
        identity = identity_headers(found)
        try:
            await self._ask_for_one(identity, beta=False)
        except (BadRequest, RemoteNotFound):
            # As a server answers that has the beta shape alone.
            await self._ask_for_one(identity, beta=True)
        self._identity = identity

    async def _ask_for_one(self, identity: Mapping[str, str], *, beta: bool) -> None:
        await self._budget.acquire(Ticket(Priority.FIRST_LISTING))
        call = Call("GET", "/v1/files", "listing with a new key", (("limit", 1),))
        try:
            with trio.fail_after(self._body_wait_s):
                async with self.reply(call, self.request(call, beta=beta, identity=identity), is_first=True) as reply:
                    await reply.read()
        except trio.TooSlowError:
            failure = DeadlineExceeded(f"{self.base.host} did not answer within {self._body_wait_s:g} s")
        else:
            return
        raise failure


def _shape_headers(identity: Mapping[str, str], *, beta: bool) -> dict[str, str]:
    """Return the `anthropic-beta` header of the beta shape; a beta of the user's own stays beside it."""
    own = identity.get("anthropic-beta")
    return {"anthropic-beta": f"{own},{FILES_BETA}" if own else FILES_BETA} if beta else {}


def _check_stranger(call: Call, response: httpx.Response) -> None:
    """Raise ReplyBroken for an error of another host: its 404 proves nothing about a file of the service (S4)."""
    if not response.is_success:
        host, status = response.url.host, response.status_code
        raise ReplyBroken(f"{call.action}: the service redirected the request to {host}, which answered {status}")


async def _reason_of(pieces: Pieces) -> bytes:
    """Return the body of a refusal as far as it arrives within 10 s, at most 256 KiB."""
    body = bytearray()
    try:
        with trio.move_on_after(_ERROR_BODY_WAIT_S):
            async for piece in pieces:
                body += piece
                if len(body) > _MOST_ERROR_BYTES:
                    break
    except TransportError:
        pass
    return bytes(body[:_MOST_ERROR_BYTES])


def _body_headers(body: UploadBody | None) -> dict[str, str]:
    return {} if body is None else {"content-type": body.content_type, "content-length": str(body.content_length)}


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
