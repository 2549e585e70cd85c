"""The MIME type of a file, guessed by its name."""

from __future__ import annotations

import mimetypes

# Types that Python's own table lacks, or has only on machines with an /etc/mime.types. A guess must not depend on that.
_ADDITIONS = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".c": "text/x-c",
    ".cfg": "text/plain",
    ".conf": "text/plain",
    ".cpp": "text/x-c++",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".env": "text/plain",
    ".epub": "application/epub+zip",
    ".feather": "application/vnd.apache.arrow.file",
    ".flac": "audio/flac",
    ".go": "text/x-go",
    ".gz": "application/gzip",
    ".h": "text/x-c",
    ".heic": "image/heic",
    ".ini": "text/plain",
    ".ipynb": "application/x-ipynb+json",
    ".java": "text/x-java",
    ".jsonl": "application/jsonl",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".ndjson": "application/x-ndjson",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ogg": "audio/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rs": "text/x-rust",
    ".rst": "text/x-rst",
    ".rtf": "application/rtf",
    ".sqlite": "application/vnd.sqlite3",
    ".tex": "text/x-tex",
    ".toml": "application/toml",
    ".ts": "text/x-typescript",
    ".tsx": "text/x-typescript",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}
# Files that are text by convention and have no extension.
_TEXT_NAMES = frozenset({
    "authors",
    "changelog",
    "copying",
    "dockerfile",
    "license",
    "makefile",
    "notice",
    "readme",
    "todo",
})
_ENCODINGS = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz",
              "compress": "application/x-compress", "br": "application/x-brotli"}  # fmt: skip
UNKNOWN = "application/octet-stream"
# The types that content blocks of the Messages API take; a block refuses every other one.
DOCUMENT_TYPES = frozenset({"application/pdf", "text/plain"})
IMAGE_TYPES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
# Python's own tables alone. Building them takes 400 times as long as one question.
_TYPES = mimetypes.MimeTypes()


def guess_mime_type(name: str) -> str:
    """Return the MIME type by extension, `text/plain` for well-known names without one, else UNKNOWN.

    The result is the same on every machine, because the system's own tables are not read. An unknown type stays
    unknown: a wrong `text/plain` would promise the service bytes that it can show a model as text.
    """
    stem, dot, extension = name.rpartition("/")[2].lower().rpartition(".")
    if (known := _ADDITIONS.get(dot + extension)) is not None and dot:
        return known
    if not dot or not stem:
        return "text/plain" if (stem or extension) in _TEXT_NAMES else UNKNOWN
    kind, encoding = _TYPES.guess_type(f"file.{_last_two(stem, extension)}", strict=True)
    return _ENCODINGS.get(encoding or "") or kind or UNKNOWN


def _last_two(stem: str, extension: str) -> str:
    """Return the last two extensions (`tar.bz2` of `a.tar.bz2`): mimetypes looks below that of a compression."""
    below = stem.rpartition(".")[2] if "." in stem else ""
    return f"{below}.{extension}" if below else extension
