"""The HTTP library under one name: no other module imports it.

A move to its successor changes the two imports here (docs/adr/0006-httpx.md); the tests of this layer pass on both.
"""

from __future__ import annotations

import httpcore
import httpx

__all__ = ["httpcore", "httpx"]
