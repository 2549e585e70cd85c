"""M2: what a model can use a file as, and why."""

from __future__ import annotations

import pytest

from remotefs.api.usable import MAX_PDF_BYTES, Kind, Look, use_of

PDF = "application/pdf"


@pytest.mark.parametrize(
    ("mime_type", "size", "look", "kind", "why"),
    [
        ("text/plain; charset=utf-8", 3, None, Kind.DOCUMENT, "plain text"),
        ("Text/Plain", 3, None, Kind.DOCUMENT, "plain text"),
        ("text/plain", 0, None, Kind.CONTAINER_UPLOAD, "empty"),
        ("text/csv", 3, None, Kind.CONTAINER_UPLOAD, "text/csv"),
        ("image/svg+xml", 3, None, Kind.CONTAINER_UPLOAD, "image/svg+xml"),
        ("", 3, None, Kind.CONTAINER_UPLOAD, "without a type"),
        (PDF, 3, None, Kind.DOCUMENT, "unknown: not looked at"),
        (PDF, MAX_PDF_BYTES, Look(pages=1), Kind.DOCUMENT, "1 page"),
        (PDF, MAX_PDF_BYTES + 1, Look(pages=1), Kind.CONTAINER_UPLOAD, "32 MB"),
        (PDF, 3, Look(pages=100), Kind.DOCUMENT, "100 pages"),
        (PDF, 3, Look(pages=101), Kind.DOCUMENT, "101 pages: too many for a model with less than a million tokens"),
        (PDF, 3, Look(pages=600), Kind.DOCUMENT, "600 pages"),
        (PDF, 3, Look(pages=601), Kind.CONTAINER_UPLOAD, "601 pages"),
        (PDF, 3, Look(encrypted=True), Kind.CONTAINER_UPLOAD, "encrypted"),
        (PDF, 3, Look(failure="no end"), Kind.DOCUMENT, "unknown: no end"),
        ("image/png", 3, None, Kind.IMAGE, "unknown: not looked at"),
        ("image/webp", 3, Look(width=8000, height=1), Kind.IMAGE, "too many in a request with more than 20 images"),
        ("image/gif", 3, Look(width=2000, height=2000), Kind.IMAGE, "2,000 x 2,000 pixels"),
        ("image/jpeg", 3, Look(width=1, height=8001), Kind.CONTAINER_UPLOAD, "8,000"),
        ("image/jpeg", 3, Look(failure="no head"), Kind.IMAGE, "unknown: no head"),
    ],
)
def test_m2_the_use_follows_from_type_size_and_content(
    mime_type: str, size: int, look: Look | None, kind: Kind, why: str
) -> None:
    use = use_of(mime_type, size, look=look)
    assert (use.kind, why in use.why) == (kind, True), use


@pytest.mark.parametrize("mime_type", ["text/plain", PDF, "image/png", "text/csv"])
def test_m2_an_expired_file_is_of_no_use(mime_type: str) -> None:
    assert str(use_of(mime_type, 3, is_expired=True)) == "none: it has expired"
