"""The codec between a path of the mount and the one filename that the service keeps (N1-N4). Pure.

A path is `a/b/c.txt`: components joined by `/`, nothing at either end. Its remote filename is the same text with

    < > : " | ? * \\ /      as their fullwidth counterparts (U+FF1C ... U+FF0F), for the service forbids them
    U+0001..U+001F         as the pictures U+2401..U+241F, for the service forbids them
    such a twin or picture  behind QUOTE (U+201B), for it would read as the character that it stands for
    QUOTE itself            doubled, for it would quote what follows
    white space first, white space or a full stop last, of the whole name
                           behind or before a QUOTE that shields it, for servers strip what stands there

    a/b: c?.txt     a／b： c？.txt          a／b (one name)     a‛／b
    notes.          notes.‛                 ‛tis                ‛‛tis

Only the two ends of the whole name are shielded: inside it a folder's `x.` is plain text to the service, and a QUOTE
before the twin of `/` would be ambiguous there. `.` and `..` are never components; other names of dots end in one.
Nothing is normalised or folded, so NFC and NFD, and `A` and `a`, stay what they are.

Invariant: `decode(encode(path)) == path`, and `decode(name)` is a path only where `encode` of it gives `name` back.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from typing import NamedTuple

from remotefs.errors import BadName, InvalidArgument, NameTooLong

# N2: bytes of UTF-8. The service says 255 "characters"; bytes fit every meaning of that word.
BUDGET_BYTES = 255
# Linux's NAME_MAX, the limit of one component.
COMPONENT_BYTES = 255
# The first component of our own, unlisted files in the mount.
RESERVED = ".remotefs"

QUOTE = "\u201b"
# Fullwidth forms lie at a fixed distance from ASCII, control pictures at another.
_TWINS = {char: chr(ord(char) + 0xFEE0) for char in '<>:"|?*\\/'} | {chr(n): chr(n + 0x2400) for n in range(1, 0x20)}
_ORIGINALS = {twin: char for char, twin in _TWINS.items()}
_TO_REMOTE = _TWINS | {char: QUOTE + char for char in (*_ORIGINALS, QUOTE)}
_SPECIAL = re.compile(f"[{re.escape(''.join(_TO_REMOTE))}]")
# What is read: an optional QUOTE and the special character behind it.
_READ = re.compile(f"({QUOTE}?)([{''.join(_ORIGINALS)}{QUOTE}])")
# A component that is empty, `.` or `..`; NUL; a lone surrogate.
_NOT_A_PATH = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|[\0\ud800-\udfff]")
# A safe name shows every character: those above, NUL as its picture, a lone surrogate as U+FFFD.
_TO_SAFE = str.maketrans(_TWINS | {"\0": "\u2400"} | {chr(n): "\ufffd" for n in range(0xD800, 0xE000)})

_EXTENSION = re.compile(r"(?<=[^./])(?:\.tar)?\.[A-Za-z0-9]{1,16}\Z")
# An id of another shape, or a longer one, is shown as its hash: it comes from the service.
_FILE_ID = r"[A-Za-z0-9_-]{1,100}"
_TWIN_NAME = re.compile(rf"(.+) \[({_FILE_ID})\](?: [1-9][0-9]{{0,8}})?((?:\.tar)?\.[A-Za-z0-9]{{1,16}})?", re.DOTALL)
# 120 bits: no two paths of one account will ever share them, and 24 base32 letters need no padding.
_HASH_BYTES = 15


class RemoteName(NamedTuple):
    """The filename to upload a path under; `exact` is False where it was shortened and so decodes to another path."""

    name: str
    exact: bool


def check_component(name: bytes) -> str:
    """A name that a caller gave, as text.

    Raises NameTooLong over 255 bytes, BadName where it is not UTF-8, InvalidArgument where it cannot be a component.
    """
    if len(name) > COMPONENT_BYTES:
        raise NameTooLong(f"a name of {len(name)} bytes is longer than the {COMPONENT_BYTES} that one may have")
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise BadName(f"the name {name!r} is not UTF-8; the service keeps only names that are") from error
    if not _is_path(text) or "/" in text:
        raise InvalidArgument(f"{text!r} cannot be the name of a file")
    return text


def encode(path: str) -> str:
    """The remote filename of `path`, whatever its length (see `remote_name`). Injective.

    Raises InvalidArgument where `path` is not one: an empty, `.`, `..` or over-long component, NUL, a lone surrogate.
    """
    if not _is_path(path):
        raise InvalidArgument(f"{path!r} is not a path of the mount")
    return _write(path)


def decode(remote: str) -> str | None:
    """The path whose `encode` is `remote`, or None where there is none (N4). Takes any text."""
    start = 1 if remote.startswith(QUOTE) and _is_blank(remote[1:2]) else 0
    end = len(remote) - 1 if remote.endswith(QUOTE) and _is_stripped_last(remote[-2:-1]) else len(remote)
    path = _READ.sub(_read, remote[start:end])
    # The reading is lenient; that it is the writing's inverse is decided here, for every case at once.
    return path if _is_path(path) and _write(path) == remote else None


def remote_name(path: str) -> RemoteName:
    """The filename to upload `path` under, at most BUDGET_BYTES of UTF-8 long (N2).

    A longer one is cut to `start~hash.ext`, which decodes to a path in as many of the same folders as fit, so that
    other machines show it there. The same path gives the same name everywhere. Raises InvalidArgument as `encode`.
    """
    name = encode(path)
    if _size(name) <= BUDGET_BYTES:
        return RemoteName(name, exact=True)
    suffix = f"~{_digest(path)}{_split_extension(path)[1]}"
    room = BUDGET_BYTES - len(suffix) - _size(QUOTE)  # it may be shielded in front, never behind: the suffix is plain
    return RemoteName(encode(_fitting(path, room, _remote_size) + suffix), exact=False)


def place(remote: str, file_id: str) -> tuple[str, ...]:
    """The components at which a remote file is to be shown, legal ones whatever the service says."""
    path = decode(remote)
    components = tuple(path.split("/")) if path is not None else ()
    if not components or components[0] == RESERVED:
        return (safe_name(remote, file_id),)
    return components


def conflict_name(component: str, file_id: str, taken: Callable[[str], bool]) -> str:
    """`stem [file_id].ext`: how an older file of one path is called (N3), its stem cut so that it fits 255 bytes.

    Where that is taken, `stem [file_id] 2.ext` and on, until `taken` says no. Every answer is a legal component.
    """
    stem, extension = _split_extension(component)
    label = _label(file_id)
    candidates = (f" [{label}] {n}" if n > 1 else f" [{label}]" for n in itertools.count(1))
    names = (_fitting(stem, COMPONENT_BYTES - len(mark + extension), _size) + mark + extension for mark in candidates)
    return next(name for name in names if not taken(name))


def clash_name(component: str, file_id: str, taken: Callable[[str], bool]) -> str:
    """How a file is called whose path is also a folder's (N3): as a twin, so that one reading serves both."""
    return conflict_name(component, file_id, taken)


