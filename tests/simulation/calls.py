"""The system calls of a user of one machine, each with what its result is and how long it may take."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Any

import trio

from remotefs.errors import RemotefsError
from remotefs.fuse.translate import errno_of
from tests.model.kernel import Kernel
from tests.simulation.machine import Machine

# The calls that change names and attributes.
NAMES = frozenset({
    "mkdir",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "rename",
    "chmod",
    "setxattr",
    "removexattr",
    "settype",
})
# How long a call on names may take, and any other: with a slow disk, and what a reader and a close wait (R7, W2), in
# seconds.
_LONGEST_NAME_S, _LONGEST_S = 0.0, 60.0


class CutShort(Exception):
    """The machine went down in the middle of a call."""


class Calls:
    """Makes the calls of the user `name`; what is wrong with one goes to the complaints of the machine."""

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self._name = name

    def kernel(self) -> Kernel:
        """Return the kernel's side of the mount. Raises CutShort while there is none."""
        if not self._machine.up.is_set() or self._machine.kernel is None:
            raise CutShort
        return self._machine.kernel

    async def ask(self, verb: str, *args: Any) -> Any:
        """Make a call; return its result or its error. Raises CutShort."""
        kernel, machine = self.kernel(), self._machine
        machine.parts.refresh.note_use()  # type: ignore[union-attr]  # a kernel has its parts
        began_s = trio.current_time()
        machine.asking += 1
        try:
            result = await self._result(kernel, verb, args)
        finally:
            machine.asking -= 1
        if (took_s := trio.current_time() - began_s) > (_LONGEST_NAME_S if verb in NAMES else _LONGEST_S):
            machine.complaints.append(f"held: {self._name} waits {took_s:.0f} s for {verb} {args[:2]}")
        if machine.kernel is not kernel or not machine.up.is_set():
            raise CutShort
        if not machine.asking:
            with suppress(RemotefsError):  # a FORGET has no reply
                kernel.forget(all_but_open=False)
        return result

    async def _result(self, kernel: Kernel, verb: str, args: tuple[Any, ...]) -> Any:
        try:
            return await getattr(kernel, verb)(*args)
        except RemotefsError as error:
            return OSError(errno_of(error)[0], str(error))
        except OSError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            self._machine.complaints.append(f"broken: {verb} {args}: {error!r}")
            return OSError(errno.EIO, repr(error))
