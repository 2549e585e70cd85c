"""The codec between a path in the mount and the one filename that the service keeps (N1-N4). Pure.

The service has no folders: a file has one filename, in which `/` and some other characters are forbidden. The codec
writes a whole path into one filename, and every machine reads the same path from it:

    path in the mount ── encode: replace, quote, shield ──► remote filename      a/b: c?.txt ──► a／b： c？.txt
    path in the mount ◄── decode: read, then check ──────── remote filename

A path is `a/b/c.txt`: components joined by `/`, nothing at either end. Its remote filename is the same text, except:

    < > : " | ? * \\ /      become their fullwidth forms (U+FF1C ... U+FF0F), because the service forbids them
    U+0001..U+001F         become the control pictures U+2401..U+241F, because the service forbids them
    a fullwidth form or picture that the path itself holds
                           gets a QUOTE (U+201B) before it, else it would be read as the character that it replaces
    QUOTE                  is doubled, else it would quote the next character
    white space at the start of the whole name, white space or a full stop at its end
                           gets a QUOTE on its outer side that shields it, because servers strip such characters

    path            remote filename
    a/b: c?.txt     a／b： c？.txt
    a／b             a‛／b                   one component, with a fullwidth form of its own
    notes.          notes.‛
    ‛tis            ‛‛tis

Only the two ends of the whole name are shielded. Inside it the end of a folder's `x.` is plain text to the service, and
a QUOTE before the fullwidth form of `/` would be ambiguous there. `.` and `..` are never components; other names of
dots end in a dot and so are shielded. Nothing is normalised or folded: NFC and NFD, and `A` and `a`, stay different.

`decode` reads leniently, then encodes the result and compares. So it needs no rule for each malformed name: a name that
no path encodes to has no path. Such a name is shown under a *safe name* with the id of its file (N4), so that nothing
from the service can escape the mount.

If several remote files have the same path, the newest has the plain name. Each older one is shown as a *conflict copy*,
`stem [file_id].ext` (N3).

Invariant: `decode(encode(path)) == path`, and `decode(name)` is a path only if `encode` of that path is `name`.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable

from remotefs.errors import BadName, InvalidArgument, NameTooLong

# N2: bytes of UTF-8. The service allows 255 "characters" and names no unit. A name of 255 bytes is within the limit,
# whatever a character is.
BUDGET_BYTES = 255
# Linux's NAME_MAX, the limit of one component.
COMPONENT_BYTES = 255
# The first component of the mount's own files, which no listing shows. No remote file is placed below it.
RESERVED = ".remotefs"

QUOTE = "\u201b"
# Fullwidth forms lie at a fixed distance from ASCII, control pictures at another.
_REPLACEMENTS = {char: chr(ord(char) + 0xFEE0) for char in '<>:"|?*\\/'} | {
    chr(n): chr(n + 0x2400) for n in range(1, 0x20)
}
_FILE_ID = r"[A-Za-z0-9_-]{1,100}"
_ORIGINALS = {replacement: char for char, replacement in _REPLACEMENTS.items()}
_TO_REMOTE = _REPLACEMENTS | {char: QUOTE + char for char in (*_ORIGINALS, QUOTE)}
_SPECIAL = re.compile(f"[{re.escape(''.join(_TO_REMOTE))}]")
# One step of reading: an optional QUOTE and the special character that follows it.
_READ = re.compile(f"({QUOTE}?)([{''.join(_ORIGINALS)}{QUOTE}])")
# A component that is empty, `.` or `..`; NUL; a lone surrogate.
_NOT_A_PATH = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|[\0\ud800-\udfff]")
# A safe name has a visible character for each that a path cannot have: the replacements above, the picture of NUL, and
# U+FFFD for a lone surrogate (JSON can carry one, UTF-8 cannot).
_TO_SAFE = str.maketrans(_REPLACEMENTS | {"\0": "\u2400"} | {chr(n): "\ufffd" for n in range(0xD800, 0xE000)})

# After a character that is neither a dot nor a slash, so that `.bashrc` is all stem; at most 16 letters and digits, so
# that ` Smith` in `Mr. Smith` is not an extension.
_EXTENSION = re.compile(r"(?<=[^./])(?:\.tar)?\.[A-Za-z0-9]{1,16}\Z")
# Ids come from the service. One of another shape, or a longer one, could not stand in a name: its hash stands for it.
# 120 bits: no two paths of one account will ever have the same hash, and its 24 base32 letters need no padding.
_HASH_BYTES = 15


def check_component(name: bytes) -> str:
    """Return the name that a program passed to a system call as text.

    Raises NameTooLong above 255 bytes, BadName if it is not UTF-8, InvalidArgument if it cannot be a component.
    """
    if len(name) > COMPONENT_BYTES:
        raise NameTooLong(f"the name is {len(name)} bytes long; a name may have at most {COMPONENT_BYTES}")
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise BadName(f"the name {name!r} is not UTF-8; the service keeps only UTF-8 names") from error
    if not _is_path(text) or "/" in text:
        raise InvalidArgument(f"{text!r} cannot be the name of a file")
    return text


def encode(path: str) -> str:
    """Return the remote filename of `path`, whatever its length (see `remote_name`). No two paths share one.

    Raises InvalidArgument if `path` has an empty, `.`, `..` or over-long component, NUL or a lone surrogate.
    """
    if not _is_path(path):
        raise InvalidArgument(f"{path!r} is not a valid path in the mount")
    return _write(path)


def decode(remote: str) -> str | None:
    """Return the path whose `encode` is `remote`, or None if no path has that filename (N4). Takes any text."""
    # A QUOTE at an end is a shield only if the character beside it needs one; else it belongs to a quoted pair.
    start = 1 if remote.startswith(QUOTE) and _is_blank(remote[1:2]) else 0
    end = len(remote) - 1 if remote.endswith(QUOTE) and _is_stripped_last(remote[-2:-1]) else len(remote)
    path = _READ.sub(_read, remote[start:end])
    # The steps above accept too much: a QUOTE that quotes nothing, a plain `/`, a shield that encode would not write.
    # Writing the path again decides all these cases at once.
    return path if _is_path(path) and _write(path) == remote else None


def remote_name(path: str) -> str:
    """Return the filename to upload `path` under, at most BUDGET_BYTES of UTF-8 long (N2).

    A longer one is shortened to `start~hash.ext`. That decodes to a path in as many of the same folders as fit, so
    other machines show the file there. A path has the same name on every machine. Raises InvalidArgument as `encode`.
    """
    name = encode(path)
    if _size(name) <= BUDGET_BYTES:
        return name
    suffix = f"~{_digest(path)}{_split_extension(path)[1]}"
    # One QUOTE of room: the start may need a shield. The end needs none, because the suffix is plain ASCII.
    room = BUDGET_BYTES - len(suffix) - _size(QUOTE)
    return encode(_fitting(path, room, _remote_size) + suffix)


def place(remote: str, file_id: str) -> tuple[str, ...]:
    """Return the components of the path to show a remote file at. They are legal, whatever filename the service sent.

    A filename that no path has, or that lies in RESERVED, gives a safe name at the root (N4).
    """
    path = decode(remote)
    components = tuple(path.split("/")) if path is not None else ()
    if not components or components[0] == RESERVED:
        return (safe_name(remote, file_id),)
    return components


def conflict_name(component: str, file_id: str, taken: Callable[[str], bool]) -> str:
    """Return the name of a conflict copy, `stem [file_id].ext` (N3), its stem cut to fit 255 bytes.

    If `taken` says that the name is taken, it is `stem [file_id] 2.ext`, then 3, and so on. The name is a legal
    component.
    """
    stem, extension = _split_extension(component)
    label = _label(file_id)
    candidates = (f" [{label}] {n}" if n > 1 else f" [{label}]" for n in itertools.count(1))
    names = (_fitting(stem, COMPONENT_BYTES - len(mark + extension), _size) + mark + extension for mark in candidates)
    return next(name for name in names if not taken(name))


def clash_name(component: str, file_id: str, taken: Callable[[str], bool]) -> str:
    """Return the name of a file whose path is also a folder's (N3): the form of a conflict copy serves for both."""
    return conflict_name(component, file_id, taken)


