"""The MIME type of a file: guessed by its name, and judged by its first bytes, so that a model can read text (M1)."""

from __future__ import annotations

import codecs
import mimetypes
import re

from remotefs.config import TextType

# The bytes at the beginning of a file that are judged (M1).
HEAD_BYTES = 65_536
_TEXT = "text/plain"
# A type and its parameters (RFC 6838, section 4.2; RFC 9110, section 5.6.6), without blanks in quotes, as a header of
# an upload takes it. The service keeps 255 characters.
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_MIME_TYPE = re.compile(rf'({_NAME}/{_NAME})((?:; ?{_WORD}=(?:{_WORD}|"[!#-:<-~]*"))*)')
_LONGEST_TYPE = 255
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


def type_of(name: str, head: bytes, setting: TextType, override: str | None = None) -> str:
    """Return the type under which a file goes up. `head` is its first HEAD_BYTES, or all bytes of a shorter file.

    A `document` block takes PDF and `text/plain` and no other text, and the service never changes a type. So text is
    `text/plain` whatever it is called, unless its name suggests a type that a block takes (M1). Other bytes are never
    called `text/plain` by themselves: a block would be refused. With the setting `exact` the name alone decides.
    `override` is the user's word and wins.
    """
    if override is not None:
        return override
    suggested = guess_mime_type(name)
    if setting == "exact":
        return suggested
    if suggested in (DOCUMENT_TYPES | IMAGE_TYPES) - {_TEXT}:
        return suggested
    if is_text(head):
        return _TEXT
    return UNKNOWN if suggested == _TEXT else suggested


def is_text(head: bytes) -> bool:
    """Return whether the first HEAD_BYTES of a file are UTF-8 without NUL; a character that they cut counts as one."""
    if b"\0" in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head[:HEAD_BYTES], final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True


def parse_mime_type(text: str) -> str:
    """Return a MIME type as a person wrote it, with the type itself in lower case. Raises ValueError if it is none."""
    match = _MIME_TYPE.fullmatch(text.strip())
    if match is None or len(text.strip()) > _LONGEST_TYPE:
        raise ValueError(f"{text!r} is not a MIME type")
    return match[1].lower() + match[2]


def is_same_type(wanted: str, stored: str) -> bool:
    """Return whether the type under which the service stores a file is the one that is wanted.

    If no parameter is wanted, the service may have added one, such as `; charset=utf-8`.
    """
    (one, _, asked), (other, _, kept) = (text.lower().replace(" ", "").partition(";") for text in (wanted, stored))
    return one == other and asked in ("", kept)


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
