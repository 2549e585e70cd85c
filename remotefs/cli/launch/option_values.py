"""Reads the values of mount options: a user, a mask, a folder of the tree, and those of settings.

A reader raises ValueError for a value that cannot be; `ALLOWED` says what may stand there.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable

from remotefs import names
from remotefs.errors import CallerError
from remotefs.setting_sources import kinds_of

# The kernel takes 2^32-1 for "as it is".
_MAX_ID = (1 << 32) - 2
_PERMISSIONS = 0o777


def _user(text: str) -> int:
    return _number(text) if text.isascii() and text.isdigit() else _of_database(lambda: pwd.getpwnam(text).pw_uid)


def _group(text: str) -> int:
    return _number(text) if text.isascii() and text.isdigit() else _of_database(lambda: grp.getgrnam(text).gr_gid)


def _number(text: str) -> int:
    number = int(text)
    if number > _MAX_ID:
        raise ValueError("too large")
    return number


def _of_database(find: Callable[[], int]) -> int:
    try:
        return find()
    except KeyError:
        raise ValueError("not a name of this machine") from None


def _mask(text: str) -> int:
    if not re.fullmatch(r"0*[0-7]{1,3}", text):
        raise ValueError("not an octal mask")
    return int(text, 8) & _PERMISSIONS


def _source(text: str) -> str:
    # libfuse takes a backslash for a quote, and a comma for the end of the option.
    if not text or not text.isprintable() or "\\" in text or "," in text:
        raise ValueError("not a source")
    return text


def _folder(text: str) -> str:
    """Return the path of a folder of the tree, "" for its root."""
    components = [component for component in text.split("/") if component]
    try:
        for component in components:
            names.check_component(component.encode())
    except (CallerError, UnicodeEncodeError):
        raise ValueError("not a path of the tree") from None
    if any(component in {".", ".."} for component in components) or components[:1] == [names.RESERVED]:
        raise ValueError("not a folder of the tree")
    return "/".join(components)


def _path(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text


def _setting(section: str, field: str) -> Callable[[str], str]:
    return lambda text: str(kinds_of(section)[field].read(text))


READERS: dict[str, Callable[[str], object]] = {
    "uid": _user,
    "gid": _group,
    "umask": _mask,
    "fmask": _mask,
    "dmask": _mask,
    "fsname": _source,
    "subdir": _folder,
    "profile": _path,
    "config": _path,
    "state_dir": _path,
    "base_url": _setting("service", "base_url"),
    "durability": _setting("writeback", "durability"),
}
_MASK = "the permissions to take away, in octal: 000 to 777, such as 022"
ALLOWED: dict[str, str] = {
    "uid": "the number or the name of a user of this machine",
    "gid": "the number or the name of a group of this machine",
    "umask": _MASK,
    "fmask": _MASK,
    "dmask": _MASK,
    "fsname": "a name of printable characters without a comma or a backslash",
    "subdir": f"the path of a folder from the root of the tree, without `.` and `..`, not below {names.RESERVED}",
    "profile": "a profile of the settings file",
    "config": "the path of a settings file",
    "state_dir": "the path of a state folder",
    "base_url": kinds_of("service")["base_url"].allowed,
    "durability": kinds_of("writeback")["durability"].allowed,
}
