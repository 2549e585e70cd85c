"""A user of one machine: carries out steps as system calls, and sees that each does what the model says.

All users of a machine share the folder `m0`, `m1` … of which the model knows every name and byte. As in the kernel, calls
that change names are one at a time, and so are those on the bytes of one file. What a call that fails has done is looked
at, and excused only while something is wrong with the disk or the network.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.model.model import Description, Node
from tests.simulation.calls import NAMES, Calls, CutShort
from tests.simulation.history import brief, undo_of
from tests.simulation.life import Step, content
from tests.simulation.machine import Machine

_FLAGS = {
    "r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR, "append": os.O_WRONLY | os.O_APPEND | os.O_CREAT,
    "new": os.O_RDWR | os.O_CREAT, "trunc": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "excl": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}  # fmt: skip
# What a call may fail with while the disk or the network is in trouble.
_TROUBLES = frozenset({errno.EIO, errno.ENOSPC, errno.ETIMEDOUT, errno.EDQUOT, errno.EROFS, errno.EAGAIN, errno.ESTALE,
                       errno.EMFILE, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EFBIG, errno.EINVAL})  # fmt: skip


@dataclass
class Own:
    """The locks on a machine's own files, as its kernel has them; new ones after each crash."""

    names: trio.Lock = field(default_factory=trio.Lock)
    files: dict[Node, trio.Lock] = field(default_factory=dict)

    def file(self, node: Node) -> trio.Lock:
        """Return the lock of one file."""
        return self.files.setdefault(node, trio.Lock())


