"""What a model can use a file as, from what is known of it (M2): pure.

The vendor's guide to the Files API ("File types and content blocks") names PDF and plain text for `document`, four
image types for `image`, and `container_upload` for all else, which the code execution tool finds in its container.
Pages, encryption and pixels are facts of the content: whoever has looked at it gives a `Look`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from remotefs.api.mime import DOCUMENT_TYPES, IMAGE_TYPES

PDF = "application/pdf"
# Of a PDF, in one request: bytes and pages; pages where the model's context is below a million tokens.
MAX_PDF_BYTES = 32 * 1000 * 1000
MAX_PDF_PAGES = 600
MAX_PDF_PAGES_SHORT_CONTEXT = 100
# The longer side of a picture in pixels; where a request has more than MANY_IMAGES, the second.
MAX_PIXELS = 8000
MAX_PIXELS_MANY = 2000
MANY_IMAGES = 20
MAX_IMAGES = 600
NOT_LOOKED_AT = "unknown: not looked at"


class Kind(StrEnum):
    """The content blocks of the Messages API that refer to a file; NONE: no block can refer to it."""

    DOCUMENT = "document"
    IMAGE = "image"
    CONTAINER_UPLOAD = "container_upload"
    NONE = "none"


class Look(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a look at the bytes of a PDF or a picture found; `failure` says why it found nothing."""

    pages: int | None = None
    encrypted: bool = False
    width: int | None = None
    height: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Use:
    """What a model can use a file as, and why."""

    kind: Kind
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"


def essence(mime_type: str) -> str:
    """Return a MIME type without its parameters, in lower case."""
    return mime_type.partition(";")[0].strip().lower()


def can_be_looked_at(mime_type: str) -> bool:
    """Return whether the content of such a file decides what it can be used as."""
    return essence(mime_type) == PDF or essence(mime_type) in IMAGE_TYPES


def use_of(mime_type: str, size: int, *, is_expired: bool = False, look: Look | None = None) -> Use:
    """Return what a model can use a file of the service as. `size` is in bytes."""
    kind = essence(mime_type)
    if is_expired:
        return Use(Kind.NONE, "it has expired")
    if kind not in DOCUMENT_TYPES | IMAGE_TYPES:
        return Use(Kind.CONTAINER_UPLOAD, f"no other block takes {kind or 'a file without a type'}")
    if size == 0:
        return Use(Kind.CONTAINER_UPLOAD, "it is empty")
    if kind == PDF:
        return _use_of_pdf(size, look)
    if kind in IMAGE_TYPES:
        return _use_of_image(look)
    return Use(Kind.DOCUMENT, "plain text")


def _use_of_pdf(size: int, look: Look | None) -> Use:
    if size > MAX_PDF_BYTES:
        return Use(Kind.CONTAINER_UPLOAD, f"a PDF of more than {MAX_PDF_BYTES // 1_000_000} MB fits into no request")
    if look is None:
        return Use(Kind.DOCUMENT, f"PDF; pages and encryption {NOT_LOOKED_AT}")
    if look.encrypted:
        return Use(Kind.CONTAINER_UPLOAD, "the PDF is encrypted")
    if look.failure is not None or look.pages is None:
        return Use(Kind.DOCUMENT, f"PDF; pages and encryption unknown: {look.failure}")
    if look.pages > MAX_PDF_PAGES:
        return Use(Kind.CONTAINER_UPLOAD, f"a PDF of {look.pages:,} pages; a request takes {MAX_PDF_PAGES}")
    pages = f"PDF, {look.pages:,} page{'s' * (look.pages != 1)}"
    if look.pages > MAX_PDF_PAGES_SHORT_CONTEXT:
        return Use(Kind.DOCUMENT, f"{pages}: too many for a model with less than a million tokens of context")
    return Use(Kind.DOCUMENT, pages)


def _use_of_image(look: Look | None) -> Use:
    if look is None:
        return Use(Kind.IMAGE, f"pixels {NOT_LOOKED_AT}")
    if look.failure is not None or look.width is None or look.height is None:
        return Use(Kind.IMAGE, f"pixels unknown: {look.failure}")
    pixels = f"{look.width:,} x {look.height:,} pixels"
    if max(look.width, look.height) > MAX_PIXELS:
        return Use(Kind.CONTAINER_UPLOAD, f"{pixels}; an image has at most {MAX_PIXELS:,} on a side")
    if max(look.width, look.height) > MAX_PIXELS_MANY:
        return Use(Kind.IMAGE, f"{pixels}: too many in a request with more than {MANY_IMAGES} images")
    return Use(Kind.IMAGE, pixels)


# Files without an id, of which nothing can refer to.
NOT_THERE = Use(Kind.NONE, "the service does not have it")
