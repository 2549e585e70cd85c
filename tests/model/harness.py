"""The file system without a kernel: the parts of a mount, against a server on a real socket, and a small kernel.

`Kernel` asks as the real one does: it walks paths by lookups, counts them and gives them back, sends a FLUSH for each
closed descriptor and a RELEASE for the last, and refuses itself what never reaches a file system. `Mount` is the life
of the parts with everything but the kernel's own; `Portal` lets a test without a loop call both.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trio

from remotefs import names
from remotefs.api.budget import Priority
from remotefs.config import CacheConfig, Config, RefreshConfig, Secret, ServiceConfig, WritebackConfig
from remotefs.errors import RemotefsError
from remotefs.fuse.translate import errno_of
from remotefs.mount.assembly import assemble
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.store.database import Database
from remotefs.store.records import ROOT_INO, ContentState, Inode
from remotefs.vfs.attributes import AttributeChange
from remotefs.vfs.filesystem import FileSystem
from tests.faults import FaultyServer
from tests.model.model import MOUNTER, RENAME_EXCHANGE, RENAME_NOREPLACE, XATTR_PREFIX, Facts, Model, after_chown
from tests.model.served import assert_served, served

T = TypeVar("T")

# What a test waits for at most, in seconds.
PATIENCE_S = 20.0
_READ_BYTES = 128 * 1024
# A listing is continued after so many entries, as if the kernel's page were full.
_LISTED_AT_ONCE = 3
_UMASK = 0o022


@dataclass(frozen=True)
class Caller:
    """The one who mounted."""

    uid: int = MOUNTER[0]
    gid: int = MOUNTER[1]


@dataclass(eq=False)
class Descriptor:
    """What dup shares."""

    fh: int
    ino: int
    flags: int


class Kernel:
    """Path-wise calls on a FileSystem; each raises OSError."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self._known: Counter[int] = Counter()
        self._slots: dict[int, Descriptor] = {}

    # -- what it holds

    def forget(self, *, all_but_open: bool = True) -> None:
        """Give back the numbers of inodes that nothing needs; else only those of inodes without a name."""
        used = {descriptor.ino for descriptor in self._slots.values()}
        for ino in set(self._known) - used:
            if all_but_open or self._fs.attributes.getattr(ino).nlink == 0:
                self._fs.namespace.forget(ino, self._known.pop(ino))

    async def close_all(self) -> None:
        for slot in list(self._slots):
            await self.close(slot)
        self.forget()

    def _know(self, inode: Inode) -> Inode:
        self._fs.handles.looked_up(inode.ino)
        self._known[inode.ino] += 1
        return inode

    # -- paths

    def _place(self, path: str) -> tuple[Inode, bytes]:
        folder = self._fs.attributes.getattr(ROOT_INO)
        *above, name = path.encode().split(b"/")
        for part in above:
            folder = self._know(self._fs.namespace.lookup(folder.ino, part))
            if not folder.is_dir:
                raise _error(errno.ENOENT if folder.target else errno.ENOTDIR)
        return folder, name

    def _look(self, folder: Inode, name: bytes) -> Inode | None:
        try:
            return self._know(self._fs.namespace.lookup(folder.ino, name))
        except RemotefsError as error:
            if errno_of(error)[0] == errno.ENOENT:
                return None
            raise

    def _find(self, path: str, *, follow: bool = True) -> Inode:
        found = self._look(*self._place(path))
        if found is None or (follow and found.target is not None):
            raise _error(errno.ENOENT)
        return found

    def _free_place(self, path: str) -> tuple[int, bytes]:
        folder, name = self._place(path)
        if self._look(folder, name) is not None:
            raise _error(errno.EEXIST)
        return folder.ino, name

    # -- looking

    async def tree(self) -> dict[str, Facts]:
        return {path: await self._facts(inode) for path, inode in self._walk(ROOT_INO, "")}

    def _walk(self, ino: int, prefix: str) -> Iterator[tuple[str, Inode]]:
        for name, inode in self._list(ino):
            yield prefix + name, inode
            yield from self._walk(inode.ino, f"{prefix}{name}/") if inode.is_dir else ()

    def _list(self, ino: int) -> list[tuple[str, Inode]]:
        fh, cookie, found = self._fs.namespace.opendir(ino), 0, []
        while page := [entry for entry, _ in zip(self._fs.namespace.readdir(fh, cookie), range(_LISTED_AT_ONCE))]:  # noqa: B905 - cut on purpose
            cookie = page[-1].cookie
            found += [(e.name, self._fs.attributes.getattr(e.ino)) for e in page if e.name not in {".", ".."}]
        for _, inode in found:
            self._know(inode)
        self._fs.namespace.releasedir(fh)
        return found

    async def _facts(self, inode: Inode) -> Facts:
        given = self._fs.xattrs.listxattr(inode.ino)
        xattrs = {name.decode(): self._fs.xattrs.getxattr(inode.ino, name) for name in given}
        return Facts(
            stat.filemode(inode.mode),
            inode.nlink,
            (inode.uid, inode.gid),
            inode.size if inode.is_file else None,
            await self._content(inode) if inode.is_file else None,
            self._fs.namespace.readlink(inode.ino).decode() if inode.target is not None else None,
            {name.removeprefix(XATTR_PREFIX): value for name, value in xattrs.items()},
            inode.mtime_ns,
        )

    async def _content(self, inode: Inode) -> bytes | None:
        try:
            handle = await self._fs.files.open(inode.ino, os.O_RDONLY, Caller())
        except RemotefsError as error:
            if errno_of(error)[0] == errno.EACCES:
                return None
            raise
        pieces = [await self._fs.files.read(handle.fh, at, _READ_BYTES) for at in range(0, inode.size, _READ_BYTES)]
        await self._fs.files.flush(handle.fh)
        await self._fs.files.release(handle.fh)
        return b"".join(pieces)

    # -- names

    async def mkdir(self, path: str, mode: int) -> None:
        parent, name = self._free_place(path)
        self._know(self._fs.namespace.mkdir(parent, name, stat.S_IFDIR | mode & ~_UMASK, Caller()))

    async def symlink(self, path: str, target: str) -> None:
        parent, name = self._free_place(path)
        self._know(self._fs.namespace.symlink(parent, name, target.encode(), Caller()))

    async def link(self, old: str, new: str) -> None:
        inode = self._find(old, follow=False)
        parent, name = self._free_place(new)
        self._know(self._fs.namespace.link(inode.ino, parent, name))

    async def unlink(self, path: str) -> None:
        folder, name = self._place(path)
        self._fs.namespace.unlink(folder.ino, name)

    async def rmdir(self, path: str) -> None:
        folder, name = self._place(path)
        self._fs.namespace.rmdir(folder.ino, name)

    async def rename(self, old: str, new: str, flags: int) -> None:
        source, name = self._place(old)
        target, new_name = self._place(new)
        moving, present = self._look(source, name), self._look(target, new_name)
        if moving is None or (flags == RENAME_EXCHANGE and present is None):
            raise _error(errno.ENOENT)
        if flags == RENAME_NOREPLACE and present is not None:
            raise _error(errno.EEXIST)
        if not flags and new != old and f"{old}/".startswith(f"{new}/"):
            raise _error(errno.ENOTEMPTY)
        if present is not None and present.ino == moving.ino:
            return
        self._fs.namespace.rename(source.ino, name, target.ino, new_name, flags)

    # -- attributes

    async def chmod(self, path: str, mode: int) -> None:
        await self._change(self._find(path), AttributeChange(mode=mode))

    async def chown(self, path: str, uid: int, gid: int) -> None:
        inode = self._find(path)
        await self._change(inode, AttributeChange(uid=uid, gid=gid, mode=after_chown(inode.mode)))

    async def utimens(self, path: str, mtime_ns: int) -> None:
        await self._change(self._find(path), AttributeChange(mtime_ns=mtime_ns, atime_ns=mtime_ns))

    async def truncate(self, path: str, size: int) -> None:
        inode = self._find(path)
        if inode.is_dir:
            raise _error(errno.EISDIR)
        await self._change(inode, AttributeChange(size=size))

    async def _change(self, inode: Inode, change: AttributeChange) -> None:
        await self._fs.attributes.setattr(inode.ino, change, None)

    async def setxattr(self, path: str, name: str, value: bytes) -> None:
        self._fs.xattrs.setxattr(self._find(path).ino, (XATTR_PREFIX + name).encode(), value)

    async def removexattr(self, path: str, name: str) -> None:
        self._fs.xattrs.removexattr(self._find(path).ino, (XATTR_PREFIX + name).encode())

    # -- open files

    async def open(self, slot: int, path: str, flags: int, mode: int) -> None:
        folder, name = self._place(path)
        found = self._look(folder, name)
        if found is None and flags & os.O_CREAT:
            opened, handle = await self._fs.files.create(
                folder.ino, name, stat.S_IFREG | mode & ~_UMASK, flags & ~os.O_TRUNC, Caller()
            )
            self._know(opened)
        elif found is None or (found.target is not None and not flags & os.O_EXCL):
            raise _error(errno.ENOENT)
        elif flags & os.O_EXCL:
            raise _error(errno.EEXIST)
        else:
            opened, handle = found, await self._fs.files.open(found.ino, flags & ~os.O_CREAT, Caller())
        await self._put(slot, Descriptor(handle.fh, opened.ino, flags))

    async def dup(self, slot: int, other: int) -> None:
        await self._put(other, self._descriptor(slot))

    async def close(self, slot: int) -> None:
        descriptor = self._descriptor(slot)
        del self._slots[slot]
        await self._let_go(descriptor)

    async def read(self, slot: int, offset: int, size: int) -> bytes:
        descriptor = self._descriptor(slot)
        if descriptor.flags & os.O_ACCMODE == os.O_WRONLY:
            raise _error(errno.EBADF)
        return await self._fs.files.read(descriptor.fh, offset, size)

    async def write(self, slot: int, offset: int, data: bytes) -> int:
        descriptor = self._descriptor(slot)
        if descriptor.flags & os.O_ACCMODE == os.O_RDONLY:
            raise _error(errno.EBADF)
        if descriptor.flags & os.O_APPEND:
            offset = self._fs.attributes.getattr(descriptor.ino).size
        return await self._fs.files.write(descriptor.fh, offset, data)

    async def ftruncate(self, slot: int, size: int) -> None:
        descriptor = self._descriptor(slot)
        if descriptor.flags & os.O_ACCMODE == os.O_RDONLY:
            raise _error(errno.EINVAL)
        await self._fs.attributes.setattr(descriptor.ino, AttributeChange(size=size), descriptor.fh)

    async def fsync(self, slot: int) -> None:
        await self._fs.files.fsync(self._descriptor(slot).fh)

    def _descriptor(self, slot: int) -> Descriptor:
        if slot not in self._slots:
            raise _error(errno.EBADF)
        return self._slots[slot]

    async def _put(self, slot: int, descriptor: Descriptor) -> None:
        old = self._slots.get(slot)
        self._slots[slot] = descriptor
        if old is not None:
            await self._let_go(old)

    async def _let_go(self, descriptor: Descriptor) -> None:
        await self._fs.files.flush(descriptor.fh)
        if descriptor not in self._slots.values():
            await self._fs.files.release(descriptor.fh)


