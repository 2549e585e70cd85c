"""The five operations of the Files API, in both of its shapes.

Every request waits for the budget first and goes through one loop that asks `retry` whether to send it again. The wait
for the budget has no deadline of its own; a caller that wants one uses `trio.fail_after`.
"""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Literal, Self, TypeVar

from remotefs.api import models
from remotefs.api.bandwidth import Bandwidth
from remotefs.api.budget import BETA_LIMIT_PER_MINUTE, Budget, Ticket
from remotefs.api.download import Download, Floor, Turns, range_header, shows_ranges, span_of
from remotefs.api.exchange import Call, Exchange, OnAccount, Whom, even_chance
from remotefs.api.http import httpx
from remotefs.api.models import Account, FileMetadata, Page, check_id
from remotefs.api.multipart import upload_form
from remotefs.api.pagination import Walk
from remotefs.api.traffic import Traffic
from remotefs.api.transport import timeouts
from remotefs.api.upload import UploadBody, UploadSource, after_all_sent
from remotefs.clocks import ServiceClock
from remotefs.config import MIB, ServiceConfig, Shape
from remotefs.credentials import KeyRing
from remotefs.errors import (
    AuthenticationFailed,
    InvalidArgument,
    KeyReplaced,
    RefusedError,
    RemoteNotFound,
    ReplyBroken,
    TransportError,
)

_log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_IDS_PER_REQUEST = 100
MAX_PAGE_FILES = 1000
# The service stores a file before it answers its upload, so this reply may take longer than others: by the time that
# the file takes at this rate.
_STORING_BYTES_PER_S = 10 * MIB
# The answers to a listing in the GA shape by a server that does not know that shape.
_WRONG_SHAPE = (400, 404)
# The most entries that the log tells of: a listing of odd ones would fill it.
_MOST_TOLD = 100


