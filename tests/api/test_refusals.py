"""Every error row becomes its exception, whatever its body looks like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs import errors
from remotefs.api.bounds import LONGEST_WAIT_S
from remotefs.api.refusals import refusal
from remotefs.api.retry import FIRST_WAIT_S, Retry, decide
from tests.api.support import KEY

ADVICE = "check the key in ANTHROPIC_API_KEY"


def refused(
    status: int, kind: str | None = None, code: str | None = None, headers: dict[str, str] | None = None
) -> errors.RefusedError:
    error = {"type": kind, "message": "because", "details": {"error_code": code}}
    body = json.dumps({"type": "error", "error": error, "request_id": "req_body"}).encode() if kind else b""
    return refusal(status, headers or {}, body, action="upload of 'a'", credential=ADVICE)


@pytest.mark.parametrize(
    ("status", "kind", "code", "expected"),
    [
        (400, "invalid_request_error", None, errors.BadRequest),
        (400, "invalid_request_error", "organization_on_hold", errors.BadRequest),
        (400, "invalid_request_error", "file_not_downloadable", errors.NotDownloadable),
        (400, "invalid_request_error", "storage_quota_exceeded", errors.StorageQuotaExceeded),
        (403, "permission_error", "storage_quota_exceeded", errors.StorageQuotaExceeded),
        (401, "authentication_error", None, errors.AuthenticationFailed),
        (402, "billing_error", None, errors.BillingProblem),
        (403, "permission_error", None, errors.PermissionRefused),
        (404, "not_found_error", None, errors.RemoteNotFound),
        (404, "not_found_error", "file_expired", errors.FileExpired),
        (409, "conflict_error", None, errors.Conflict),
        (413, "request_too_large", None, errors.TooLarge),
        (429, "rate_limit_error", None, errors.SpendCapReached),
        (500, "api_error", None, errors.ServerFailure),
        (502, "api_error", None, errors.ServerFailure),
        (503, "api_error", None, errors.Overloaded),
        (504, "timeout_error", None, errors.ServerFailure),
        (529, "overloaded_error", None, errors.Overloaded),
        (405, "invalid_request_error", None, errors.RefusedError),
        (418, "teapot", None, errors.RefusedError),
    ],
)
def test_each_row_has_its_class_and_its_facts(
    status: int, kind: str, code: str | None, expected: type[errors.RefusedError]
) -> None:
    error = refused(status, kind, code)
    assert type(error) is expected
    assert (error.status, error.type, error.error_code, error.request_id) == (status, kind, code, "req_body")
    assert str(error).startswith(f"upload of 'a': the service answered {status} (because)")
    assert str(error).endswith("request req_body")


def test_a_429_that_names_its_wait_clears() -> None:
    for headers in ({"retry-after": "3"}, {"Retry-After-Ms": "3000"}):
        error = refused(429, "rate_limit_error", headers=headers)
        assert type(error) is errors.RateLimited
        assert error.retry_after_s == 3
    error = refused(429, "rate_limit_error", headers={"x-should-retry": "true"})
    assert (type(error), error.should_retry) == (errors.RateLimited, True)


USELESS = ["", "soon", "-1", "-0.5", "inf", "nan", "1e999", "Fri, 31 Dec 99999 23:59:59 GMT", "7 7", "0x10"]


@pytest.mark.parametrize("text", [*USELESS, "0", "1000000000", "Mon, 01 Jan 0001 00:00:00 GMT"])
@pytest.mark.parametrize("name", ["retry-after", "Retry-After-Ms"])
def test_a_429_whose_wait_cannot_be_understood_is_a_rate_limit(name: str, text: str) -> None:
    error = refused(429, "rate_limit_error", headers={name: text})
    assert type(error) is errors.RateLimited
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= LONGEST_WAIT_S
    verdict = decide(0, error, elapsed_s=0, deadline_s=None, chance=0)
    assert verdict == Retry(FIRST_WAIT_S) if text in USELESS else verdict


@pytest.mark.parametrize("kind", [None, "error", "invalid_request_error"])
def test_a_429_that_is_not_the_services_own_is_a_rate_limit(kind: str | None) -> None:
    assert type(refused(429, kind)) is errors.RateLimited


def test_a_429_that_tells_that_no_requests_are_left_is_a_rate_limit() -> None:
    name = "anthropic-ratelimit-requests-remaining"
    assert type(refused(429, "rate_limit_error", headers={name: "0"})) is errors.RateLimited
    assert type(refused(429, "rate_limit_error", headers={name: "9"})) is errors.SpendCapReached


def test_the_header_wins_as_request_id() -> None:
    assert refused(400, "x", headers={"request-id": "req_head"}).request_id == "req_head"


def test_a_401_says_what_to_check() -> None:
    assert ADVICE in str(refused(401, "authentication_error"))


@pytest.mark.parametrize(
    ("status", "body", "content_type", "expected", "words"),
    [
        (413, b"<html><h1>413</h1></html>", "text/html; charset=utf-8", errors.TooLarge, "HTML page"),
        (502, b"<html>", "text/html", errors.ServerFailure, "HTML page"),
        (500, b"", "", errors.ServerFailure, "without a reason"),
        (400, b'{"type":"error","error":{"type":"inv', "application/json", errors.BadRequest, "without a reason"),
        (400, b'{"error": 7}', "application/json", errors.BadRequest, "without a reason"),
        # The envelopes of gateways.
        (400, b'{"error": "text"}', "application/json", errors.BadRequest, "answered 400 (text)"),
        (400, b'{"detail": "text"}', "application/json", errors.BadRequest, "answered 400 (text)"),
        (400, b'{"message": "text", "detail": []}', "application/json", errors.BadRequest, "answered 400 (text)"),
        (429, b"[[[", "application/json", errors.RateLimited, "too many requests"),
        (302, b"", "", errors.RefusedError, "base URL"),
    ],
)
def test_odd_bodies_give_a_clear_sentence(
    status: int, body: bytes, content_type: str, expected: type[Exception], words: str
) -> None:
    error = refusal(status, {"content-type": content_type}, body, action="upload of 'a'", credential=ADVICE)
    assert type(error) is expected
    assert words in str(error)
    assert "<" not in str(error)


def test_a_404_without_the_services_envelope_does_not_say_that_a_file_is_gone() -> None:
    error = refusal(404, {"content-type": "text/html"}, b"<html>", action="metadata of file_1", credential=ADVICE)
    assert type(error) is errors.RefusedError
    assert error.status == 404


@given(st.integers(300, 599), st.binary(max_size=300), st.dictionaries(st.text(max_size=20), st.text(max_size=50)))
def test_any_reply_becomes_a_refusal_of_one_printable_line(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = refusal(status, headers, body, action="listing", credential=ADVICE)
    assert error.status == status
    assert str(error).isprintable()


def test_a_key_that_a_reply_repeats_is_hidden() -> None:
    body = json.dumps({
        "error": {"type": KEY, "message": f"bad key {KEY}!", "details": {"error_code": KEY}},
        "request_id": KEY,
    }).encode()
    error = refusal(401, {"request-id": KEY}, body, action="listing", credential=ADVICE, secrets=(KEY,))
    assert "bad key [hidden]!" in str(error)
    assert KEY not in repr([str(error), error.type, error.error_code, error.request_id, error.args])


def test_endless_nesting_and_endless_messages_are_cut() -> None:
    nested = b'{"error": ' + b"[" * 100_000
    assert refusal(400, {}, nested, action="x", credential=ADVICE).type is None
    long = json.dumps({"error": {"type": "x", "message": "m" * 10**6}}).encode()
    assert len(str(refusal(400, {}, long, action="x", credential=ADVICE))) < 1000
