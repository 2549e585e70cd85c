"""What the tests of the shared store work on."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that all machines have mounted."""
    folder = tmp_path / "nas"
    folder.mkdir()
    return folder
