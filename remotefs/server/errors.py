"""The refusals that the server answers with, and the errors that keep it from starting.

    ServerError                 the server cannot run with these settings: for the person at the terminal
    └── RootInUse               another server runs on this root
    ApiError                    a refused request: status, type, message, error_code

The envelope of a refusal and its types are those of the service's error reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPE_OF_STATUS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
}


class ServerError(Exception):
    """The server cannot run with these settings; the message says what to do."""


class RootInUse(ServerError):
    """Another running server holds the lock of this root."""


class ApiError(Exception):
    """A refused request: the HTTP status, the message and error code of the envelope, and headers of the reply."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_code = error_code
        self.headers = dict(headers or {})


def envelope(error: ApiError, request_id: str) -> dict[str, Any]:
    """Return the JSON body of an error reply."""
    body: dict[str, Any] = {"type": TYPE_OF_STATUS.get(error.status, "api_error"), "message": error.message}
    if error.error_code is not None:
        body["details"] = {"error_code": error.error_code}
    return {"type": "error", "error": body, "request_id": request_id}


def bad_request(message: str, error_code: str | None = None) -> ApiError:
    """Return the error for a malformed request (400)."""
    return ApiError(400, message, error_code=error_code)


def no_such_file(file_id: str) -> ApiError:
    """Return the error for an id that does not exist (404)."""
    return ApiError(404, f"File not found: {file_id}")
