"""Exceptions for replies other than 2xx.

The status decides the class, then `details.error_code`; the message never does. The body may be JSON, cut short, empty,
or a proxy's HTML.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from remotefs.api import bounds
from remotefs.api.models import token
from remotefs.api.retry import Hints, read_hints
from remotefs.credentials import hide
from remotefs.errors import (
    AuthenticationFailed,
    BadRequest,
    BillingProblem,
    Conflict,
    FileExpired,
    NotDownloadable,
    Overloaded,
    PermissionRefused,
    RateLimited,
    RefusedError,
    RemoteNotFound,
    ServerFailure,
    SpendCapReached,
    StorageQuotaExceeded,
    TooLarge,
)

_LONGEST_MESSAGE = 300
_BY_STATUS: Mapping[int, type[RefusedError]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    402: BillingProblem,
    403: PermissionRefused,
    404: RemoteNotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}
_BY_CODE: Mapping[tuple[int, str], type[RefusedError]] = {
    (400, "storage_quota_exceeded"): StorageQuotaExceeded,
    (403, "storage_quota_exceeded"): StorageQuotaExceeded,
    (400, "file_not_downloadable"): NotDownloadable,
    (404, "file_expired"): FileExpired,
}
_WAITS = frozenset({"retry-after", "retry-after-ms"})
_ADVICE: Mapping[int, str] = {
    402: "see the billing page of the account",
    403: "the key lacks the permission for this",
    413: "the file is larger than the service accepts",
    429: "too many requests; the request is retried later",
    503: "the service is overloaded; the request is retried later",
    529: "the service is overloaded; the request is retried later",
}


class Envelope(msgspec.Struct, frozen=True):
    """The fields of an error body; None where a field is missing or not usable."""

    type: str | None = None
    message: str | None = None
    error_code: str | None = None
    request_id: str | None = None


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, action: str, credential: str, secrets: Sequence[str] = ()
) -> RefusedError:
    """Return the exception for a reply with this `status`.

    `action` names the operation ("upload of 'a.txt'"); `credential` says what to check when the service rejects the
    key. No text of `secrets` gets into the exception, even if the reply contains it.
    """
    headers = {name.lower(): _hide(value, secrets) for name, value in headers.items()}
    envelope = read_envelope(body, secrets)
    # A date to wait for is compared with the clock that wrote it, when the reply shows that clock.
    now_ns = bounds.clock_ns(headers.get("date")) or time.time_ns()
    hints = read_hints(headers, now_ns / 1e9)
    kind = _kind(status, headers, envelope, hints)
    return kind(
        _sentence(status, headers, envelope, kind, action=action, credential=credential),
        status=status,
        type=envelope.type,
        error_code=envelope.error_code,
        request_id=token(headers.get("request-id")) or envelope.request_id,
        retry_after_s=hints.after_s,
        should_retry=hints.should_retry,
    )


def read_envelope(body: bytes, secrets: Sequence[str] = ()) -> Envelope:
    """Return the error envelope as far as the body can be read; never raise."""
    try:
        outer = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Envelope()
    error = _mapping(outer, "error")
    return Envelope(
        type=token(_hide(error.get("type"), secrets)),
        message=_printable(_hide(error.get("message") or _plain_reason(outer), secrets)),
        error_code=token(_hide(_mapping(error, "details").get("error_code"), secrets)),
        request_id=token(_hide(outer.get("request_id"), secrets)) if isinstance(outer, dict) else None,
    )


def _kind(status: int, headers: Mapping[str, str], envelope: Envelope, hints: Hints) -> type[RefusedError]:
    if by_code := _BY_CODE.get((status, envelope.error_code or "")):
        return by_code
    if status == 429 and _is_spend_cap(headers, envelope, hints):
        return SpendCapReached
    if status == 404 and envelope.type is None:
        # A 404 of a proxy or of a wrong address, not of the service: it does not mean that the file is gone (S4).
        return RefusedError
    return _BY_STATUS.get(status, ServerFailure if status >= 500 else RefusedError)


def _is_spend_cap(headers: Mapping[str, str], envelope: Envelope, hints: Hints) -> bool:
    """Return whether a 429 is the spend cap, which does not clear by waiting.

    The service itself says so, in its envelope and without the `retry-after` of a rate limit. A 429 of a proxy, one
    whose `retry-after` cannot be understood and one that tells that no requests are left are rate limits.
    """
    if envelope.type != "rate_limit_error" or hints.should_retry or not _WAITS.isdisjoint(headers):
        return False
    return bounds.rate(headers.get("anthropic-ratelimit-requests-remaining")) != 0


def _sentence(
    status: int,
    headers: Mapping[str, str],
    envelope: Envelope,
    kind: type[RefusedError],
    *,
    action: str,
    credential: str,
) -> str:
    parts = [f"{action}: the service answered {status}"]
    if envelope.message:
        parts[0] += f" ({envelope.message})"
    elif not envelope.type:
        kind_of_body = headers.get("content-type", "").partition(";")[0].strip().lower()
        from_proxy = kind_of_body == "text/html"
        parts[0] += " with an HTML page, which comes from a proxy in front of it" if from_proxy else " without a reason"
    if advice := _advice(status, kind, credential):
        parts.append(advice)
    if request_id := token(headers.get("request-id")) or envelope.request_id:
        parts.append(f"request {request_id}")
    return "; ".join(parts)


def _advice(status: int, kind: type[RefusedError], credential: str) -> str | None:
    if status == 401:
        return credential
    if kind is StorageQuotaExceeded:
        return "the storage of the organization is full: delete files, or ask for more"
    if kind is SpendCapReached:
        return "the spend limit is reached, and waiting does not clear it: raise it in the account's settings"
    if 300 <= status < 400:
        return "the service redirected the request; check the base URL (http instead of https?)"
    return _ADVICE.get(status)


def _plain_reason(body: object) -> object:
    """Return the reason in the envelope of a gateway, which proves nothing and is for people alone."""
    found = [body.get(key) for key in ("detail", "message", "error")] if isinstance(body, dict) else []
    return next((reason for reason in found if isinstance(reason, str)), None)


def _mapping(value: object, key: str) -> dict[str, object]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _hide(value: object, secrets: Sequence[str]) -> str:
    return hide(value, secrets) if isinstance(value, str) else ""


def _printable(value: str) -> str | None:
    text = "".join(c if c.isprintable() else " " for c in value[:_LONGEST_MESSAGE]).strip()
    return text or None