def split_twin(component: str) -> tuple[str, str] | None:
    """(plain component, file id) of a name that has the form of a twin, else None.

    The form alone proves nothing: `song [live].mp3` has it. Ask whether the id is known. Where the stem was cut, so is
    the plain component's; where the id was shown as its hash, that is what comes back.
    """
    match = _TWIN_NAME.fullmatch(component)
    return (match[1] + (match[3] or ""), match[2]) if match else None


def safe_name(remote: str, file_id: str) -> str:
    """One legal component, told apart by the id, for a remote name that no path has (N4): `notes. [file_id]`."""
    return conflict_name(remote.translate(_TO_SAFE) or "unnamed", file_id, lambda _: False)


def _read(match: re.Match[str]) -> str:
    quote, char = match.groups()
    return char if quote else _ORIGINALS.get(char, char)


def _write(path: str) -> str:
    body = _SPECIAL.sub(_twin, path)
    return (QUOTE if _is_blank(body[0]) else "") + body + (QUOTE if _is_stripped_last(body[-1]) else "")


def _twin(match: re.Match[str]) -> str:
    return _TO_REMOTE[match[0]]


def _is_path(path: str) -> bool:
    if _NOT_A_PATH.search(path):
        return False
    # No character takes more than four bytes, so that most paths need no counting.
    return 4 * len(path) <= COMPONENT_BYTES or all(_size(part) <= COMPONENT_BYTES for part in path.split("/"))


def _is_blank(char: str) -> bool:
    return char.isspace() or char == "\ufeff"  # ECMAScript's trim() takes the byte order mark too


def _is_stripped_last(char: str) -> bool:
    return char == "." or _is_blank(char)


def _split_extension(name: str) -> tuple[str, str]:
    """Stem and extension, of a path or a component: `.tar.gz` is one, `.bashrc` and `Mr. Smith` have none."""
    match = _EXTENSION.search(name)
    at = match.start() if match else len(name)
    return name[:at], name[at:]


def _fitting(text: str, room: int, size: Callable[[str], int]) -> str:
    """The longest start of `text` whose characters take at most `room` bytes, each as `size` counts it."""
    sums = itertools.accumulate(map(size, text))
    return text[: sum(1 for _ in itertools.takewhile(lambda total: total <= room, sums))]


def _size(text: str) -> int:
    return len(text.encode())


def _remote_size(char: str) -> int:
    return _size(_TO_REMOTE.get(char, char))


def _digest(text: str) -> str:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()
    return base64.b32encode(digest).decode().lower()


def _label(file_id: str) -> str:
    return file_id if re.fullmatch(_FILE_ID, file_id) else _digest(file_id)
