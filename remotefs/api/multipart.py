"""The multipart form of an upload, around bytes that are streamed from elsewhere.

httpx can build such a body too, but it reads the file synchronously in the event loop. The format is the one that
browsers and the vendor's SDKs send: the filename as raw UTF-8 with `"`, CR and LF percent-encoded (WHATWG,
multipart/form-data).
"""

from __future__ import annotations

import re

import msgspec

from remotefs.errors import BadName, InvalidArgument

_MIME_TYPE = re.compile(r"[!-:<-~]+/[!-:<-~]+(; ?[!-:<-~]+)*")
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class Form(msgspec.Struct, frozen=True):
    """The bytes before and after the file's own bytes, and the Content-Type of the whole body."""

    prefix: bytes
    suffix: bytes
    content_type: str


def upload_form(name: str, mime_type: str, boundary: str, expires_in_s: int | None = None) -> Form:
    """Return the form around one file.

    `boundary` must be unguessable, so that no content can contain it. Raises BadName for a name that is not UTF-8,
    InvalidArgument for a MIME type that would break the header.
    """
    if not _MIME_TYPE.fullmatch(mime_type):
        raise InvalidArgument(f"{mime_type!r} is not a MIME type")
    try:
        filename = name.translate(_ESCAPES).encode()
    except UnicodeEncodeError:
        raise BadName(f"{name!r} is not UTF-8, so the service cannot store it") from None
    opening = b"--" + boundary.encode() + b"\r\n"
    expiry = b"" if expires_in_s is None else opening + _field("expires_in_seconds", str(expires_in_s))
    disposition = b'Content-Disposition: form-data; name="file"; filename="' + filename + b'"\r\n'
    prefix = expiry + opening + disposition + f"Content-Type: {mime_type}\r\n\r\n".encode()
    return Form(prefix, f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}")


def _field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