class Client:
    """The client of the Files API; use it as an async context manager.

    `config` may be a KeyRing, whose key can change: the client looks for another one after a 401.
    `on_account` is called before a reply is handed out, when the reply names another account than the last success did,
    and for the first success even if it names none; an exception from it ends the request. `on_heard` is called
    whenever the service sends something: the head of a reply, a piece of its body. `chance` returns a number in 0..1
    that spreads the waits between retries; `clock` learns the service's time. `learned` is the `asked_shape` that an
    earlier run found out; it counts where the setting is `auto`.

    `uploads` and `downloads` have the limits of bandwidth, which can be changed at any time.

    Every method raises RefusedError or TransportError of `remotefs.errors`, after the retries of `retry.decide`. The
    constructor raises UsageError for settings that cannot work.
    """

    def __init__(
        self,
        config: ServiceConfig | KeyRing,
        budget: Budget,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        on_account: OnAccount | None = None,
        on_heard: Callable[[], None] = lambda: None,
        chance: Callable[[], float] = even_chance,
        clock: ServiceClock | None = None,
        learned: Shape = "auto",
    ) -> None:
        keys = config if isinstance(config, KeyRing) else KeyRing(config)
        self._config = config = keys.service
        self._budget = budget
        self._exchange = Exchange(
            keys, budget, transport=transport, on_account=on_account, on_heard=on_heard, chance=chance, clock=clock
        )
        self.uploads = Bandwidth(config.upload_rate)
        self.downloads = Bandwidth(config.download_rate)
        self._shape: Shape = learned if config.shape == "auto" else config.shape
        # Whether requests carry the beta header. A gateway may refuse it and page its listing by ids all the same.
        self._asks_beta = self._shape == "beta"
        self._ranges_unusable = False
        # The entries that the log has told of; None stands for those without an id.
        self._told: set[str | None] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.aclose()

    @property
    def account(self) -> Account | None:
        """Return the account that the newest reply named; None before the first reply that named one."""
        return self._exchange.account

    @property
    def clock(self) -> ServiceClock:
        """Return the service's clock, as learned from the Date headers of replies."""
        return self._exchange.clock

    @property
    def traffic(self) -> Traffic:
        """Return the counts of the requests so far."""
        return self._exchange.traffic

    @property
    def shape(self) -> Shape:
        """Return the shape of the server's replies; `auto` until a listing has shown it."""
        return self._shape

    @property
    def asked_shape(self) -> Shape:
        """Return the shape to ask the server for, for the caller to remember; `auto` until a listing has shown it."""
        if self._shape == "auto":
            return "auto"
        return "beta" if self._asks_beta else "ga"

    async def list_page(self, cursor: str | None, *, priority: Whom, limit: int = MAX_PAGE_FILES) -> Page:
        """Return one page of the listing, newest file first.

        `cursor` is the `next_cursor` of the page before, None for the first page; `limit` is 1..1000 files. While the
        shape is `auto`, a 400 or 404 is followed by the same request in the beta shape; when that fails too, the error
        of the first request is raised. The same holds for a learned beta shape and the GA shape, because a gateway may
        cease to take the header. Raises InvalidArgument for another `limit`, ReplyBroken for a page that is not valid.
        """
        if not self._may_ask_otherwise(cursor):
            return await self._list(cursor, priority, limit, beta=self._asks_beta)
        usual = self._asks_beta
        first_answer = await self._list_unless_wrong_shape(cursor, priority, limit, beta=usual)
        if isinstance(first_answer, Page):
            return first_answer
        second_answer = await self._list_unless_wrong_shape(cursor, priority, limit, beta=not usual)
        if isinstance(second_answer, Page):
            return second_answer
        raise first_answer

    def pages(self, *, priority: Whom, limit: int = MAX_PAGE_FILES) -> AsyncIterator[Page]:
        """Return an iterator over all pages; iterating raises ReplyBroken when the listing would never end."""
        return Walk(lambda cursor: self.list_page(cursor, priority=priority, limit=limit))

    async def list_ids(self, ids: Sequence[str], *, priority: Whom) -> tuple[FileMetadata, ...]:
        """Return the files of `ids` that the service has; an id that is missing from the result does not exist.

        Costs one request for each 100 ids in the GA shape, one for each id in the beta shape, which cannot list by id.
        Raises ReplyBroken when the answer holds other files or does not fit into one page.
        """
        wanted = [check_id(file_id) for file_id in dict.fromkeys(ids)]
        if wanted:
            await self._learn(priority)
        if self._shape == "beta":
            found = [await self._metadata_or_none(file_id, priority) for file_id in wanted]
            return tuple(file for file in found if file is not None)
        files: list[FileMetadata] = []
        for at in range(0, len(wanted), MAX_IDS_PER_REQUEST):
            files += await self._list_ids(wanted[at : at + MAX_IDS_PER_REQUEST], priority)
        return tuple(files)

    async def metadata(self, file_id: str, *, priority: Whom) -> FileMetadata:
        """Return the metadata of one file. Raises RemoteNotFound when there is no such file."""
        call = Call("GET", f"/v1/files/{check_id(file_id)}", f"metadata of {file_id}")
        beta = await self._is_beta(priority)
        return await self._json(call, priority, lambda body: models.decode_file(body, expected_id=file_id), beta=beta)

    async def delete(self, file_id: str, *, priority: Whom, before_sending: Callable[[], None] | None = None) -> None:
        """Delete a file for good.

        `before_sending` is called right before each attempt goes out, after the waits for the budget, for a retry and
        for a connection; an exception from it stops the attempt, ends the retries and is raised. Raises RemoteNotFound
        when there is no such file. That includes a delete whose reply was lost: the retry finds the file gone.
        """
        call = Call("DELETE", f"/v1/files/{check_id(file_id)}", f"delete of {file_id}")
        beta = await self._is_beta(priority)
        await self._json(
            call,
            priority,
            lambda body: models.decode_deleted(body, expected_id=file_id),
            beta=beta,
            before_sending=before_sending,
        )

    async def upload(
        self,
        name: str,
        source: UploadSource,
        *,
        priority: Whom,
        expires_in_s: int | None = None,
        on_all_sent: Callable[[], None] | None = None,
    ) -> FileMetadata:
        """Create a new file called `name` and return its metadata. Every call creates a file, also under a known name.

        `on_all_sent` is called once, as the last piece goes to the kernel. An upload that is cancelled before that has
        no effect; after it, only the reply tells whether the file exists. Once the kernel has taken the last piece,
        nothing is sent again and `source` is not read again: the caller repeats after RateLimited, Overloaded
        and KeyReplaced.
        Raises AmbiguousOutcome when the file may exist now (W6), LocalError when the source fails.
        """
        beta = await self._is_beta(priority)
        # Several attempts may reach their last piece; only the first of them reports it.
        tell_once = functools.cache(on_all_sent) if on_all_sent is not None else None
        generation = self._exchange.generation

        async def attempt() -> FileMetadata | RefusedError | TransportError:
            nonlocal generation
            generation = self._exchange.generation
            form = upload_form(name, source.mime_type, secrets.token_hex(16), expires_in_s)
            async with aclosing(source.pieces()) as pieces:
                body = UploadBody(form, source.size_bytes, pieces, tell_once, self.uploads)
                return await self._send_upload(name, body, beta=beta)

        outcome = await self._exchange.retrying(attempt, priority, None)
        if isinstance(outcome, FileMetadata):
            return outcome
        if isinstance(outcome, AuthenticationFailed) and await self._exchange.is_renewed(generation):
            outcome = KeyReplaced(f"upload of {name!r}: a new key is in use since it was sent", status=outcome.status)
        self.traffic.failed(outcome)
        raise outcome

    @asynccontextmanager
    async def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Whom
    ) -> AsyncGenerator[Download, None]:
        """Open the content of a file at byte `offset` and yield the body; close it at the end of the block.

        `offset` and `length` (bytes; None for the rest) are a hint, because the service does not document Range:
        `Download.offset` says where the body really starts. The request is retried until a body begins; the caller
        continues a body that is cut. Raises NotDownloadable, FileExpired or RemoteNotFound; reading the body raises
        DeadlineExceeded or ReplyBroken.
        """
        if offset < 0 or (length is not None and length <= 0):
            raise InvalidArgument(f"cannot download {length} bytes from offset {offset}")
        whole = offset == 0 and length is None
        wanted = None if whole else range_header(offset, length)
        call = Call("GET", f"/v1/files/{check_id(file_id)}/content", f"download of {file_id}")
        ticket = priority if isinstance(priority, Ticket) else Ticket(priority)
        beta = await self._is_beta(ticket)

        async def attempt() -> Download:
            return await self._open_download(call, wanted, offset, Turns(self.downloads, ticket), beta=beta)

        async with aclosing(
            await self._exchange.retrying(attempt, ticket, self._config.request_deadline_s)
        ) as download:
            yield download

    def _may_ask_otherwise(self, cursor: str | None) -> bool:
        """Return whether a listing that is refused may be asked for in the other shape: never from GA once it worked.

        The beta shape lacks the expiry, and one refusal of a proxy must not lead there for good.
        """
        was_learned = self._config.shape == "auto" and self._asks_beta and cursor is None
        return self._shape == "auto" or was_learned

    async def _learn(self, priority: Whom) -> None:
        """Ask for a listing of one file if the shape is not known."""
        if self._shape == "auto":
            await self.list_page(None, priority=priority, limit=1)

    async def _is_beta(self, priority: Whom) -> bool:
        """Return whether to send the beta header, once that is known."""
        await self._learn(priority)
        return self._asks_beta

    async def _json(
        self,
        call: Call,
        priority: Whom,
        decode: Callable[[bytes], T],
        *,
        beta: bool,
        before_sending: Callable[[], None] | None = None,
    ) -> T:
        async def attempt() -> T:
            request = self._exchange.request(call, beta=beta)
            if before_sending is not None:
                _call_before_headers(request, before_sending)
            async with self._exchange.reply(call, request) as reply:
                return decode(await reply.read())

        return await self._exchange.retrying(attempt, priority, self._config.request_deadline_s)

    async def _list_unless_wrong_shape(
        self, cursor: str | None, priority: Whom, limit: int, *, beta: bool
    ) -> Page | RefusedError:
        try:
            return await self._list(cursor, priority, limit, beta=beta)
        except RefusedError as error:
            if error.status not in _WRONG_SHAPE:
                raise
            return error

    async def _list(self, cursor: str | None, priority: Whom, limit: int, *, beta: bool) -> Page:
        if not 1 <= limit <= MAX_PAGE_FILES:
            raise InvalidArgument(f"a page has 1 to {MAX_PAGE_FILES} files, not {limit}")
        key = "after_id" if self._shape == "beta" else "page"
        params = (("limit", limit), *(() if cursor is None else ((key, cursor),)))
        decoded = await self._json(Call("GET", "/v1/files", "listing", params), priority, models.decode_page, beta=beta)
        self._learn_shape("beta" if decoded.beta else "ga", asked_beta=beta)
        self._tell_left_out(decoded.page)
        return decoded.page

    def _tell_left_out(self, page: Page) -> None:
        """Log each entry that is left out, once; those without an id together."""
        for entry in page.left_out:
            if entry.id not in self._told and len(self._told) < _MOST_TOLD:
                self._told.add(entry.id)
                _log.warning("the service lists %s, which is not shown: %s", entry.id or "an entry", entry.reason)

    def _learn_shape(self, spoken: Literal["ga", "beta"], *, asked_beta: bool) -> None:
        """Note the shape of a reply, also when the other was asked for: the cursors that follow are of that shape."""
        if asked_beta and self._shape == "auto" and self._config.requests_per_minute is None:
            self._budget.lower_limit(BETA_LIMIT_PER_MINUTE)
        self._shape, self._asks_beta = spoken, asked_beta

    async def _list_ids(self, ids: Sequence[str], priority: Whom) -> tuple[FileMetadata, ...]:
        asked: tuple[tuple[str, str | int], ...] = tuple(("ids[]", file_id) for file_id in ids)
        params = (("limit", MAX_IDS_PER_REQUEST), *asked)
        call = Call("GET", "/v1/files", f"listing of {len(ids)} ids", params)
        page = (await self._json(call, priority, models.decode_page, beta=False)).page
        if page.next_cursor is not None or page.left_out or not set(page.ids) <= set(ids):
            raise ReplyBroken(f"the service answered a listing of {len(ids)} ids with other files")
        return page.files

    async def _metadata_or_none(self, file_id: str, priority: Whom) -> FileMetadata | None:
        try:
            return await self.metadata(file_id, priority=priority)
        except RemoteNotFound:
            return None

    async def _send_upload(
        self, name: str, body: UploadBody, *, beta: bool
    ) -> FileMetadata | RefusedError | TransportError:
        """Make one attempt at an upload; return the new file, or an error that is final.

        Raises an error after which another attempt may follow, because the request did not go out whole. `retrying`
        decides only on raised errors, so the final ones must not be raised here.
        """
        call = Call("POST", "/v1/files", f"upload of {name!r}")
        patience = timeouts(self._config, reply_extra_s=body.content_length / _STORING_BYTES_PER_S)
        request = self._exchange.request(call, beta=beta, timeout=patience, body=body)
        accepted = False
        try:
            async with self._exchange.reply(call, request, body) as reply:
                accepted = True
                return models.decode_file(await reply.read())
        except (RefusedError, TransportError) as error:
            if not (body.all_sent or accepted):
                raise
            return after_all_sent(error)

    async def _open_download(
        self, call: Call, wanted: str | None, offset: int, turns: Turns, *, beta: bool
    ) -> Download:
        """Make one attempt at a download, up to the head of the reply; return the body still to be read.

        Raises ReplyBroken when the head does not say which bytes follow.
        """
        # Compressed content has neither a known length nor ranges that fit the file.
        headers = {"accept-encoding": "identity"}
        if wanted is not None and not self._ranges_unusable:
            headers["range"] = wanted
        reply = await self._exchange.open(call, headers, beta=beta)
        try:
            span = span_of(reply.status, reply.headers, offset)
        except ReplyBroken:
            if reply.status == 206:
                # A proxy's 206 that does not say which part it is. Asking for whole files from now on avoids it.
                self._ranges_unusable = True
            await reply.pieces.aclose()
            raise
        ranges = shows_ranges(reply.status, reply.headers, asked="range" in headers)
        floor = Floor(self._config.io_timeout_s)
        return Download(
            span, reply.headers.get("content-type"), reply.pieces, floor, turns, self.traffic.failed, ranges
        )


def _call_before_headers(request: httpx.Request, before_sending: Callable[[], None]) -> None:
    """Have the connection call `before_sending` when it is about to write the first byte of the request.

    The extension `trace` reports the steps of a connection (https://www.python-httpx.org/advanced/extensions/).
    """

    async def trace(step: str, _: object) -> None:
        if step.endswith(".send_request_headers.started"):
            before_sending()

    request.extensions["trace"] = trace
