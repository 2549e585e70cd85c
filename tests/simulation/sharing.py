"""A user of one machine on what all machines share: whole files in `shared/`, and the files of others.

Nobody can say beforehand which name such a file has (N3) or when another machine sees it. So each content is unlike all
others, and the ledger keeps which of them somebody relies on.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from remotefs.store.records import Inode
from tests.simulation.calls import Calls
from tests.simulation.ledger import Ledger
from tests.simulation.life import Step, content
from tests.simulation.machine import Machine

_FOLDER = "shared"


class Sharer:
    """Makes the calls of one user; `slot` is a descriptor that no other uses."""

    def __init__(self, machine: Machine, ledger: Ledger, name: str, slot: int) -> None:
        self._machine = machine
        self._calls = Calls(machine, name)
        self._ledger = ledger
        self._name = name
        self._slot = slot

    async def make(self, step: Step) -> None:
        """Carry out a step. Raises CutShort."""
        verb, path, *args = step
        got = await getattr(self, f"_{verb}")(f"{_FOLDER}/{path}", *args)
        shown = f": {errno.errorcode[got.errno or 0]}" if isinstance(got, OSError) else ""
        self._machine.tell(f"{self._name} {verb} {path} {' '.join(map(str, args))}{shown}")

    async def _make_folders(self, path: str) -> None:
        for at in range(1, path.count("/") + 1):
            await self._calls.ask("mkdir", "/".join(path.split("/")[:at]), 0o755)

    async def _give_up(self, path: str) -> None:
        """Note what a user gives up who replaces or removes what the path shows now; without an await in between."""
        inode = await self._calls.ask("inode", path)
        if isinstance(inode, Inode) and inode.is_file:
            self._ledger.give_up(self._machine.number, inode.file_id, self._machine.written.get(inode.ino))

    def _acknowledge(self, path: str, data: bytes) -> None:
        self._ledger.acknowledged[data] = (self._machine.number, path)

    async def _put(self, path: str, size: int, stamp: int) -> Any:
        """`echo data > path`."""
        data = content(size, stamp)
        await self._make_folders(path)
        await self._give_up(path)
        opened = await self._calls.ask("open", self._slot, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        if isinstance(opened, OSError):
            return opened
        return await self._write_and_close(path, 0, data, data)

    async def _write_and_close(self, path: str, at: int, data: bytes, whole: bytes) -> Any:
        ino = self._calls.kernel()._slots[self._slot].ino
        self._machine.written[ino] = whole
        written = await self._calls.ask("write", self._slot, at, data)
        closed = await self._calls.ask("close", self._slot)
        failed = next((one for one in (written, closed) if isinstance(one, OSError)), None)
        # Two users at once may have written: then nobody can say what the file has.
        if failed is None and self._machine.written.get(ino) == whole:
            self._acknowledge(path, whole)
        return failed

    async def _patch(self, path: str, at: int, size: int, stamp: int) -> Any:
        """Write into a file that can be read."""
        opened = await self._calls.ask("open", self._slot, path, os.O_RDWR, 0o644)
        if isinstance(opened, OSError):
            return opened
        before = await self._calls.ask("read", self._slot, 0, 1 << 20)
        if isinstance(before, OSError):
            await self._calls.ask("close", self._slot)
            return before
        data = content(size, stamp)
        ino = self._calls.kernel()._slots[self._slot].ino
        self._ledger.give_up(self._machine.number, self._calls.kernel()._fs.attributes.getattr(ino).file_id, before)
        return await self._write_and_close(path, at, data, before[:at].ljust(at, b"\0") + data + before[at + size :])

    async def _drop(self, path: str) -> Any:
        await self._give_up(path)
        return await self._calls.ask("unlink", path)

    async def _move(self, path: str, other: str) -> Any:
        target = f"{_FOLDER}/{other}"
        await self._make_folders(target)
        if not isinstance(await self._calls.ask("inode", path), OSError) and path != target:
            await self._give_up(target)
        return await self._calls.ask("rename", path, target, 0)

    async def _get(self, path: str) -> Any:
        """`cat path`: what comes has to be what an id has, or what was written here."""
        opened = await self._calls.ask("open", self._slot, path, os.O_RDONLY, 0o644)
        if isinstance(opened, OSError):
            return opened
        ino = self._calls.kernel()._slots[self._slot].ino
        data = await self._calls.ask("read", self._slot, 0, 1 << 20)
        inode = self._calls.kernel()._fs.attributes.getattr(ino)
        true = self._ledger.contents.get(inode.file_id or "")
        if isinstance(data, bytes) and true is not None and data not in {true, self._machine.written.get(ino)}:
            self._machine.complaints.append(f"wrong bytes: {path} has {data[:30]!r}, not {true[:30]!r}")
        await self._calls.ask("close", self._slot)
        return data

    async def _list(self, path: str) -> Any:
        return await self._calls.ask("names", path.rpartition("/")[0])