class Mount:
    """The parts of a mount at work on a state folder, from `open` to `close` or `crash`."""

    def __init__(self, settings: MountSettings, nursery: trio.Nursery) -> None:
        self._settings = settings
        self._nursery = nursery
        self._end = trio.CancelScope()
        self._ended = trio.Event()
        self.database = Database(settings.state_dir / "state.db")
        self.parts = assemble(settings, self.database)
        self.kernel = Kernel(self.parts.fs)

    async def open(self) -> None:
        """Serve; like mount/session.py without the kernel, the control socket and what works by the clock."""
        await self._nursery.start(self._serve)

    async def _serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        parts = self.parts
        with self._end:
            async with parts.client, trio.open_nursery() as nursery:
                await nursery.start(parts.downloader.run)
                await parts.recovery.run()
                await parts.connectivity.watch(lambda: parts.listings.walk(priority=Priority.FIRST_LISTING))
                await nursery.start(parts.writeback.run)
                task_status.started()
                await trio.sleep_forever()
        self._ended.set()

    async def close(self) -> None:
        """As an unmount ends it, without the drain."""
        await self.kernel.close_all()
        await self._stop()
        self.parts.tree.save_notes()
        self.database.close()

    async def crash(self) -> None:
        """What is in memory is lost."""
        await self._stop()
        self.database.close()

    async def _stop(self) -> None:
        # A reply that is lost is looked for at the next start, for 15 s (W6): that has tests of its own.
        await _until(lambda: not len(self.parts.in_flight))
        self._end.cancel()
        await self._ended.wait()
        self.parts.content.close()
        self.parts.staging.close()


