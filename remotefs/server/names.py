"""Which filename an upload gets. Pure.

The rules are the service's: the last `/` component counts, an absent or empty one becomes `unnamed.<ext>`, 1 to 255
characters, none of `< > : " | ? * \\ /` nor U+0000..U+001F. A percent sign is a percent sign: `%22`, which HTTP
libraries write for a quotation mark, is kept as it came.
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
    """The name that a file sent as `sent` is kept under.

    Raises ApiError (400) for a name that the rules refuse.
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
    """The MIME type that a name suggests; for a sender that told none."""
    return mimetypes.guess_type(name or "", strict=False)[0] or DEFAULT_TYPE
