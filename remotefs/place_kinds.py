"""The kinds of settings that name a place or a program: addresses, files, commands, credentials. Pure."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from remotefs.setting_kinds import Kind, Number, list_of

STORE_SCHEMES = ("s3", "gs", "az", "file")
_CREDENTIAL = re.compile(r"[A-Za-z0-9._-]{1,255}")


class Address(Kind):
    """The address of a service. A wrong one is not shown: it may hold a password."""

    is_secret = True

    @property
    def allowed(self) -> str:
        """Return its shape."""
        return "an address such as https://api.anthropic.com, without a user, a password, a query or a fragment"

    def read(self, value: object) -> str:
        """Return the address as it is written."""
        if not isinstance(value, str):
            raise ValueError("not a text")  # noqa: TRY004 - the caller's only error
        text = value.strip()
        if not text.isprintable() or any(mark in text for mark in " @?#\\"):
            raise ValueError("more than an address")
        parts = urlsplit(text)
        # The port is read, and so checked, here; urlsplit does not look at it.
        if parts.scheme.lower() not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError("not an address")
        return text


class FilePath(Kind):
    """The path of a file, which need not be there yet."""

    @property
    def allowed(self) -> str:
        """Return its shape."""
        return "an absolute path, or one that begins with ~/"

    def read(self, value: object) -> str:
        """Return the path as it is written."""
        if not isinstance(value, str) or not value.startswith(("/", "~/")) or not value.isprintable():
            raise ValueError("not a path")
        return value


class CommandLine(Kind):
    """A program and its arguments, which no shell reads. A wrong one is not shown: it may hold a secret."""

    is_secret = True

    @property
    def allowed(self) -> str:
        """Return its shape."""
        return 'a program and its arguments, such as "pass show remotefs" or ["pass", "show", "remotefs"]'

    def read(self, value: object) -> tuple[str, ...]:
        """Return the words; a text is split at blanks, with quotes as in a shell."""
        words = shlex.split(value) if isinstance(value, str) else list_of(value)
        texts = tuple(word for word in words if isinstance(word, str) and word.isprintable())
        if not texts or len(texts) != len(words) or not texts[0].strip():
            raise ValueError("not a command")
        return texts


class CredentialName(Kind):
    """The name of a credential of systemd."""

    @property
    def allowed(self) -> str:
        """Return its shape."""
        return "a name of letters, digits, `.`, `_` and `-`, as LoadCredential= of the unit has it"

    def read(self, value: object) -> str:
        """Return the name."""
        if not isinstance(value, str) or not _CREDENTIAL.fullmatch(value) or value in {".", ".."}:
            raise ValueError("not the name of a credential")
        return value


class ListenAddress(Kind):
    """A place on this machine that others can connect to, or none."""

    @property
    def allowed(self) -> str:
        """Return their shapes."""
        return (
            "unix:PATH (a name without / is in the state folder), or an address of this machine alone with its port, "
            "such as 127.0.0.1:9464; empty for none"
        )

    def read(self, value: object) -> str:
        """Return the address as it is written."""
        if not isinstance(value, str):
            raise ValueError("not a text")  # noqa: TRY004 - the caller's only error
        if value:
            listen_address(value)
        return value


class StoreAddress(Kind):
    """The address of a store of objects, or none. A wrong one is not shown: it may hold a password."""

    is_secret = True

    @property
    def allowed(self) -> str:
        """Return their shapes."""
        return (
            "an address such as s3://bucket/folder, gs://bucket/folder, az://container/folder or "
            "file:///folder, without a user, a password or a query; empty for none"
        )

    def read(self, value: object) -> str:
        """Return the address without a slash at its end."""
        if not isinstance(value, str):
            raise ValueError("not a text")  # noqa: TRY004 - the caller's only error
        if not value:
            return value
        store_address(value)
        return value.rstrip("/")


def store_address(text: str) -> tuple[str, str]:
    """Return the scheme of a store's address, and what it names: `bucket/folder`, or the absolute path of a folder.

    Raises ValueError.
    """
    if not text.isprintable() or any(mark in text for mark in "?#\\"):
        raise ValueError("more than an address")
    scheme, parted, rest = text.partition("://")
    rest = rest.rstrip("/")
    place = unquote(rest, errors="strict").removeprefix("/") if scheme == "file" else rest
    segments = place.split("/")
    if not parted or scheme not in STORE_SCHEMES or any(part in {"", ".", ".."} for part in segments):
        raise ValueError("not an address")
    if scheme == "file":
        if not rest.startswith("/") or "\0" in place:
            raise ValueError("not an absolute path")
        return scheme, f"/{place}"
    if any(mark in segments[0] for mark in "@: "):
        raise ValueError("not the name of a bucket")
    return scheme, place


def listen_address(text: str) -> Path | tuple[str, int]:
    """Return the path of a unix socket, or the loopback address and the port, that `text` names. Raises ValueError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.isprintable() or path in {"", ".", ".."} or ("/" in path and not path.startswith("/")):
            raise ValueError("not a path")
        return Path(path)
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    # It raises ValueError for a name, which another machine might have.
    if not ipaddress.ip_address(host).is_loopback:
        raise ValueError("not of this machine alone")
    return host, Number(1, 65_535).read(port)
