"""Single requests without retries, for the probe, which counts its requests and looks at the replies.

Closing deletes every file that was uploaded here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing

import msgspec
import trio

from remotefs.api import models
from remotefs.api.budget import Budget, Priority
from remotefs.api.exchange import Call, Exchange
from remotefs.api.models import FileMetadata
from remotefs.api.multipart import upload_form
from remotefs.api.upload import UploadBody, UploadSource, after_all_sent
from remotefs.errors import (
    AmbiguousOutcome,
    DeadlineExceeded,
    RefusedError,
    RemotefsError,
    RemoteNotFound,
    TransportError,
    Unreachable,
)

# A cancellation does not cut an upload: its id would be unknown, and the file would stay at the service.
_UPLOAD_WAIT_S = 60.0
_CLEANUP_WAIT_S = 60.0
_PAGE_FILES = 1000


class Answer(msgspec.Struct, frozen=True):
    """The outcome of one request: a body, or the error that it ended in. `status` is None when no reply came."""

    status: int | None
    headers: Mapping[str, str] = {}
    body: bytes = b""
    error: RefusedError | TransportError | None = None

    def describe(self) -> str:
        """Return a few words for the report that say why this is not the answer that a question needs."""
        if isinstance(self.error, RefusedError):
            return f"refused with {self.error.status} {self.error.error_code or self.error.type or ''}".rstrip()
        return "no answer" if self.error else f"answered {self.status}"


class SingleRequests:
    """Sends requests that are not retried; use it inside `aclosing`.

    `report` is called with each step, `warn` with each file that may be left at the service; `left_over` lists these.

    Invariant: `_made` holds the id and the name of every file of ours that is not known to be deleted.
    """

    def __init__(
        self, exchange: Exchange, budget: Budget, report: Callable[[str], None], warn: Callable[[str], None]
    ) -> None:
        self.beta = False
        self.left_over: list[str] = []
        self._exchange = exchange
        self._budget = budget
        self._report = report
        self._warn = warn
        self._made: dict[str, str] = {}

    async def list(self, *, beta: bool, ids: Sequence[str] = ()) -> Answer:
        """Ask for the newest 1,000 files, or for those of `ids` (at most 100); return the answer."""
        limit: tuple[tuple[str, str | int], ...] = (("limit", 100 if ids else _PAGE_FILES),)
        params = (*limit, *(("ids[]", file_id) for file_id in ids))
        return await self._ask(Call("GET", "/v1/files", "listing", params), beta=beta)

    async def metadata(self, file_id: str) -> Answer:
        """Ask for the metadata of one file; return the answer."""
        return await self._ask(Call("GET", f"/v1/files/{file_id}", f"metadata of {file_id}"), beta=self.beta)

    async def content_head(self, file_id: str) -> Answer:
        """Ask for the second byte of a file; return the answer without its body.

        The body is not read: a server that ignores Range sends the whole file, which may be large and somebody else's.
        """
        call = Call("GET", f"/v1/files/{file_id}/content", f"download of {file_id}")
        headers = {"range": "bytes=1-1", "accept-encoding": "identity"}
        return await self._ask(call, beta=self.beta, headers=headers, head_only=True)

    async def delete(self, file_id: str) -> bool:
        """Delete a file that was uploaded here; return whether the service confirmed it."""
        answer = await self._ask(_delete_call(file_id), beta=self.beta)
        if answer.error is None:
            self._made.pop(file_id, None)
        return answer.error is None

    async def upload(
        self,
        name: str,
        source: UploadSource,
        *,
        beta: bool | None = None,
        expires_in_s: int | None = None,
        wait_s: float = _UPLOAD_WAIT_S,
    ) -> tuple[Answer, FileMetadata | None]:
        """Upload a new file; return the answer, and the file if the service stored it.

        Once begun it is not cancelled; it ends after `wait_s` seconds.
        """
        self._report(f"uploading {source.size_bytes:,} bytes under a name of {len(name)} characters")
        await self._budget.acquire(Priority.INTERACTIVE_READ)
        form = upload_form(name, source.mime_type, secrets.token_hex(16), expires_in_s)
        failure: RefusedError | TransportError = DeadlineExceeded(f"no answer within {wait_s:g} s")
        with trio.move_on_after(wait_s, shield=True):
            async with aclosing(source.pieces()) as pieces:
                body = UploadBody(form, source.size_bytes, pieces, None)
                try:
                    return await self._send(name, body, beta=self.beta if beta is None else beta)
                except (RefusedError, TransportError) as error:
                    failure = error
        # After a definite refusal, or without a connection, no file was made; after any other failure there may be one.
        if isinstance(after_all_sent(failure), AmbiguousOutcome) and not isinstance(failure, Unreachable):
            self._leave(f"{name!r}, if the service stored it: {failure}")
        return _failed(failure), None

    async def aclose(self) -> None:
        """Delete all files that were uploaded, also when cancelled, within 60 s. Only these deletes are retried."""
        with trio.move_on_after(_CLEANUP_WAIT_S, shield=True):
            for file_id in list(self._made):
                await self._delete_for_sure(file_id)
        for file_id, name in self._made.items():
            self._leave(f"{name!r} ({file_id})")

    async def _delete_for_sure(self, file_id: str) -> None:
        async def attempt() -> None:
            call = _delete_call(file_id)
            async with self._exchange.reply(call, self._exchange.request(call, beta=self.beta)) as reply:
                models.decode_deleted(await reply.read(), expected_id=file_id)

        try:
            await self._exchange.retrying(attempt, Priority.INTERACTIVE_READ, _CLEANUP_WAIT_S)
        except RemoteNotFound:
            pass
        except RemotefsError as error:
            self._report(str(error))
            return
        del self._made[file_id]

    def _leave(self, what: str) -> None:
        self.left_over.append(what)
        self._warn(f"left behind: {what}")

    async def _ask(
        self, call: Call, *, beta: bool, headers: Mapping[str, str] | None = None, head_only: bool = False
    ) -> Answer:
        await self._budget.acquire(Priority.INTERACTIVE_READ)
        self._report(call.action)
        try:
            async with self._exchange.reply(call, self._exchange.request(call, beta=beta, headers=headers)) as reply:
                return Answer(reply.status, dict(reply.headers), b"" if head_only else await reply.read())
        except (RefusedError, TransportError) as error:
            return _failed(error)

    async def _send(self, name: str, body: UploadBody, *, beta: bool) -> tuple[Answer, FileMetadata]:
        call = Call("POST", "/v1/files", f"upload of {name!r}")
        request = self._exchange.request(call, beta=beta, body=body)
        async with self._exchange.reply(call, request, body) as reply:
            file = models.decode_file(await reply.read())
            self._made[file.id] = name
            return Answer(reply.status, dict(reply.headers)), file


def _delete_call(file_id: str) -> Call:
    return Call("DELETE", f"/v1/files/{file_id}", f"delete of {file_id}")


def _failed(error: RefusedError | TransportError) -> Answer:
    return Answer(error.status if isinstance(error, RefusedError) else None, error=error)
