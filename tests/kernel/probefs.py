"""A small file system in memory that tells what the kernel asked of it and misbehaves on command.

Run as `python probefs.py MOUNTPOINT SOCKET CONFIG_JSON`, one process a mount, because pyfuse3 keeps its
session in module globals. `probe.py` drives it over SOCKET: one JSON object a line, one line back (`Control`).
Every request becomes a record `{"op": handler, "name": last known name of its inode or None, **arguments}`.
"""

from __future__ import annotations

import errno
import inspect
import itertools
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext, SetattrFields

Json = dict[str, Any]
Handler = Callable[..., Awaitable[Any]]
HANDLERS = [name for name, handler in vars(pyfuse3.Operations).items() if inspect.iscoroutinefunction(handler)]
DEFAULTS: Json = {
    "options": [],  # mount options beside default_permissions
    "timeout_s": 60.0,  # of entries and attributes
    "negative_timeout_s": 60.0,
    "direct_io": False,
    "guarded": True,  # an exception that is not FUSEError is answered with EIO
    "xattrs": True,  # False: pyfuse3's own handler, which answers ENOSYS
}


@dataclass
class Node:
    ino: int
    mode: int
    uid: int = 0
    gid: int = 0
    name: bytes = b""
    nlink: int = 1
    rdev: int = 0
    listed_size: int | None = None  # what getattr tells when it is not the truth
    blksize: int = 0
    blocks: int = 0
    times_ns: dict[str, int] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    children: dict[bytes, int] = field(default_factory=dict)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


def plain(value: Any) -> Any:
    """The argument of a handler as JSON; data only by its length."""
    match value:
        case bytes():
            return os.fsdecode(value)
        case RequestContext():
            return {"uid": value.uid, "gid": value.gid, "pid": value.pid, "umask": value.umask}
        case SetattrFields():
            names = ("atime", "mtime", "ctime", "mode", "uid", "gid", "size")
            return sorted(name for name in names if getattr(value, f"update_{name}"))
        case EntryAttributes():
            return dict(value.__getstate__())
        case pyfuse3.ReaddirToken():
            return None
    return value