class Harness:
    """The model's verbs, by a kernel on a mount that can be closed, crash and be opened again."""

    def __init__(self, state_dir: Path, server: FaultyServer, writeback: WritebackConfig, portal: Portal) -> None:
        self.server = server
        self._portal = portal
        self._settings = MountSettings(state_dir / "mnt", state_dir, _config(server, writeback), FuseOptions())
        self._ids_of_others: dict[str, str] = {}
        state_dir.mkdir(mode=0o700, parents=True)
        self.mount = portal.call(self._start)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """A verb of the kernel's."""
        return lambda *arguments: self._portal.call(self._ask, verb, arguments)

    async def _start(self) -> Mount:
        mount = Mount(self._settings, self._portal.nursery)
        await mount.open()
        return mount

    async def _ask(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        kernel = self.mount.kernel
        try:
            with trio.fail_after(PATIENCE_S):
                return await getattr(kernel, verb)(*arguments)
        except RemotefsError as error:
            raise _error(errno_of(error)[0]) from error
        finally:
            kernel.forget(all_but_open=False)

    # -- what happens to a mount

    def foreign(self, path: str, data: bytes, downloadable: bool, label: str) -> None:
        added = self.server.store.add(names.remote_name(path), data, downloadable=downloadable)
        self._ids_of_others[label] = added.id
        self._portal.call(self.mount.parts.listings.poll)

    def vanish(self, label: str, gone: list[str]) -> None:
        self.server.store.delete(self._ids_of_others[label])
        self._portal.call(self.mount.parts.refresh.accept_removals)

    def drop_caches(self) -> None:
        self._portal.call_sync(self.mount.kernel.forget)

    def remount(self) -> None:
        self._portal.call(self.mount.close)
        self.mount = self._portal.call(self._start)

    def crash(self) -> None:
        self._portal.call(self.mount.crash)
        self.mount = self._portal.call(self._start)

    def drain(self) -> None:
        """Wait until the service has everything."""
        left = self._portal.call(self.mount.parts.drainer.drain, PATIENCE_S)
        assert not left, f"left after a drain: {left}"

    def end(self) -> None:
        self._portal.call(self.mount.close)

    # -- what the service has

    def assert_served(self, model: Model) -> None:
        """After a drain: what the service has follows the tree, and the parts of the state agree with each other."""
        assert_served(served(self.server), model, self._ids_of_others)
        found = self._portal.call(check_state, self.mount.parts, Scope(working=True, service=True))
        assert found == [], found

    # -- what is left

    def assert_nothing_leaks(self) -> None:
        """With all closed and forgotten there are no handles, no inodes without a name, no bytes of nobody."""
        self._portal.call(self.mount.kernel.close_all)
        self.drain()
        self._portal.call(self._assert_clean)

    async def _assert_clean(self) -> None:
        parts = self.mount.parts
        statistics = parts.handles.statistics()
        assert (statistics.files, statistics.directories, statistics.known_inodes) == (0, 0, 0)
        assert parts.tree.unlinked() == []
        # What was uploaded becomes content after those were told who wait for the upload.
        await _until(lambda: all(inode.state != ContentState.CLEAN for inode in parts.tree.staged()), parts.tree.staged)

        # What was given up goes once a power cut cannot bring its name back.
        def left_over() -> set[tuple[int, int | None]]:
            staged: set[tuple[int, int | None]] = {(inode.ino, inode.staged_gen) for inode in parts.tree.staged()}
            return staged ^ {(entry.inode, entry.generation) for entry in parts.staging.scan()}

        await _until(lambda: not left_over(), left_over)


class Portal:
    """A trio loop in a thread; `call` waits for what it does there."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="portal")
        self._thread.start()
        self._ready.wait()

    async def _main(self) -> None:
        async with trio.open_nursery() as self.nursery:
            self._token = trio.lowlevel.current_trio_token()
            self._ready.set()
            await trio.sleep_forever()

    def call(self, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Await it in the loop."""
        return trio.from_thread.run(work, *arguments, trio_token=self._token)

    def call_sync(self, work: Callable[[], T]) -> T:
        """The same for what awaits nothing."""
        return trio.from_thread.run_sync(work, trio_token=self._token)

    def close(self) -> None:
        """End the loop and all that runs in it."""
        self._token.run_sync_soon(self.nursery.cancel_scope.cancel)
        self._thread.join()


@contextmanager
def portal() -> Iterator[Portal]:
    """A running portal."""
    running = Portal()
    try:
        yield running
    finally:
        running.close()


async def _until(claim: Callable[[], bool], show: Callable[[], object] = lambda: "it did not come true") -> None:
    """Wait for what the workers do by themselves."""
    with trio.move_on_after(PATIENCE_S):
        while not claim():  # noqa: ASYNC110 - there is no event for it
            await trio.sleep(0.001)
    assert claim(), show()


def _config(server: FaultyServer, writeback: WritebackConfig) -> Config:
    return Config(
        service=ServiceConfig(base_url=server.url, api_key=Secret(server.key), requests_per_minute=0),
        cache=CacheConfig(reserve_bytes=1 << 20, reserve_fraction=0.0),
        writeback=writeback,
        refresh=RefreshConfig(removal_min_age_s=0),
    )


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
