"""The questions that the vendor's documents leave open, put to a server: at most 20 requests, and no files left behind.

Each step sends one or two requests and answers one or more questions. The probe deletes its uploads at the end, also
when a step failed or the probe was cancelled.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import msgspec

from remotefs.api import models
from remotefs.api.budget import Budget
from remotefs.api.exchange import Exchange
from remotefs.api.http import httpx
from remotefs.api.models import FileMetadata, Page
from remotefs.api.probe.single_requests import Answer, SingleRequests
from remotefs.api.upload import BytesSource
from remotefs.config import MIB, ServiceConfig
from remotefs.credentials import KeyRing

# The most requests when nothing fails; a delete that fails is retried.
MAX_REQUESTS = 20
PREFIX = "remotefs-probe-"
UNKNOWN = "unknown"
_NAME_CHARACTERS = 255
_EXPIRY_S = 3600
# The documented limit is 500 MB. A file between 500 * 10**6 and 500 * 2**20 bytes shows which MB are meant.
_DISPUTED_BYTES = 510 * 10**6
_LARGE_UPLOAD_WAIT_S = 900.0
_WRONG_SHAPE = (400, 404)
_TOLD_OF_CONTENT = ("etag", "content-disposition", "accept-ranges", "content-encoding", "cache-control")


class Observation(msgspec.Struct, frozen=True):
    """One question and what this server answers."""

    question: str
    answer: str


class Report(msgspec.Struct, frozen=True):
    """All answers of a probe; `left_over` names the files that it could not delete."""

    base_url: str
    organization: str | None
    shape: str
    requests: int
    findings: tuple[Observation, ...]
    left_over: tuple[str, ...]


async def run_probe(
    config: ServiceConfig,
    *,
    size_limit: bool = False,
    report: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Report:
    """Put every question to the server and return the answers.

    `size_limit` also uploads a file of 510 MB. `report` is called with each step, `warn` with each file left behind.
    Raises RefusedError or TransportError when the server does not even answer a listing.
    """
    budget = Budget.for_service(config)
    exchange = Exchange(KeyRing(config), budget, transport=transport)
    async with aclosing(exchange), aclosing(SingleRequests(exchange, budget, report, warn)) as single_requests:
        prober = _Prober(single_requests)
        await prober.run(size_limit=size_limit)
    account = exchange.account
    return Report(
        base_url=str(exchange.base),
        organization=account.organization if account else None,
        shape="beta" if prober.is_answered_in_beta else "ga",
        requests=budget.statistics().granted,
        findings=tuple(prober.findings),
        left_over=tuple(single_requests.left_over),
    )


class _Prober:
    """The questions, in an order that lets one request answer several of them."""

    def __init__(self, single_requests: SingleRequests) -> None:
        self.findings: list[Observation] = []
        # Whether listings come in the beta shape, with its header or without.
        self.is_answered_in_beta = False
        self._single_requests = single_requests
        self._name = f"{PREFIX}{secrets.token_hex(6)}"

    async def run(self, *, size_limit: bool) -> None:
        """Take every step, and collect the answers in `findings`."""
        known = await self._learn_shape()
        first = await self._first_upload()
        if first is not None:
            await self._is_visible(first)
        await self._normalisation()
        await self._length_of_names()
        await self._empty_file()
        expiring = await self._expiry_in_beta()
        await self._content(first, known)
        await self._size_limit(wanted=size_limit)
        await self._after_delete(first, expiring)

    def _found(self, question: str, answer: str) -> None:
        self.findings.append(Observation(question, answer))

    async def _learn_shape(self) -> Page:
        answer, asks_beta = await self._single_requests.list(beta=False), False
        if answer.status in _WRONG_SHAPE:
            answer, asks_beta = await self._single_requests.list(beta=True), True
        if answer.error is not None:
            raise answer.error
        decoded = models.decode_page(answer.body)
        self.is_answered_in_beta, self._single_requests.beta = decoded.beta, asks_beta
        unasked = " (without being asked for it)" if decoded.beta and not asks_beta else ""
        self._found("shape of the API", f"beta{unasked}" if decoded.beta else "GA")
        rates = sorted(name for name in answer.headers if name.startswith("anthropic-ratelimit-"))
        limit = answer.headers.get("anthropic-ratelimit-requests-limit", "?")
        self._found("rate headers", f"{len(rates)}, {limit[:20]} requests a minute" if rates else "none")
        self._found("account in the headers", _yes_no("anthropic-organization-id" in answer.headers))
        return decoded.page

    async def _first_upload(self) -> FileMetadata | None:
        answer, file = await self._upload(f"{self._name}.txt", b"remotefs probe\n" * 64)
        if file is None:
            self._found("upload", answer.describe())
        else:
            self._found("own uploads", "downloadable" if file.downloadable else "not downloadable")
        return file

    async def _is_visible(self, file: FileMetadata) -> None:
        answer = await self._single_requests.metadata(file.id)
        self._found("metadata right after an upload", "yes" if answer.status == 200 else answer.describe())
        listed = await self._listed()
        self._found("listed right after an upload", UNKNOWN if listed is None else _yes_no(file.id in listed))
        if not self.is_answered_in_beta:
            answer = await self._single_requests.list(beta=False, ids=(file.id,))
            self._found("ids[] together with limit", "accepted" if answer.status == 200 else answer.describe())

    async def _listed(self) -> Mapping[str, FileMetadata] | None:
        answer = await self._single_requests.list(beta=self._single_requests.beta)
        if answer.error is not None:
            return None
        return {file.id: file for file in models.decode_page(answer.body).page.files}

    async def _upload(self, name: str, content: bytes) -> tuple[Answer, FileMetadata | None]:
        return await self._single_requests.upload(name, BytesSource(content, "text/plain"))

    async def _normalisation(self) -> None:
        sent = f"{self._name}-e\u0301.txt"
        answer, file = await self._upload(sent, b"nfd\n")
        self._found("filename in decomposed form (NFD)", _normalised(sent, file) if file else answer.describe())

    async def _length_of_names(self) -> None:
        start, end = f"{self._name}-", ".txt"
        sent = start + "é" * (_NAME_CHARACTERS - len(start) - len(end)) + end
        answer, file = await self._upload(sent, b"long\n")
        question = f"filename of {len(sent)} characters in {len(sent.encode())} bytes"
        if file is None:
            self._found(question, f"{answer.describe()}: the limit counts bytes")
        elif file.filename == sent:
            self._found(question, "kept: the limit counts characters")
        else:
            self._found(question, f"changed to {len(file.filename.encode())} bytes")

    async def _empty_file(self) -> None:
        answer, file = await self._upload(f"{self._name}.txt", b"")
        self._found("empty file", f"accepted, {file.size_bytes} bytes" if file else answer.describe())
        same_name = file is not None and file.filename == f"{self._name}.txt"
        self._found("two files of one name", "accepted" if same_name else UNKNOWN)

    async def _expiry_in_beta(self) -> FileMetadata | None:
        source = BytesSource(b"soon\n", "text/plain")
        answer, file = await self._single_requests.upload(
            f"{self._name}-expiry.txt", source, beta=True, expires_in_s=_EXPIRY_S
        )
        if file is None:
            self._found("expires_in_seconds in the beta shape", answer.describe())
        return file

    async def _content(self, own: FileMetadata | None, known: Page) -> None:
        others = [file for file in known.files if file.downloadable and file.size_bytes > 1]
        for file in filter(None, [own, *others[:1]]):
            answer = await self._single_requests.content_head(file.id)
            whose = "an own upload" if file is own else "a generated file"
            self._found(f"content of {whose}", "served" if answer.error is None else answer.describe())
            if answer.error is None:
                self._describe_content(file, answer)
                return
        self._found("Range", f"{UNKNOWN}: no file here can be downloaded")

    def _describe_content(self, file: FileMetadata, answer: Answer) -> None:
        is_part = answer.status == 206
        self._found("Range", "honoured (206)" if is_part else f"ignored ({answer.status})")
        of_range = answer.headers.get("content-range", "").rpartition("/")[2]
        length = of_range if is_part else answer.headers.get("content-length", "")
        differs = f"{length[:20]} against {file.size_bytes}"
        equal = _either(length == str(file.size_bytes), "equal", differs)
        self._found("content length", equal if length else "not sent")
        shown = [name for name in _TOLD_OF_CONTENT if name in answer.headers]
        self._found("headers of content", ", ".join(shown) or "none")

    async def _size_limit(self, *, wanted: bool) -> None:
        question = f"file of {_DISPUTED_BYTES:,} bytes"
        if not wanted:
            self._found(question, f"{UNKNOWN}: use --size-limit to upload it")
            return
        source = _Zeros(_DISPUTED_BYTES)
        answer, file = await self._single_requests.upload(f"{self._name}.bin", source, wait_s=_LARGE_UPLOAD_WAIT_S)
        refused = f"{answer.describe()}: MB are 10^6" if answer.status == 413 else answer.describe()
        self._found(question, "accepted: MB are 2^20" if file else refused)

    async def _after_delete(self, file: FileMetadata | None, expiring: FileMetadata | None) -> None:
        if file is not None and await self._single_requests.delete(file.id):
            answer = await self._single_requests.metadata(file.id)
            self._found("metadata right after a delete", "404" if answer.status == 404 else f"still {answer.status}")
        listed = await self._listed()
        if file is not None and listed is not None:
            self._found("listed right after a delete", _yes_no(file.id in listed))
        if expiring is not None:
            self._found("expires_in_seconds in the beta shape", self._expiry_kept(expiring, listed))

    def _expiry_kept(self, file: FileMetadata, listed: Mapping[str, FileMetadata] | None) -> str:
        """Return the answer about the expiry; only a listing in the GA shape shows it."""
        seen = None if listed is None or self.is_answered_in_beta else listed.get(file.id)
        return "accepted; unknown whether it is kept" if seen is None else _either(seen.expires_ns, "kept", "ignored")


class _Zeros(msgspec.Struct, frozen=True):
    """An UploadSource of zero bytes."""

    size_bytes: int
    mime_type: str = "application/octet-stream"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        whole, rest = divmod(self.size_bytes, MIB)
        for _ in range(whole):
            yield bytes(MIB)
        if rest:
            yield bytes(rest)


def _normalised(sent: str, file: FileMetadata) -> str:
    if file.filename == sent:
        return "kept"
    is_nfc = file.filename == unicodedata.normalize("NFC", sent)
    return "changed to NFC" if is_nfc else "changed"


def _yes_no(value: object) -> str:
    return _either(value, "yes", "no")


def _either(value: object, yes: str, no: str) -> str:
    return yes if value else no
