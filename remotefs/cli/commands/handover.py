"""The forms in which files are handed to the service's other APIs: blocks of messages, resources of sessions. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from remotefs.api.usable import MANY_IMAGES, MAX_IMAGES, MAX_PDF_PAGES, MAX_PIXELS_MANY, Kind, Look, Use
from remotefs.errors import InvalidArgument

# Files of one session, and the characters of a path in its container (the vendor's reference of sessions).
MAX_RESOURCES = 500
MAX_MOUNT_PATH = 4096


def content_block(file_id: str, kind: Kind, *, title: str | None = None, citations: bool = False) -> dict[str, Any]:
    """Return the block for a message's `content`. Title and citations are for documents alone."""
    if kind not in {Kind.DOCUMENT, Kind.IMAGE}:
        return {"type": "container_upload", "file_id": file_id}
    block: dict[str, Any] = {"type": kind.value, "source": {"type": "file", "file_id": file_id}}
    if kind is Kind.DOCUMENT and title is not None:
        block["title"] = title
    if kind is Kind.DOCUMENT and citations:
        block["citations"] = {"enabled": True}
    return block


def resources(files: Sequence[tuple[str, str]], mount_path: str) -> list[dict[str, Any]]:
    """Return the resources of a session that show files below `mount_path`; each is (relative path, id).

    Raises InvalidArgument where a session does not take them.
    """
    if not mount_path.startswith("/"):
        raise InvalidArgument(f"{mount_path}: the path in a session's container begins with /")
    if len(files) > MAX_RESOURCES:
        raise InvalidArgument(f"a session takes at most {MAX_RESOURCES} files, and these are {len(files):,}")
    places = [f"{mount_path.rstrip('/')}/{below}" for below, _ in files]
    for place, count in Counter(places).items():
        if count > 1:
            raise InvalidArgument(f"{count} of the files would be {place} in the session; name a folder above them")
        if len(place) > MAX_MOUNT_PATH:
            raise InvalidArgument(f"{place[:60]}…: a path in a session has at most {MAX_MOUNT_PATH:,} characters")
    return [
        {"type": "file", "file_id": file_id, "mount_path": place}
        for place, (_, file_id) in zip(places, files, strict=True)
    ]


def too_much_for_a_request(uses: Sequence[Use], looks: Iterable[Look]) -> Iterator[str]:
    """Yield a sentence for each limit of a single request that all the blocks together exceed."""
    seen = list(looks)
    pages = sum(look.pages or 0 for look in seen)
    if pages > MAX_PDF_PAGES:
        yield f"the PDFs have {pages:,} pages together; one request takes {MAX_PDF_PAGES}"
    images = sum(use.kind is Kind.IMAGE for use in uses)
    if images > MAX_IMAGES:
        yield f"these are {images:,} images; one request takes {MAX_IMAGES}"
    large = sum(max(look.width or 0, look.height or 0) > MAX_PIXELS_MANY for look in seen)
    if images > MANY_IMAGES and large:
        yield (
            f"{large:,} images are larger than {MAX_PIXELS_MANY:,} pixels on a side, which a request with more than "
            f"{MANY_IMAGES} images refuses"
        )


def counted(uses: Iterable[Use]) -> str:
    """Return how many files became which block."""
    kinds = Counter(use.kind for use in uses)
    return ", ".join(f"{kinds[kind]:,} {kind} block{'s' if kinds[kind] > 1 else ''}" for kind in Kind if kinds[kind])


def json_lines(items: Sequence[object]) -> bytes:
    """Return a JSON array: of at most one item on one line, of more with a line for each."""
    encoded = [msgspec.json.encode(item) for item in items]
    return b"[\n" + b",\n".join(encoded) + b"\n]" if len(encoded) > 1 else b"[" + b"".join(encoded) + b"]"


def json_map(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Return a JSON object with a line for each pair."""
    lines = (msgspec.json.encode(key) + b": " + msgspec.json.encode(value) for key, value in pairs)
    return b"{\n" + b",\n".join(lines) + b"\n}"
