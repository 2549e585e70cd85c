"""The five operations against a scripted service: shapes, cursors, retries, ambiguity."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from remotefs.api.budget import Budget, Priority, Ticket
from remotefs.api.client import Client
from remotefs.api.models import Account
from remotefs.api.upload import BytesSource
from remotefs.config import Secret
from remotefs.errors import (
    AccountError,
    AmbiguousOutcome,
    AuthenticationFailed,
    BadRequest,
    Conflict,
    DeadlineExceeded,
    FileExpired,
    InvalidArgument,
    LocalError,
    NotDownloadable,
    Overloaded,
    RateLimited,
    RefusedError,
    RemoteNotFound,
    ReplyBroken,
    SpendCapReached,
    Unreachable,
)
from tests.api.support import (
    KEY,
    URGENT,
    Script,
    Scripted,
    beta_page,
    ga_page,
    problem,
    scripted,
    settings,
    unread,
    wire_file,
)  # fmt: skip

BETA = "files-api-2025-04-14"
DELETED = httpx.Response(200, json={"id": "file_1", "type": "file_deleted"})


def stored(**changes: Any) -> httpx.Response:
    return httpx.Response(200, json=wire_file(**changes))


def queries(script: Script) -> list[list[tuple[str, str]]]:
    return [list(request.url.params.multi_items()) for request in script.requests]


# --- listing ---


async def test_a_ga_walk_follows_next_page() -> None:
    script = Script(ga_page(wire_file("file_2"), next_page="page_b"), ga_page(wire_file("file_1")))
    async with scripted(script) as client:
        pages = [page async for page in client.pages(priority=URGENT)]
    assert [[file.id for file in page.files] for page in pages] == [["file_2"], ["file_1"]]
    assert queries(script) == [[("limit", "1000")], [("limit", "1000"), ("page", "page_b")]]
    assert all("anthropic-beta" not in request.headers for request in script.requests)


async def test_a_beta_walk_follows_last_id() -> None:
    script = Script(beta_page(wire_file("file_2"), has_more=True), beta_page(wire_file("file_1")))
    async with scripted(script, shape="beta") as client:
        pages = [page async for page in client.pages(priority=URGENT, limit=1)]
    assert [file.id for page in pages for file in page.files] == ["file_2", "file_1"]
    assert queries(script)[1] == [("limit", "1"), ("after_id", "file_2")]
    assert all(request.headers["anthropic-beta"] == BETA for request in script.requests)


@pytest.mark.parametrize(
    "answers",
    [
        [ga_page(wire_file("file_1"), next_page="page_a"), ga_page(wire_file("file_2"), next_page="page_a")],
        [ga_page(wire_file("file_1"), next_page="page_a"), ga_page(wire_file("file_1"), next_page="page_b")],
        [ga_page(next_page=f"page_{n}") for n in range(10)],
        [ga_page(wire_file(f"file_{n % 2}"), next_page=f"page_{n}") for n in range(10)],
        [ga_page(*(wire_file(f"file_{n % 3}") for _ in range(n % 2)), next_page=f"page_{n}") for n in range(20)],
    ],
)
async def test_a_walk_that_would_never_end_is_broken(answers: list[httpx.Response]) -> None:
    async with scripted(Script(*answers)) as client:
        with pytest.raises(ReplyBroken):
            async for _ in client.pages(priority=URGENT):
                pass


async def test_a_page_of_files_that_were_listed_before_ends_no_walk() -> None:
    shifted = [["file_3", "file_2"], ["file_2"], [], ["file_3"], ["file_1"], ["file_3", "file_1"]]
    pages = [ga_page(*map(wire_file, ids), next_page=f"page_{n}") for n, ids in enumerate(shifted)]
    async with scripted(Script(*pages, ga_page(wire_file("file_0")))) as client:
        found = {file.id async for page in client.pages(priority=URGENT) for file in page.files}
    assert found == {"file_0", "file_1", "file_2", "file_3"}


async def test_a_walk_may_be_left_half_way() -> None:
    async with scripted(Script(ga_page(wire_file(), next_page="page_a"))) as client:
        async for page in client.pages(priority=URGENT):
            assert page.next_cursor == "page_a"
            break


@pytest.mark.parametrize("status", [400, 404])
async def test_auto_falls_back_to_beta_and_remembers(status: int) -> None:
    script = Script(problem(status, "invalid_request_error"), beta_page(wire_file()), beta_page())
    budget = Budget(500)
    async with scripted(script, budget, shape="auto", requests_per_minute=None) as client:
        assert [client.shape] == ["auto"]
        page = await client.list_page(None, priority=URGENT)
        assert [file.id for file in page.files] == ["file_1"]
        assert [client.shape] == ["beta"]
        await client.list_page(None, priority=URGENT)
    assert ["anthropic-beta" in request.headers for request in script.requests] == [False, True, True]
    assert budget.limit_per_minute == pytest.approx(100)


async def test_auto_stays_with_ga_and_tells_the_first_answer_when_both_fail() -> None:
    async with scripted(Script(ga_page()), shape="auto") as client:
        await client.list_page(None, priority=URGENT)
        assert client.shape == "ga"
    script = Script(problem(400, "invalid_request_error", "first"), problem(404, "not_found_error", "second"))
    async with scripted(script, shape="auto") as client:
        with pytest.raises(BadRequest) as raised:
            await client.list_page(None, priority=URGENT)
        assert (raised.value.error_code, client.shape) == ("first", "auto")


async def test_auto_does_not_try_another_shape_with_a_wrong_key() -> None:
    script = Script(problem(401, "authentication_error"))
    async with scripted(script, shape="auto") as client:
        with pytest.raises(AuthenticationFailed, match="ANTHROPIC_API_KEY") as raised:
            await client.list_page(None, priority=URGENT)
    assert KEY not in str(raised.value)


async def test_a_server_that_answers_in_the_other_shape_is_understood() -> None:
    script = Script(beta_page(wire_file("file_2"), has_more=True), beta_page(wire_file("file_1")))
    async with scripted(script, shape="ga") as client:
        assert [page.files[0].id async for page in client.pages(priority=URGENT)] == ["file_2", "file_1"]
    assert queries(script)[1][-1] == ("after_id", "file_2")


async def test_a_header_that_was_not_needed_is_never_sent() -> None:
    """A gateway that pages by ids, and refuses the beta header."""
    script = Script(beta_page(wire_file("file_2"), has_more=True), beta_page(wire_file("file_1")), stored(), stored())
    async with scripted(script, shape="auto") as client:
        assert [page.files[0].id async for page in client.pages(priority=URGENT)] == ["file_2", "file_1"]
        assert await client.list_ids(["file_1"], priority=URGENT) != ()
        await client.metadata("file_1", priority=URGENT)
        assert client.asked_shape == "ga"
    assert all("anthropic-beta" not in request.headers for request in script.requests)
    assert queries(script) == [[("limit", "1000")], [("limit", "1000"), ("after_id", "file_2")], [], []]


@pytest.mark.parametrize("status", [400, 404])
async def test_a_server_that_ceases_to_take_the_header_is_asked_without_it(status: int) -> None:
    script = Script(problem(status, "invalid_request_error"), ga_page(wire_file()), stored())
    async with scripted(script, shape="auto", learned="beta") as client:
        await client.list_page(None, priority=URGENT)
        assert (client.shape, client.asked_shape) == ("ga", "ga")
        await client.metadata("file_1", priority=URGENT)
    assert ["anthropic-beta" in request.headers for request in script.requests] == [True, False, False]


@pytest.mark.parametrize("kept", [{"shape": "beta"}, {"shape": "ga"}, {"shape": "auto", "learned": "ga"}])
async def test_one_refusal_leads_to_no_other_shape(kept: dict[str, Any]) -> None:
    script = Script(problem(400, "invalid_request_error"))
    async with scripted(script, **kept) as client:
        with pytest.raises(BadRequest):
            await client.list_page(None, priority=URGENT)
    assert len(script.requests) == 1


async def test_other_operations_learn_the_shape_first() -> None:
    script = Script(problem(404, "not_found_error"), beta_page(), stored())
    async with scripted(script, shape="auto") as client:
        await client.metadata("file_1", priority=URGENT)
    assert script.requests[-1].headers["anthropic-beta"] == BETA


async def test_ids_are_asked_for_a_hundred_at_a_time() -> None:
    ids = [f"file_{n}" for n in range(150)]
    script = Script(ga_page(*map(wire_file, ids[:99])), ga_page(*map(wire_file, ids[100:])))
    async with scripted(script) as client:
        files = await client.list_ids([*ids, "file_0"], priority=URGENT)
        assert await client.list_ids([], priority=URGENT) == ()
    assert [file.id for file in files] == ids[:99] + ids[100:]
    assert [sum(key == "ids[]" for key, _ in query) for query in queries(script)] == [100, 50]


@pytest.mark.parametrize("answer", [ga_page(wire_file("file_other")), ga_page(wire_file("file_1"), next_page="page_a")])
async def test_an_answer_to_another_question_is_not_taken(answer: httpx.Response) -> None:
    script = Script(answer)
    async with scripted(script) as client:
        with pytest.raises(ReplyBroken):
            await client.list_ids(["file_1"], priority=URGENT)


async def test_ids_in_the_beta_shape_are_asked_for_one_by_one() -> None:
    script = Script(stored(), problem(404, "not_found_error"))
    async with scripted(script, shape="beta") as client:
        files = await client.list_ids(["file_1", "file_2"], priority=URGENT)
    assert [file.id for file in files] == ["file_1"]


@pytest.mark.parametrize("limit", [0, 1001])
async def test_a_page_size_that_cannot_be_is_refused_here(limit: int) -> None:
    async with scripted(Script()) as client:
        with pytest.raises(InvalidArgument):
            await client.list_page(None, priority=URGENT, limit=limit)


# --- metadata, delete, identity ---


async def test_metadata_and_delete() -> None:
    script = Script(
        stored(filename="b"), DELETED, problem(404, "not_found_error"), problem(404, "not_found_error", "file_expired")
    )
    async with scripted(script) as client:
        assert (await client.metadata("file_1", priority=URGENT)).filename == "b"
        await client.delete("file_1", priority=URGENT)
        with pytest.raises(RemoteNotFound):
            await client.delete("file_1", priority=URGENT)
        with pytest.raises(FileExpired):
            await client.metadata("file_1", priority=URGENT)
    assert [(r.method, r.url.path) for r in script.requests[:2]] == [
        ("GET", "/v1/files/file_1"),
        ("DELETE", "/v1/files/file_1"),
    ]


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json={"id": "file_2"})])
async def test_a_delete_that_is_not_confirmed_is_no_success(answer: httpx.Response, autojump_clock: MockClock) -> None:
    async with scripted(Script(answer, answer, answer)) as client:
        with pytest.raises(ReplyBroken):
            await client.delete("file_1", priority=URGENT)


async def test_ids_of_the_caller_cannot_leave_their_path() -> None:
    async with scripted(Script()) as client:
        with pytest.raises(InvalidArgument):
            await client.delete("../organizations", priority=URGENT)


async def test_who_asks_is_in_every_request() -> None:
    script = Script(stored(), stored())
    async with scripted(script, workspace_id="ws_1", custom_headers=(("X-Team", Secret("blue")),)) as client:
        await client.metadata("file_1", priority=URGENT)
    async with scripted(script, api_key=None, auth_token=Secret("bearer-token")) as client:
        await client.metadata("file_1", priority=URGENT)
    first, second = (request.headers for request in script.requests)
    assert (first["x-api-key"], first["x-team"], first["anthropic-workspace-id"]) == (KEY, "blue", "ws_1")
    assert (second["authorization"], "x-api-key" in second) == ("Bearer bearer-token", False)
    assert first["anthropic-version"] == second["anthropic-version"] == "2023-06-01"


async def test_a_users_own_beta_header_stays_beside_ours() -> None:
    script = Script(beta_page())
    async with scripted(script, shape="beta", custom_headers=(("anthropic-beta", Secret("other-1")),)) as client:
        await client.list_page(None, priority=URGENT)
    assert script.requests[0].headers["anthropic-beta"] == f"other-1,{BETA}"


async def test_another_account_is_told_before_its_reply_is_used() -> None:
    seen: list[Account] = []

    def on_account(account: Account, _: bool) -> None:
        seen.append(account)
        if account.organization == "org-2":
            raise AccountError("another account")

    def reply(organization: str) -> httpx.Response:
        return httpx.Response(200, json=wire_file(), headers={"anthropic-organization-id": organization})

    script = Script(reply("org-1"), reply("org-1"), stored(), reply("org-2"))
    config = settings()
    async with Client(config, Budget(None), transport=Scripted(script), on_account=on_account) as client:
        for _ in range(3):
            await client.metadata("file_1", priority=URGENT)
        assert client.account == Account("org-1", None)
        with pytest.raises(AccountError):
            await client.metadata("file_1", priority=URGENT)
    assert seen == [Account("org-1", None), Account("org-2", None)]


# --- retries ---


async def test_what_may_pass_is_tried_again_with_growing_waits(autojump_clock: MockClock) -> None:
    script = Script(problem(500, "api_error"), httpx.ConnectError("refused"), stored())
    async with scripted(script) as client:
        await client.metadata("file_1", priority=URGENT)
    assert trio.current_time() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.ConnectError("refused"), Unreachable),
        (httpx.ConnectTimeout("slow"), Unreachable),
        (httpx.ProxyError("407"), Unreachable),
        (httpx.ReadTimeout("slow"), DeadlineExceeded),
        (httpx.RemoteProtocolError("gone"), ReplyBroken),
        (httpx.Response(200, text='{"id": "file_1", "filen'), ReplyBroken),
        (problem(529, "overloaded_error"), Overloaded),
        (problem(409, "conflict_error"), Conflict),
    ],
)
async def test_a_third_failure_is_told(
    answer: Exception | httpx.Response, expected: type[Exception], autojump_clock: MockClock
) -> None:
    script = Script(answer, answer, answer)
    async with scripted(script) as client:
        with pytest.raises(expected):
            await client.metadata("file_1", priority=URGENT)
    assert script.answers == []


async def test_a_429_waits_as_told_and_holds_up_the_others(autojump_clock: MockClock) -> None:
    script = Script(problem(429, "rate_limit_error", retry_after="7"), stored(), stored())
    budget = Budget(None)
    async with scripted(script, budget) as client, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.metadata("file_1", priority=URGENT))
        await trio.testing.wait_all_tasks_blocked()
        await client.metadata("file_1", priority=URGENT)
        assert trio.current_time() == pytest.approx(7)
    assert budget.statistics().rate_limited == 1


async def test_a_spend_cap_is_told_at_once_and_stops_nobody_else(autojump_clock: MockClock) -> None:
    budget = Budget(60)
    async with scripted(Script(problem(429, "rate_limit_error")), budget) as client:
        with pytest.raises(SpendCapReached):
            await client.metadata("file_1", priority=URGENT)
    assert (trio.current_time(), budget.limit_per_minute) == (0, 60)


async def test_the_deadline_holds_over_all_attempts(autojump_clock: MockClock) -> None:
    async def silent(_request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    async with scripted(silent, request_deadline_s=30) as client:
        with pytest.raises(DeadlineExceeded, match="30 s"):
            await client.metadata("file_1", priority=URGENT)
    assert trio.current_time() == pytest.approx(30)


async def test_waiting_for_the_budget_does_not_use_up_the_deadline(autojump_clock: MockClock) -> None:
    budget = Budget(None)
    budget.on_rate_limited(300)
    async with scripted(Script(stored()), budget, request_deadline_s=30) as client:
        await client.metadata("file_1", priority=URGENT)
    assert trio.current_time() == pytest.approx(300)


async def test_every_attempt_costs_one_of_the_budget(autojump_clock: MockClock) -> None:
    budget = Budget(None)
    async with scripted(Script(problem(500, "api_error"), stored()), budget) as client:
        await client.metadata("file_1", priority=URGENT)
    assert budget.statistics().granted == 2


# --- upload ---


class Sent:
    """Counts calls of `on_all_sent`."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


