"""Asynchronous writes of Linux (io_submit(2)), which the standard library does not have."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
from types import TracebackType

_libc = ctypes.CDLL(None, use_errno=True)
# io_setup, io_destroy, io_submit, io_getevents
_NUMBERS = {"x86_64": (206, 207, 209, 208), "aarch64": (0, 1, 2, 4)}
_SETUP, _DESTROY, _SUBMIT, _GETEVENTS = _NUMBERS.get(platform.machine(), (0, 0, 0, 0))
_PWRITE = 1
_EVENT = struct.Struct("QQqq")


class AsyncWriter:
    """Writes from mapped memory, one at a time: `begin` returns at once, `end` waits for the bytes."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = (ctypes.c_char * len(memory)).from_buffer(memory)
        self._context = ctypes.c_ulong()
        self._block = ctypes.create_string_buffer(64)
        self._call(_SETUP, 1, ctypes.byref(self._context))

    def __enter__(self) -> AsyncWriter:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._call(_DESTROY, self._context)
        del self._memory

    def begin(self, fd: int, offset: int = 0) -> None:
        """Hand all of the memory to the kernel, to be written at `offset`."""
        address = ctypes.addressof(self._memory)
        # data, key and flags, opcode, priority, descriptor, buffer, length, offset, reserved, flags, eventfd
        struct.pack_into(
            "QIIHhIQQqQII", self._block, 0, 0, 0, 0, _PWRITE, 0, fd, address, len(self._memory), offset, 0, 0, 0
        )
        blocks = (ctypes.c_void_p * 1)(ctypes.addressof(self._block))
        self._call(_SUBMIT, self._context, 1, blocks)

    def end(self) -> int:
        """The number of bytes that were written."""
        event = ctypes.create_string_buffer(_EVENT.size)
        self._call(_GETEVENTS, self._context, 1, 1, event, None)
        result: int = _EVENT.unpack(event.raw)[2]
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    @staticmethod
    def _call(number: int, *arguments: object) -> None:
        if _libc.syscall(number, *arguments) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
