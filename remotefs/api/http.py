"""The library that speaks HTTP, by one name: the only module that imports it.

Moving to its successor changes the two imports (docs/adr/0004-httpx.md); the tests of this layer pass on both.
"""

from __future__ import annotations

import httpcore
import httpx

__all__ = ["httpcore", "httpx"]