async def test_an_upload_announces_its_length_and_tells_when_all_is_sent() -> None:
    script, sent = Script(stored(downloadable=True)), Sent()
    async with scripted(script) as client:
        file = await client.upload(
            "grüße.txt", BytesSource(b"x" * 3_000_000, "text/plain"), priority=Ticket(Priority.QUEUED_UPLOAD),
            expires_in_s=3600, on_all_sent=sent,
        )  # fmt: skip
    request = script.requests[0]
    assert (file.id, file.downloadable, sent.count) == ("file_1", True, 1)
    assert int(request.headers["content-length"]) == len(request.content)
    assert "transfer-encoding" not in request.headers
    assert 'filename="grüße.txt"'.encode() in request.content
    assert b"\r\n\r\n3600\r\n" in request.content


async def test_an_empty_file_is_a_body_too() -> None:
    script, sent = Script(stored(size_bytes=0)), Sent()
    async with scripted(script) as client:
        assert (await client.upload("e", BytesSource(b""), priority=URGENT, on_all_sent=sent)).size_bytes == 0
    assert sent.count == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("gone"),
        problem(500, "api_error"),
        problem(502, "api_error", x_should_retry="true"),
        problem(504, "timeout_error"),
        httpx.Response(200, text='{"id": "fi'),
        httpx.Response(200, text="<html>"),
    ],
)
async def test_an_ambiguous_upload_is_sent_once(answer: Exception | httpx.Response, autojump_clock: MockClock) -> None:
    script, sent = Script(answer, stored()), Sent()

    async def after_the_body(request: httpx.Request) -> httpx.Response:
        await request.aread()
        return await script(request)

    async with scripted(after_the_body) as client:
        with pytest.raises(AmbiguousOutcome):
            await client.upload("a", BytesSource(b"1"), priority=URGENT, on_all_sent=sent)
    assert (len(script.requests), sent.count) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (problem(400, "invalid_request_error"), BadRequest),
        (problem(409, "conflict_error"), Conflict),
        (problem(429, "rate_limit_error", retry_after="1"), RateLimited),
        (problem(503, "api_error"), Overloaded),
        (httpx.Response(413, text="<html>", headers={"content-type": "text/html"}), RefusedError),
    ],
)
async def test_a_refusal_after_the_whole_body_is_the_callers_to_repeat(
    answer: httpx.Response, expected: type[Exception], autojump_clock: MockClock
) -> None:
    script = Script(answer, stored())
    async with scripted(script) as client:
        with pytest.raises(expected):
            await client.upload("a", BytesSource(b"1"), priority=URGENT)
    assert len(script.requests) == 1


