"""Calls of the disk and of the database that fail while a block lasts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.parts import Host


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch, call: str, code: int, *, nth: int = 1, when: Callable[..., bool] = lambda *_: True
) -> Iterator[None]:
    """From the nth on, the calls of a function of `os` fail for which `when` holds."""
    function, seen = getattr(os, call), 0

    def fails(*arguments: Any, **options: Any) -> Any:
        nonlocal seen
        if when(*arguments):
            seen += 1
            if seen >= nth:
                raise OSError(code, os.strerror(code))
        return function(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        yield


def below(folder: Path) -> Callable[..., bool]:
    """Return whether a call is for a file in a folder: its first argument is a path or a descriptor."""

    def is_below(target: int | str | os.PathLike[str], *_: object) -> bool:
        where = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
        return where.startswith(str(folder))

    return is_below


@contextmanager
def unreadable_rows(host: Host, when: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """The database cannot be read for as long as this lasts and `when` holds."""
    connection = host.parts.database._connection
    connection.set_progress_handler(when, 1)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 1)
