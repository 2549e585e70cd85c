"""Chooses the content block of the Messages API that refers to a file: pure.

The vendor's guide to the Files API ("File types and content blocks") names PDF and plain text for `document`, four
image types for `image`, and `container_upload` for all else, which the code execution tool finds in its container.
"""

from __future__ import annotations

from typing import Any

DOCUMENT_TYPES = frozenset({"application/pdf", "text/plain"})
IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def content_block(file_id: str, mime_type: str) -> dict[str, Any]:
    """Return the block for a message's `content`; parameters of the MIME type (`; charset=…`) do not count."""
    essence = mime_type.partition(";")[0].strip().lower()
    if essence in DOCUMENT_TYPES:
        return {"type": "document", "source": {"type": "file", "file_id": file_id}}
    if essence in IMAGE_TYPES:
        return {"type": "image", "source": {"type": "file", "file_id": file_id}}
    return {"type": "container_upload", "file_id": file_id}