class UnsentTwice(httpx.AsyncBaseTransport):
    """Fails before it connected, then after a part of the body, then stores the file."""

    def __init__(self) -> None:
        self.attempts = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.attempts += 1
        if self.attempts == 1:
            raise httpx.ConnectError("refused", request=request)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for _ in request.stream:
            if self.attempts == 2:
                raise httpx.WriteTimeout("stuck", request=request)
        return unread(stored())


async def test_an_upload_that_did_not_get_out_is_tried_again(autojump_clock: MockClock) -> None:
    sent = Sent()
    transport = UnsentTwice()
    async with Client(settings(), Budget(None), transport=transport) as client:
        await client.upload("a", BytesSource(b"content"), priority=URGENT, on_all_sent=sent)
    assert (transport.attempts, sent.count) == (3, 1)


class LyingSource:
    """Gives other bytes than it said."""

    size_bytes = 10
    mime_type = "a/b"

    def __init__(self, *given: bytes) -> None:
        self._given = given

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for piece in self._given:
            yield piece


@pytest.mark.parametrize("given", [(), (b"123",), (b"12345", b""), (b"12345678901",)])
async def test_a_source_that_changed_is_never_uploaded(given: tuple[bytes, ...]) -> None:
    script, sent = Script(stored()), Sent()
    async with scripted(script) as client:
        with pytest.raises(LocalError):
            await client.upload("a", LyingSource(*given), priority=URGENT, on_all_sent=sent)
    assert (script.requests, sent.count) == ([], 0)