class ProbeFs(pyfuse3.Operations):
    """The tree, the record of requests, and the rules that make handlers wait or fail."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.log: list[Json] = []
        self.news = trio.Condition()
        self.rules: list[Json] = []
        self.gates: dict[str, trio.Event] = {}
        self.nodes = {pyfuse3.ROOT_INODE: Node(pyfuse3.ROOT_INODE, stat.S_IFDIR | 0o777, nlink=2)}
        self.lookups: Counter[int] = Counter()
        self.opened: dict[int, Node] = {}
        self.numbers = itertools.count(100)
        for op in HANDLERS:
            if config["xattrs"] or not op.endswith("xattr"):
                setattr(self, op, self._recorded(op, getattr(self, op)))

    def _recorded(self, op: str, handler: Handler) -> Handler:
        names = list(inspect.signature(handler).parameters)

        async def request(*args: Any) -> Any:
            record = {key: plain(value) for key, value in zip(names, args, strict=False) if key != "buf"}
            if op == "write":
                record["size"] = len(args[2])
            await self._note({"name": self._label(record)} | record | {"op": op})
            try:
                short = await self._misbehave(op, self.log[-1] if op != "forget" else record)
                result = await handler(*args)
            except FUSEError:
                raise
            except Exception as problem:
                if not self.config["guarded"]:
                    raise
                raise FUSEError(errno.EIO) from problem
            return result if short is None else result[:short]

        return request

    async def _note(self, record: Json) -> None:
        self.log.append(record)
        async with self.news:
            self.news.notify_all()

    def _label(self, record: Json) -> str | None:
        node = self.opened.get(record["fh"]) if record.get("fh") else self.nodes.get(record.get("inode", 0))
        return os.fsdecode(node.name) if node else None

    async def _misbehave(self, op: str, record: Json) -> int | None:
        for rule in self.rules:
            if rule["op"] == op and rule["times"] and rule["name"] in {None, record["name"]}:
                rule["times"] -= 1
                if "gate" in rule:
                    await self.gates.setdefault(rule["gate"], trio.Event()).wait()
                if "errno" in rule:
                    raise FUSEError(rule["errno"])
                if "exception" in rule:
                    raise RuntimeError(rule["exception"])
                return rule.get("short")
        return None

    # -- the tree ---------------------------------------------------------------------------------------------------

    def attributes(self, node: Node) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino, entry.st_blksize, entry.st_blocks = node.ino, node.blksize, node.blocks
        entry.st_mode, entry.st_nlink, entry.st_rdev = node.mode, node.nlink, node.rdev
        entry.st_uid, entry.st_gid = node.uid, node.gid
        entry.st_size = len(node.data) if node.listed_size is None else node.listed_size
        entry.entry_timeout = entry.attr_timeout = self.config["timeout_s"]
        entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns = (node.times_ns.get(k, 10**18) for k in "amc")
        return entry

    def entry(self, node: Node) -> EntryAttributes:
        self.lookups[node.ino] += 1
        return self.attributes(node)

    def child(self, parent: int, name: bytes) -> Node:
        if name not in self.nodes[parent].children:
            raise FUSEError(errno.ENOENT)
        return self.nodes[self.nodes[parent].children[name]]

    def add(self, parent: int, name: bytes, mode: int, uid: int = 0, gid: int = 0, rdev: int = 0) -> Node:
        node = Node(next(self.numbers), mode, uid, gid, name, 2 if stat.S_ISDIR(mode) else 1, rdev)
        self.nodes[node.ino] = node
        self.nodes[parent].children[name] = node.ino
        return node

    def remove(self, parent: int, name: bytes) -> None:
        node = self.child(parent, name)
        del self.nodes[parent].children[name]
        node.nlink -= 1

    def hold(self, node: Node) -> FileInfo:
        fh = next(self.numbers)
        self.opened[fh] = node
        return FileInfo(fh=fh, direct_io=self.config["direct_io"], keep_cache=True)

    # -- handlers ---------------------------------------------------------------------------------------------------

    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if name in self.nodes[parent_inode].children:
            return self.entry(self.child(parent_inode, name))
        nothing = EntryAttributes()
        nothing.entry_timeout = self.config["negative_timeout_s"]
        return nothing

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, count in inode_list:
            self.lookups[inode] -= count

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self.attributes(self.nodes[inode])

    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        node = self.nodes[inode]
        if fields.update_size:
            node.data = node.data[: attr.st_size].ljust(attr.st_size, b"\0")
        if fields.update_mode:
            node.mode = attr.st_mode
        node.uid = attr.st_uid if fields.update_uid else node.uid
        node.gid = attr.st_gid if fields.update_gid else node.gid
        for letter in "amc":
            if getattr(fields, f"update_{letter}time"):
                node.times_ns[letter] = getattr(attr, f"st_{letter}time_ns")
        return self.attributes(node)

    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return bytes(self.nodes[inode].data)

    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        return self.entry(self.add(parent_inode, name, mode, ctx.uid, ctx.gid, rdev))

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        return self.entry(self.add(parent_inode, name, mode, ctx.uid, ctx.gid))

    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        node = self.add(parent_inode, name, stat.S_IFLNK | 0o777)
        node.data = bytearray(target)
        return self.entry(node)

    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext) -> EntryAttributes:
        self.nodes[new_parent_inode].children[new_name] = inode
        self.nodes[inode].nlink += 1
        return self.entry(self.nodes[inode])

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        self.remove(parent_inode, name)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        self.remove(parent_inode, name)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        old, new = self.nodes[parent_inode_old].children, self.nodes[parent_inode_new].children
        if flags & pyfuse3.RENAME_EXCHANGE:
            old[name_old], new[name_new] = new[name_new], old[name_old]
        else:
            if name_new in new:
                self.remove(parent_inode_new, name_new)
            new[name_new] = old.pop(name_old)
        for names in (old, new):
            for name, inode in names.items():
                self.nodes[inode].name = name

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        if flags & os.O_TRUNC:
            self.nodes[inode].data.clear()
        return self.hold(self.nodes[inode])

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        node = self.add(parent_inode, name, mode, ctx.uid, ctx.gid)
        return self.hold(node), self.entry(node)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return bytes(self.opened[fh].data[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        data = self.opened[fh].data
        data.extend(b"\0" * (off - len(data)))
        data[off : off + len(buf)] = buf
        return len(buf)

    async def flush(self, fh: int) -> None:
        pass

    async def fsync(self, fh: int, datasync: bool) -> None:
        pass

    async def release(self, fh: int) -> None:
        del self.opened[fh]

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return self.hold(self.nodes[inode]).fh

    async def releasedir(self, fh: int) -> None:
        del self.opened[fh]

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        entries = list(self.opened[fh].children.items())
        for position, (name, inode) in enumerate(entries[start_id:], start_id + 1):
            if not pyfuse3.readdir_reply(token, name, self.attributes(self.nodes[inode]), position):
                return
            self.lookups[inode] += 1

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        answer = pyfuse3.StatvfsData()
        answer.f_bsize, answer.f_frsize, answer.f_namemax = 65536, 4096, 255
        answer.f_blocks, answer.f_bfree, answer.f_bavail = 1000, 300, 200
        answer.f_files, answer.f_ffree, answer.f_favail = 50, 40, 30
        return answer

    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        if name not in self.nodes[inode].xattrs:
            raise FUSEError(pyfuse3.ENOATTR)
        return self.nodes[inode].xattrs[name]

    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        self.nodes[inode].xattrs[name] = value

    async def listxattr(self, inode: int, ctx: RequestContext) -> list[bytes]:
        return list(self.nodes[inode].xattrs)

    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        del self.nodes[inode].xattrs[name]

    async def access(self, inode: int, mode: int, ctx: RequestContext) -> bool:
        return True


class Control:
    """The commands of the test. Each method is one: keyword arguments in, JSON out."""

    def __init__(self, fs: ProbeFs) -> None:
        self.fs = fs

    async def serve(self, stream: trio.SocketStream) -> None:
        pending = b""
        async for chunk in stream:
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                command: Json = json.loads(line)
                answer = await getattr(self, command.pop("do"))(**command)
                await stream.send_all(json.dumps(answer).encode() + b"\n")

    async def log(self) -> list[Json]:
        return self.fs.log

    async def forget_log(self) -> None:
        self.fs.log.clear()

    async def wait_for(self, op: str, name: str | None, count: int) -> None:
        async with self.fs.news:
            while sum(r["op"] == op and name in {None, r["name"]} for r in self.fs.log) < count:
                await self.fs.news.wait()

    async def rule(self, **rule: Any) -> None:
        self.fs.rules.append(rule)

    async def clear_rules(self) -> None:
        self.fs.rules.clear()

    async def release_gate(self, gate: str) -> None:
        self.fs.gates.setdefault(gate, trio.Event()).set()

    async def make(self, name: str, data: str, mode: int, **changes: Any) -> None:
        self.fs.add(pyfuse3.ROOT_INODE, os.fsencode(name), mode)
        await self.change(name, data=data, **changes)

    async def change(self, name: str, **changes: Any) -> None:
        node = self.fs.child(pyfuse3.ROOT_INODE, os.fsencode(name))
        for key, value in changes.items():
            setattr(node, key, bytearray(value.encode()) if key == "data" else value)

    async def unmake(self, name: str) -> None:
        self.fs.remove(pyfuse3.ROOT_INODE, os.fsencode(name))

    async def data(self, name: str) -> str:
        return self.fs.child(pyfuse3.ROOT_INODE, os.fsencode(name)).data.decode()

    async def lookups(self) -> dict[int, int]:
        return {inode: count for inode, count in self.fs.lookups.items() if count}

    async def invalidate_inode(self, inode: int, attr_only: bool) -> int:
        return await self._notify(partial(pyfuse3.invalidate_inode, inode, attr_only))

    async def invalidate_entry(self, name: str, deleted: int) -> int:
        return await self._notify(partial(pyfuse3.invalidate_entry, pyfuse3.ROOT_INODE, os.fsencode(name), deleted))

    async def _notify(self, call: Callable[[], None]) -> int:
        try:
            await trio.to_thread.run_sync(call, abandon_on_cancel=True)
        except OSError as problem:
            return problem.errno or 0
        return 0


async def main(mountpoint: str, socket_path: str, config: Json) -> None:
    fs = ProbeFs(config)
    pyfuse3.init(fs, mountpoint, {*pyfuse3.default_options, "fsname=probefs", *config["options"]})
    try:
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(socket_path)
        listener.listen(8)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, Control(fs).serve, [trio.SocketListener(listener)])
            await pyfuse3.main(max_tasks=500)
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], DEFAULTS | json.loads(sys.argv[3]))
