"""A user whose calls may fail: the ledger is told what each of them promised, and that it failed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from remotefs.control.messages.base import Progress
from remotefs.errors import RemotefsError
from remotefs.mount.commands.groups import CommandGroups
from remotefs.store.records import ROOT_INO, Inode
from remotefs.vfs.handles import OpenFile
from tests.commands import commands
from tests.fuzz.oracle import Ledger
from tests.parts import Host

T = TypeVar("T")
_EXCHANGE = 2
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
# An error that a program, or a person at a command, has to expect.
Expected = (RemotefsError, OSError)


def content(size: int, seed: int) -> bytes:
    """Bytes that tell by themselves where they belong."""
    return b"".join(b"%d:%d\n" % (seed, position) for position in range(size // 6 + 1))[:size]


class User:
    """Calls on paths of one mount. `failed` has the calls that ended with an error."""

    def __init__(self, host: Host, ledger: Ledger) -> None:
        self.host = host
        self.ledger = ledger
        self.failed: list[str] = []

    async def tried(self, what: str, call: Callable[[], Awaitable[T] | T]) -> T | None:
        """Make a call; return None where it fails with an error that a program has to expect."""
        try:
            result = call()
            return await result if isinstance(result, Awaitable) else result
        except Expected as error:
            self.failed.append(f"{what}: {error}")
            return None

    # -- bytes

    async def open(self, path: str, flags: int = os.O_RDONLY) -> OpenFile | None:
        """open(2)."""
        self._gives_up(path, replaces=bool(flags & os.O_TRUNC))
        handle = await self.tried(f"open {path}", lambda: self._open(path, flags))
        if flags & os.O_CREAT and handle is not None and path not in self.ledger.promised:
            self.ledger.wrote(path, b"")
        elif flags & os.O_CREAT or flags & os.O_TRUNC:
            self.ledger.may_have_written(path, b"")
        return handle

    async def put(self, path: str, handle: OpenFile, offset: int, data: bytes) -> bool:
        """pwrite(2); a part of it may have been written where it fails."""
        files = self.host.fs.files
        before = set(self.ledger.promised[path])
        done = await self.tried(f"write {path}", lambda: files.write(handle.fh, offset, data)) is not None
        parts = {data} if done else {data, data[: len(data) // 2]}
        after = {_overlaid(one or b"", offset, part) for one in before for part in parts}
        # Nothing is promised before a close or an fsync.
        self.ledger.promised[path] = before | after
        return done

    async def sync(self, path: str, handle: OpenFile, expected: bytes) -> bool:
        """fsync(2), which promises the bytes that were written before."""
        done = await self.tried(f"fsync {path}", lambda: self._done(self.host.fs.files.fsync(handle.fh)))
        if done:
            self.ledger.wrote(path, expected)
        return bool(done)

    async def close(self, path: str, handle: OpenFile, expected: bytes | None = None) -> bool:
        """close(2): its answer is that of the FLUSH; nobody sees that of the RELEASE."""
        files = self.host.fs.files
        done = await self.tried(f"close {path}", lambda: self._done(files.flush(handle.fh)))
        if done and expected is not None:
            self.ledger.wrote(path, expected)
        await self.tried(f"release {path}", lambda: files.release(handle.fh))
        return bool(done)

    async def write(self, path: str, data: bytes, flags: int = _CREATE) -> bool:
        """`echo data > path`."""
        handle = await self.open(path, flags)
        if handle is None:
            return False
        written = await self.put(path, handle, 0, data)
        return await self.close(path, handle, data if written else None)

    async def edit(self, path: str, offset: int, data: bytes) -> bool:
        """A write into the middle of a file that is there; what it promises depends on what the file was known to hold."""
        known = set(self.ledger.promised.get(path, ()))
        handle = await self.open(path, os.O_RDWR)
        if handle is None:
            return False
        written = await self.put(path, handle, offset, data)
        expected = _overlaid(next(iter(known)) or b"", offset, data) if written and len(known) == 1 else None
        return await self.close(path, handle, expected)

    async def truncate(self, path: str, size: int) -> bool:
        """truncate(2)."""
        before = set(self.ledger.promised.get(path, {None}))
        after = {(one or b"")[:size].ljust(size, b"\0") for one in before}
        self.ledger.promised[path] = before | after
        ino = await self.ino(path)
        if ino is None:
            return False
        done = await self.tried(f"truncate {path}", lambda: self._done(self.host.fs.files.truncate(ino, size, None)))
        if done:
            self.ledger.promised[path] = after
        return bool(done)

    async def read(self, path: str) -> bytes | None:
        """`cat path`; what it shows is true, or it fails."""
        data = await self.tried(f"read {path}", lambda: self._read(path))
        promised = self.ledger.promised.get(path)
        if data is not None and promised is not None:
            assert data in promised, f"{path} reads as {data[:20]!r} of {len(data)} bytes"
        return data

    # -- names

    async def ino(self, path: str) -> int | None:
        """Return the number of a file; None where it is not there, or cannot be looked up."""
        inode = await self.tried(f"stat {path}", lambda: self._lookup(path))
        return inode.ino if inode is not None else None

    async def unlink(self, path: str) -> bool:
        """unlink(2)."""
        self._gives_up(path, replaces=True)
        done = await self.tried(f"unlink {path}", lambda: self._at(path, self.host.fs.namespace.unlink))
        if done:
            self.ledger.removed(path)
        else:
            self.ledger.may_have_removed(path)
        return bool(done)

    async def rename(self, old: str, new: str, flags: int = 0) -> bool:
        """renameat2(2)."""
        self._gives_up(new, replaces=flags != _EXCHANGE)
        ledger, known = self.ledger, old in self.ledger.promised
        one, other = ledger.promised.get(old, {None}), ledger.promised.get(new, {None})

        def move() -> bool:
            namespace = self.host.fs.namespace
            return self._at(old, lambda p, n: self._at(new, lambda q, m: namespace.rename(p, n, q, m, flags)))

        done = await self.tried(f"rename {old}", move)
        for path in [path for path in ledger.promised if path.startswith(f"{old}/")]:
            moved = new + path.removeprefix(old)
            ledger.renamed(path, moved) if done else ledger.may_have_renamed(path, moved)
        if not known:
            return bool(done)
        if flags == _EXCHANGE:
            ledger.promised[old], ledger.promised[new] = (other, one) if done else (one | other, one | other)
        elif done:
            ledger.renamed(old, new)
        else:
            ledger.may_have_renamed(old, new)
        return bool(done)

    async def exchange(self, old: str, new: str) -> bool:
        """renameat2(2) with RENAME_EXCHANGE."""
        return await self.rename(old, new, _EXCHANGE)

    async def link(self, old: str, new: str) -> bool:
        """link(2)."""
        ino = await self.ino(old)
        if ino is None:
            return False
        done = await self.tried(
            f"link {old}", lambda: self._at(new, lambda p, n: self.host.fs.namespace.link(ino, p, n))
        )
        if done:
            self.ledger.promised[new] = set(self.ledger.promised[old])
        else:
            self.ledger.promised[new] = {None, *self.ledger.promised[old]}
        return bool(done)

    async def mkdir(self, path: str) -> bool:
        """mkdir(2)."""
        namespace, user = self.host.fs.namespace, self.host.user
        return bool(
            await self.tried(f"mkdir {path}", lambda: self._at(path, lambda p, n: namespace.mkdir(p, n, 0o755, user)))
        )

    # -- commands

    async def command(self, what: str, call: Callable[..., Awaitable[T]], params: object) -> T | None:
        """A command of a person."""

        def quietly(_: Progress) -> None:
            return

        return await self.tried(what, lambda: call(params, quietly))

    @property
    def commands(self) -> CommandGroups:
        """Return the commands of the mount."""
        return commands(self.host)

    # -- inside

    def _gives_up(self, path: str, *, replaces: bool) -> None:
        if not replaces:
            return
        try:
            self.ledger.give_up(self._lookup(path).file_id)
        except Expected:
            # Nobody knows which file the call is going to be about: it may be any that has been there.
            self.ledger.given_up.update(self.host.remote_ids() if path not in self.ledger.promised else ())

    async def _open(self, path: str, flags: int) -> OpenFile:
        parent, name = self._place(path)
        files, user = self.host.fs.files, self.host.user
        if flags & os.O_CREAT:
            return (await files.create(parent, name, 0o100644, flags, user))[1]
        return await files.open(self.host.fs.namespace.lookup(parent, name).ino, flags, user)

    async def _read(self, path: str) -> bytes:
        size = self._lookup(path).size
        handle = await self._open(path, os.O_RDONLY)
        try:
            return await self.host.fs.files.read(handle.fh, 0, size)
        finally:
            await self.host.fs.files.release(handle.fh)

    def _lookup(self, path: str) -> Inode:
        return self.host.fs.namespace.lookup(*self._place(path))

    def _at(self, path: str, act: Callable[[int, bytes], object]) -> bool:
        act(*self._place(path))
        return True

    def _place(self, path: str) -> tuple[int, bytes]:
        *folders, name = path.split("/")
        parent = ROOT_INO
        for folder in folders:
            parent = self.host.fs.namespace.lookup(parent, folder.encode()).ino
        return parent, name.encode()

    async def _done(self, call: Awaitable[object]) -> bool:
        await call
        return True


def _overlaid(data: bytes, offset: int, piece: bytes) -> bytes:
    return data[:offset].ljust(offset, b"\0") + piece + data[offset + len(piece) :]