# --- download ---


async def download(client: Client, **span: int) -> tuple[int, int | None, bytes]:
    async with client.download("file_1", priority=URGENT, **span) as body:
        return body.offset, body.total_bytes, b"".join([piece async for piece in body])


def part(content: bytes, content_range: str) -> httpx.Response:
    return httpx.Response(206, content=content, headers={"content-range": content_range})


async def test_a_whole_download_asks_for_no_range() -> None:
    script = Script(httpx.Response(200, content=b"hello"))
    async with scripted(script) as client:
        assert await download(client) == (0, 5, b"hello")
    assert ("range" in script.requests[0].headers, script.requests[0].headers["accept-encoding"]) == (False, "identity")


async def test_a_range_is_asked_for_again_after_an_answer_with_the_whole_file() -> None:
    script = Script(part(b"llo", "bytes 2-4/5"), httpx.Response(200, content=b"hello"), part(b"l", "bytes 2-2/*"))
    async with scripted(script) as client:
        assert await download(client, offset=2) == (2, 5, b"llo")
        assert await download(client, offset=2, length=1) == (0, 5, b"hello")
        assert await download(client, offset=2, length=1) == (2, None, b"l")
    assert [request.headers["range"] for request in script.requests] == ["bytes=2-", "bytes=2-2", "bytes=2-2"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(206, content=b"llo"),
        part(b"llo", "bytes 3-5/6"),
        part(b"llo", "bytes 0-1/5"),
        part(b"llo", "bytes 2-9/5"),
        part(b"llo", "bytes 2-3/5"),
        part(b"llo", "items 2-4/5"),
        httpx.Response(206, content=b"", headers={"content-range": "bytes 2-4/5", "content-encoding": "gzip"}),
    ],
)
async def test_a_part_that_cannot_be_placed_is_asked_for_as_a_whole(
    answer: httpx.Response, autojump_clock: MockClock
) -> None:
    script = Script(answer, httpx.Response(200, content=b"hello"))
    async with scripted(script) as client:
        assert await download(client, offset=2) == (0, 5, b"hello")
    assert "range" not in script.requests[1].headers


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(204),
        httpx.Response(202, content=b"later"),
        httpx.Response(200, content=b"--x", headers={"content-type": "multipart/byteranges; boundary=x"}),
        httpx.Response(200, headers={"content-length": "9999999999999999999"}, stream=httpx.ByteStream(b"")),
    ],
)
async def test_a_success_without_content_is_broken_and_teaches_nothing(
    answer: httpx.Response, autojump_clock: MockClock
) -> None:
    script = Script(answer, part(b"llo", "bytes 2-4/5"))
    async with scripted(script) as client:
        assert await download(client, offset=2) == (2, 5, b"llo")
    assert "range" in script.requests[1].headers


