"""Reaching a unix socket whatever the length of its path: the kernel takes 107 bytes, a state folder may be deeper."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_NAME = "control.sock"


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Yield a short name for `path`, valid for bind and connect while the context lasts.

    The folder is opened and named through /proc/self/fd, so that its length does not count (unix(7): `sun_path`).
    Raises OSError when the folder cannot be opened.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
