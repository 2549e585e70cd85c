"""What a mount shows and keeps once it has nothing left to do, as a record that a judge in another process can read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from remotefs.errors import NotReadable
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.store.records import Inode, Origin
from tests.parts import Host


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One inode of a regular file, with all of its names."""

    paths: tuple[str, ...]
    # None: the service does not give it back and it was never here.
    content: bytes | None
    file_id: str | None
    # Taken for ours after a lost reply: it keeps the name that it went up under (W6, W7).
    adopted: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A state folder, seen from outside of the product as far as that goes."""

    files: tuple[Shown, ...]
    folders: tuple[str, ...]
    pending: tuple[str, ...]
    # Names in `staging/`.
    staged: tuple[str, ...]
    # Names in `content/`: of bytes and of their sums.
    kept: tuple[str, ...]
    trash: tuple[bytes, ...]
    # Whole files that no record tells the path of.
    unnamed_trash: int
    # What `remotefs check` finds.
    findings: tuple[str, ...]


async def look(host: Host) -> Report:
    """Read everything."""
    parts = host.parts
    await parts.content.scan()
    shown: dict[int, Shown] = {}
    folders = []
    for path, inode in _below(host, ""):
        if inode.is_dir:
            folders.append(path)
        elif inode.ino not in shown:
            paths = tuple(parts.tree.paths_of(inode.ino))
            remote = parts.remotes.find(inode.file_id) if inode.file_id else None
            shown[inode.ino] = Shown(
                paths=paths, content=await _content(host, path), file_id=inode.file_id,
                adopted=remote is not None and remote.origin == Origin.ADOPTED,
            )  # fmt: skip
    trash = parts.trash.entries()
    return Report(
        files=tuple(shown.values()),
        folders=tuple(folders),
        pending=tuple(str(intent) for intent in host.pending()),
        staged=_names(host.state_dir / "staging"),
        kept=_names(host.state_dir / "content"),
        trash=tuple(parts.trash.bytes_of(entry.number).read_bytes() for entry in trash),
        unnamed_trash=sum(not entry.file_id for entry in trash),
        findings=tuple(str(finding) for finding in await check_state(parts, Scope(working=True, service=True))),
    )


def _below(host: Host, folder: str) -> list[tuple[str, Inode]]:
    found = []
    for name in host.ls(folder):
        path = f"{folder}/{name}" if folder else name
        inode = host.stat(path)
        found.append((path, inode))
        if inode.is_dir:
            found += _below(host, path)
    return found


async def _content(host: Host, path: str) -> bytes | None:
    try:
        return await host.read(path)
    except NotReadable:
        return None


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.rglob("*") if path.is_file()))