class Caller:
    """Makes the calls of one user."""

    def __init__(self, machine: Machine, locks: Own, name: str) -> None:
        self._machine = machine
        self._calls = Calls(machine, name)
        self._locks = locks
        self._name = name
        self._prefix = f"m{machine.number}/"
        # Descriptors through which bytes were written since their last close or sync.
        self._wrote: set[int] = set()

    async def make(self, step: Step) -> None:
        """Carry out a step; a complaint goes to the machine. Raises CutShort."""
        verb, *args = step
        if verb == "settype":
            await self._set_type(*args)
        elif verb in NAMES:
            await self._name_call(verb, args)
        elif verb == "open":
            await self._open(*args)
        elif verb == "truncate":
            await self._truncate(*args)
        elif verb == "list":
            await self._list(*args)
        else:
            await self._descriptor_call(verb, args)

    # -- the two sides

    def _expect(self, verb: str, *args: Any) -> Any:
        try:
            return getattr(self._machine.model, verb)(*args)
        except OSError as error:
            return error

    def _judge(self, what: str, got: Any, expected: Any) -> bool:
        """Compare two results; return whether the call did what it has to. Errors of a trouble are excused."""
        got_errno = got.errno if isinstance(got, OSError) else None
        wanted_errno = expected.errno if isinstance(expected, OSError) else None
        self._machine.tell(f"{self._name} {what}" + (f": {errno.errorcode[got_errno]}" if got_errno else ""))
        if got_errno == wanted_errno and (got_errno or got == expected or expected is None):
            return True
        if got_errno in _TROUBLES and self._machine.hurt:
            return False
        shown = [brief(one) if isinstance(one, bytes) else repr(one) for one in (got, expected)]
        self._machine.complaints.append(f"wrong: {self._name} {what} gave {shown[0]}, not {shown[1]}")
        return False

    # -- names

    async def _name_call(self, verb: str, args: list[Any]) -> None:
        machine = self._machine
        paths = [f"{self._prefix}{args[0]}"] + ([f"{self._prefix}{args[1]}"] if verb in {"link", "rename"} else [])
        rest = args[len(paths) :]
        extra = [0o755] if verb == "mkdir" else []
        async with self._locks.names:
            undo = undo_of(machine.model)
            try:
                got = await self._calls.ask(verb, *paths, *rest, *extra)
            except CutShort:
                # It went down in the middle of the call, which may have come to its end or not.
                if machine.kernel is not None:
                    self._expect(verb, *args, *extra)
                    machine.history.named()
                raise
            expected = self._expect(verb, *args, *extra)
            if not self._judge(_words(verb, args), got, expected):
                undo()
            machine.history.named()

    async def _set_type(self, path: str, kind: str) -> None:
        """Choose the type of a file, or of those that are made in a folder: it shows at the service alone."""
        async with self._locks.names:
            got = await self._calls.ask("settype", f"{self._prefix}{path}", kind)
            node = self._node_at(path)
            expected = None if node is not None and node.target is None else got
            self._judge(f"type {path} as {kind}", got, expected)

    async def _open(self, slot: int, path: str, how: str) -> None:
        machine, flags = self._machine, _FLAGS[how]
        await self._forget_slot(slot)
        async with self._locks.names:
            undo, before = undo_of(machine.model), self._content_at(path)
            node = self._node_at(path)
            async with _Held(self._locks.file(node) if node is not None and flags & os.O_TRUNC else None):
                self._calls.kernel()
                with self._under_way(node if flags & os.O_TRUNC else None, before, names=node is None):
                    expected = self._expect("open", slot, path, flags, 0o644)
                    made = machine.model.slots.get(slot) if not isinstance(expected, OSError) else None
                    machine.history.named()
                    if made is not None and before is not None and made.node.data != before:
                        machine.history.changed(made.node, before)
                    got = await self._calls.ask("open", slot, f"{self._prefix}{path}", flags, 0o644)
                if not self._judge(f"open {path} {how} as {slot}", got, expected):
                    await self._after_failed_open(path, undo, made)

    async def _after_failed_open(self, path: str, undo: Callable[[], None], made: Description | None) -> None:
        """Find out whether the name was made all the same."""
        undo()
        machine = self._machine
        if made is None or self._node_at(path) is not None:
            machine.history.named()
            if made is not None:
                await self._adopt(path, made.node)
            return
        if not isinstance(await self._calls.ask("inode", f"{self._prefix}{path}"), OSError):
            self._expect("open", -1, path, os.O_CREAT | os.O_WRONLY, 0o644)
            machine.model.slots.pop(-1, None)
        machine.history.named()

    # -- bytes

    async def _truncate(self, path: str, size: int) -> None:
        while True:
            node = self._node_at(path)
            async with _Held(self._locks.file(node) if node is not None else None):
                if self._node_at(path) is not node:
                    continue
                await self._change(
                    node,
                    f"truncate {path} to {size}",
                    ("truncate", f"{self._prefix}{path}", size),
                    ("truncate", path, size),
                )
                return

    async def _descriptor_call(self, verb: str, args: list[Any]) -> None:
        slot = args[0]
        description = self._machine.model.slots.get(slot)
        node = description.node if description is not None else None
        if verb in {"close", "fsync"}:
            await self._acknowledge(verb, slot, node)
            return
        if verb == "write":
            _, at, size, stamp = args
            args = [slot, at, content(size, stamp)]
        async with _Held(self._locks.file(node) if node is not None else None):
            if (now := self._machine.model.slots.get(slot)) is not description:
                raise CutShort if now is None else AssertionError("a user has its descriptors for itself")
            if verb == "write":
                self._wrote.add(slot)
            shown = [brief(one) if isinstance(one, bytes) else one for one in args]
            await self._change(node, _words(verb, shown), (verb, *args), (verb, *args))

    async def _change(self, node: Node | None, what: str, call: tuple[Any, ...], model_call: tuple[Any, ...]) -> None:
        """Make a call on the bytes of a file whose lock is held."""
        self._calls.kernel()
        before = node.data if node is not None else None
        undo = undo_of(self._machine.model)
        with self._under_way(node, before):
            expected = self._expect(*model_call)
            if node is not None and before is not None and node.data != before:
                self._machine.history.changed(node, before)
            got = await self._calls.ask(*call)
        if not self._judge(what, got, expected) and node is not None:
            after = node.data
            undo()
            if after != before:
                await self._adopt_from(call, node, after)

    async def _adopt_from(self, call: tuple[Any, ...], node: Node, after: bytes) -> None:
        if call[0] == "truncate":
            await self._adopt(call[1].removeprefix(self._prefix), node)
            return
        held = self._calls.kernel()._slots.get(call[1])
        if held is not None:
            await self._adopt_inode(held.ino, node)

    async def _adopt(self, path: str, node: Node) -> None:
        inode = await self._calls.ask("inode", f"{self._prefix}{path}")
        if not isinstance(inode, OSError):
            await self._adopt_inode(inode.ino, node)

    async def _adopt_inode(self, ino: int, node: Node) -> None:
        """After a call that failed a file has the bytes of before, of after, or of a part: take what it has."""
        data = await self._calls.ask("content", ino)
        if isinstance(data, bytes) and data != node.data:
            before, node.data = node.data, data
            self._machine.history.changed(node, before)

    async def _acknowledge(self, verb: str, slot: int, node: Node | None) -> None:
        machine = self._machine
        moment, data = machine.history.moment, node.data if node is not None else b""
        wrote, has_written = slot in self._wrote, slot in self._wrote
        expected = self._expect(verb, slot)
        got = await self._calls.ask(verb, slot)
        is_done = self._judge(f"{verb} {slot}", got, expected) and not isinstance(got, OSError)
        if is_done and node is not None and (wrote or verb == "fsync"):
            machine.history.acknowledged(node, data)
        if is_done and has_written:
            self._wrote.discard(slot)
            machine.history.names_acknowledged(moment)

    async def _forget_slot(self, slot: int) -> None:
        """Close what a descriptor was, so that dup's rules do not matter."""
        if slot in self._machine.model.slots:
            await self._descriptor_call("close", [slot])

    async def _list(self, path: str) -> None:
        async with self._locks.names:
            got = await self._calls.ask("names", f"{self._prefix}{path}".rstrip("/"))
            node = self._node_at(path) if path else self._machine.model.root
            expected: Any = OSError(errno.ENOENT, "") if node is None else OSError(errno.ENOTDIR, "")
            if node is not None and node.is_dir:
                expected = sorted(node.entries)
            elif node is not None and node.target is not None:
                expected = OSError(errno.ENOENT, "")
            if isinstance(got, OSError) and isinstance(expected, OSError):
                return
            self._judge(f"ls {path}", got, expected)

    # -- the model

    def _node_at(self, path: str) -> Node | None:
        try:
            return self._machine.model._find(path, follow=False)
        except OSError:
            return None

    def _content_at(self, path: str) -> bytes | None:
        node = self._node_at(path)
        return node.data if node is not None and node.is_file else None

    @contextmanager
    def _under_way(self, node: Node | None, before: bytes | None, *, names: bool = False) -> Iterator[None]:
        """While a call lasts, a crash may leave what was before it."""
        machine = self._machine
        if node is not None and before is not None:
            machine.under_way[node] = before
        machine.is_naming = names
        yield
        # Not in a crash: what was under way then stays so for those who judge what is left.
        machine.under_way.pop(node, None) if node is not None else None
        machine.is_naming = False


class _Held:
    """Hold a lock, if there is one."""

    def __init__(self, lock: trio.Lock | None) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        if self._lock is not None:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()


def _words(verb: str, args: list[Any]) -> str:
    return f"{verb} {' '.join(str(one) for one in args)}"
