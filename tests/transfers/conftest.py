from __future__ import annotations

from tests.parts import clock, server

__all__ = ["clock", "server"]
