"""The filename that an upload is kept under, and the type that it suggests. Pure.

The rules are the service's. The last component of a name with `/` counts; an absent or empty one becomes
`unnamed.<ext>`. A name has 1 to 255 characters, none of them `< > : " | ? * \\ /` or U+0000..U+001F. A percent sign
means itself: `%22`, which HTTP libraries write for a quotation mark, is kept unchanged.
"""

from __future__ import annotations

import mimetypes
from typing import Literal

from remotefs.server.errors import bad_request

LengthUnit = Literal["characters", "bytes"]

FORBIDDEN = frozenset('<>:"|?*\\/') | {chr(code) for code in range(0x20)}
MAX_LENGTH = 255
DEFAULT_TYPE = "application/octet-stream"


def accepted_name(sent: str | None, mime_type: str, unit: LengthUnit = "characters") -> str:
    """Return the filename to keep for a file that was sent as `sent`; `unit` is the unit of its longest length.

    Raises ApiError (400) for a name that breaks the rules.
    """
    name = (sent or "").rpartition("/")[2]
    if not name:
        return "unnamed" + (mimetypes.guess_extension(mime_type) or ".bin")
    wrong = sorted(FORBIDDEN.intersection(name))
    if wrong:
        raise bad_request(f"filename: forbidden character {wrong[0]!r}")
    length = len(name) if unit == "characters" else len(name.encode())
    if length > MAX_LENGTH:
        raise bad_request(f"filename: {length} {unit}, at most {MAX_LENGTH} are allowed")
    return name


def guessed_type(name: str | None) -> str:
    """Return the MIME type that a filename suggests, for an upload without a Content-Type."""
    return mimetypes.guess_type(name or "", strict=False)[0] or DEFAULT_TYPE
