"""A plugin of pytest: `httpx` and `httpcore` mean their successors in the whole process."""

from __future__ import annotations

import httpx2

httpx2.alias_httpx()


def pytest_terminal_summary(terminalreporter) -> None:
    from remotefs.api.http import httpx  # noqa: PLC0415 - what it is when the tests have run

    terminalreporter.write_line(f"remotefs speaks HTTP by {httpx.__name__} {httpx.__version__}")
