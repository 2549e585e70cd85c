"""The content that is kept on this disk: `warm`, `unpin`, `cache info`, `cache trim`, `cache clear`."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Leftover, Message, Nothing


class WarmParams(Message, frozen=True):
    """Bring the content of what lies at or below `path` to this disk; `pin` it there too."""

    path: str = ""
    pin: bool = False


class WarmResult(Message, frozen=True, kw_only=True):
    """`files` of `bytes` are here; `failed` are not, the first of them by name."""

    files: int
    bytes: int
    failed_count: int = 0
    failed: tuple[Leftover, ...] = ()


class UnpinParams(Message, frozen=True, kw_only=True):
    """Let the content of what lies at or below `path` go when room is wanted; only copies with `sole_too` alone."""

    path: str
    sole_too: bool = False


class SoleCopies(Message, frozen=True, kw_only=True):
    """Files whose only readable copy is on this disk: what would be, or was, given up. The first `paths` of them."""

    files: int = 0
    bytes: int = 0
    paths: tuple[str, ...] = ()


class UnpinResult(Message, frozen=True, kw_only=True):
    """`files` are no longer pinned. The files of `sole` were all left pinned or all unpinned, as requested."""

    files: int
    sole: SoleCopies = SoleCopies()


class CacheInfo(Message, frozen=True, kw_only=True):
    """What content takes on this disk, and what it may.

    Evictable content includes `shared_files`, uploads that the shared store has; without these it may take
    `limit_bytes`. `reserve_bytes` are left free.
    """

    pinned_files: int
    pinned_bytes: int
    evictable_files: int
    evictable_bytes: int
    limit_bytes: int
    staging_bytes: int
    free_bytes: int
    reserve_bytes: int
    shared_files: int = 0
    shared_bytes: int = 0
    sole: SoleCopies = SoleCopies()


class TrimParams(Message, frozen=True):
    """Evict the longest unused content until at most `to_bytes` are left of what can be evicted."""

    to_bytes: int


class ClearParams(Message, frozen=True, kw_only=True):
    """Remove all evictable content; with `pinned_too` also what is pinned and not in use."""

    pinned_too: bool = False


class Freed(Message, frozen=True):
    """What went from this disk."""

    files: int
    bytes: int


WARM = Endpoint("warm", WarmParams, WarmResult)
UNPIN = Endpoint("unpin", UnpinParams, UnpinResult)
CACHE_INFO = Endpoint("cache-info", Nothing, CacheInfo)
CACHE_TRIM = Endpoint("cache-trim", TrimParams, Freed)
CACHE_CLEAR = Endpoint("cache-clear", ClearParams, Freed)
