"""What `make test` takes of many cases, and what it leaves to `make test-long`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def each_once(rows: Sequence[Any], columns: Sequence[Any]) -> list[Any]:
    """Return all pairs as parameters: of each row and each column one is a sample, the others are long.

    Where there are more rows than columns, a column has a sample more often.
    """
    return [
        pytest.param(row, column, marks=() if (number - place) % len(columns) == 0 else pytest.mark.long)
        for number, row in enumerate(rows)
        for place, column in enumerate(columns)
    ]


def sample(few: int, many: int) -> list[Any]:
    """Return two sizes (or strides) of a test as parameters: `few` for `make test`, and `many`, which is long."""
    return [few, pytest.param(many, marks=pytest.mark.long)]