@pytest.mark.parametrize("length", ["4", "6"])
async def test_a_body_of_another_length_is_broken(length: str) -> None:
    answer = httpx.Response(200, headers={"content-length": length}, stream=httpx.ByteStream(b"hello"))
    async with scripted(Script(answer)) as client:
        with pytest.raises(ReplyBroken, match=f"{length} bytes and had 5"):
            await download(client)


@pytest.mark.parametrize("span", [{"offset": -1}, {"length": 0}])
async def test_a_span_that_cannot_be_is_refused_here(span: dict[str, int]) -> None:
    async with scripted(Script()) as client:
        with pytest.raises(InvalidArgument):
            await download(client, **span)


async def test_refusals_and_retries_of_a_download(autojump_clock: MockClock) -> None:
    script = Script(
        problem(400, "invalid_request_error", "file_not_downloadable"),
        problem(500, "api_error"),
        httpx.Response(200, content=b"x"),
    )
    async with scripted(script) as client:
        with pytest.raises(NotDownloadable):
            await download(client)
        assert await download(client) == (0, 1, b"x")


def redirect(target: str) -> httpx.Response:
    return httpx.Response(302, headers={"location": target})


async def test_a_redirect_keeps_the_key_only_on_its_own_origin() -> None:
    script = Script(
        redirect("/v1/elsewhere"),
        redirect("https://storage.example/blob?signature=1"),
        redirect("https://files.test/back"),
        httpx.Response(200, content=b"hello"),
    )
    config: dict[str, Any] = {"workspace_id": "ws_1", "custom_headers": (("x-team", Secret("blue")),)}
    async with scripted(script, **config) as client:
        assert await download(client) == (0, 5, b"hello")
    own, same, other, back = script.requests
    assert own.headers["x-api-key"] == same.headers["x-api-key"] == KEY
    for request in (other, back):
        assert KEY not in str(list(request.headers.items()))
        assert not {"x-team", "anthropic-workspace-id", "anthropic-version"} & set(request.headers)


@pytest.mark.parametrize("target", ["http://storage.example/blob", "ftp://files.test/x", "file:///etc/passwd"])
async def test_a_redirect_without_encryption_is_not_followed(target: str, autojump_clock: MockClock) -> None:
    async with scripted(Script(*[redirect(target)] * 3)) as client:
        with pytest.raises(ReplyBroken, match="redirected"):
            await download(client)


async def test_redirects_end(autojump_clock: MockClock) -> None:
    async with scripted(Script(*[redirect("/v1/files/file_1/content")] * 15)) as client:
        with pytest.raises(ReplyBroken, match="without end"):
            await download(client)


async def test_somebody_elses_404_does_not_say_that_the_file_is_gone(autojump_clock: MockClock) -> None:
    answers = [redirect("https://storage.example/x"), problem(404, "not_found_error")] * 3
    async with scripted(Script(*answers)) as client:
        with pytest.raises(ReplyBroken, match=r"storage\.example"):
            await download(client)


async def test_a_redirect_of_anything_else_is_told() -> None:
    async with scripted(Script(redirect("https://files.test/other"))) as client:
        with pytest.raises(RefusedError, match="base URL"):
            await client.upload("a", BytesSource(b"1"), priority=URGENT)