def safe_name(remote: str, file_id: str) -> str:
    """Return a legal component for a remote name that no path has (N4), unique by the id: `notes. [file_id]`."""
    return conflict_name(remote.translate(_TO_SAFE) or "unnamed", file_id, lambda _: False)


def _read(match: re.Match[str]) -> str:
    quote, char = match.groups()
    # A quoted character stands for itself. An unquoted QUOTE stays, and decode's check then rejects the name.
    return char if quote else _ORIGINALS.get(char, char)


def _write(path: str) -> str:
    body = _SPECIAL.sub(_replaced, path)
    # After the replacement, because a tab at an end has become a picture by now, which no server strips.
    return (QUOTE if _is_blank(body[0]) else "") + body + (QUOTE if _is_stripped_last(body[-1]) else "")


def _replaced(match: re.Match[str]) -> str:
    return _TO_REMOTE[match[0]]


def _is_path(path: str) -> bool:
    if _NOT_A_PATH.search(path):
        return False
    # No character takes more than four bytes, so that most paths need no counting.
    return 4 * len(path) <= COMPONENT_BYTES or all(_size(part) <= COMPONENT_BYTES for part in path.split("/"))


def _is_blank(char: str) -> bool:
    return char.isspace() or char == "\ufeff"  # the byte order mark, which ECMAScript's trim() strips too


def _is_stripped_last(char: str) -> bool:
    return char == "." or _is_blank(char)


def _split_extension(name: str) -> tuple[str, str]:
    """Return (stem, extension) of a path or a component: `.tar.gz` is one, `.bashrc` and `Mr. Smith` have none."""
    match = _EXTENSION.search(name)
    at = match.start() if match else len(name)
    return name[:at], name[at:]


def _fitting(text: str, room: int, size: Callable[[str], int]) -> str:
    """Return the longest start of `text` whose characters take at most `room` bytes, each as `size` counts it."""
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
