from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The modes of what is made are compared."""
    before = os.umask(0o022)
    yield
    os.umask(before)
