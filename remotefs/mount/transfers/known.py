"""What is known of a file that has the path of one to send: whether it is the same, and how it may be replaced."""

from __future__ import annotations

import trio

from remotefs.control.messages.put import ThereParams, ThereResult
from remotefs.data.content.file import digest_of
from remotefs.errors import CorruptionError
from remotefs.mount.assembly import Components
from remotefs.mount.commands.lookup import resolve
from remotefs.store.records import ContentState, Inode, Remote


async def there(parts: Components, params: ThereParams) -> ThereResult:
    """Return what is known of the file at a path. Raises NotFound.

    Where it is the same and was refused, it is to be sent again: the refusal is forgotten.
    """
    inode = resolve(parts.tree, params.path)
    remote = parts.locator.bound(inode) if inode.is_file else None
    same = inode.is_file and await _is_same(parts, inode, remote, params)
    if same:
        parts.failures.forget_refusal(inode.ino)
    return ThereResult(
        same=same,
        pending=inode.state != ContentState.CLEAN,
        generated=bool(remote is not None and remote.downloadable),
        attributes=tuple(parts.intents.upload_options.with_attributes(inode.ino).items()),
    )


async def _is_same(parts: Components, inode: Inode, remote: Remote | None, params: ThereParams) -> bool:
    """Return whether a file that nobody writes has these bytes, at the service or on the way there.

    Where no digest is known of it the bytes on this disk tell: of one that is pending, that was fetched, or that was
    adopted after a lost reply.
    """
    if inode.state == ContentState.DIRTY or inode.size != params.size:
        return False
    if inode.state == ContentState.CLEAN and remote is not None and remote.digest is not None:
        return remote.digest == params.digest
    try:
        place = parts.locator.source_of(inode)
        if place is None and inode.size > 0:
            return False
        return await trio.to_thread.run_sync(digest_of, place) == params.digest
    except (OSError, CorruptionError):  # it is evicted meanwhile, or missing
        return False
