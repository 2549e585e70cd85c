"""The running mount's end of the control socket."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import trio

from remotefs import __version__
from remotefs.control.address import short_address
from remotefs.control.messages.base import Command, Progress, Report
from remotefs.control.protocol import (
    MAX_REQUEST_BYTES,
    MOUNT_AGAIN,
    Reply,
    Request,
    decode_params,
    encode,
    failure_of,
)
from remotefs.errors import AccessDenied, InvalidArgument, RemotefsError

log = logging.getLogger(__name__)

# A caller that says nothing, or takes nothing, for this long has hung: its lines are short and the way is local.
PATIENCE_S = 30.0
# Progress that a slow caller has not taken yet; more is dropped, for the next one says the same and newer.
PROGRESS_BACKLOG = 64
# SO_PEERCRED gives `struct ucred`: pid, uid, gid (unix(7)).
UCRED = struct.Struct("iII")
ROOT_UID = 0


class ControlServer:
    """Answers commands on the unix socket at `path`, 0600, from processes of the mounting user or of root.

    Invariant: its process holds the lock of the state folder, so a socket file that it finds there is a leftover.
    """

    def __init__(self, path: Path, commands: Iterable[Command]) -> None:
        self.path = path
        self._commands = {command.name: command for command in commands}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `started` once callers are let in. The socket file goes at the end.

        Raises OSError when the socket cannot be made.
        """
        with _listening(self.path) as sock:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, self._serve, [listener])
                task_status.started()

    async def _serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection, which carries one command. The last line ends everything that runs for it."""
        outbox, lines = trio.open_memory_channel[Reply](PROGRESS_BACKLOG)

        def report(progress: Progress) -> None:
            with contextlib.suppress(trio.WouldBlock, trio.ClosedResourceError):
                outbox.send_nowait(Reply(progress=progress))

        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(_forward, lines, stream, nursery.cancel_scope)
            async with outbox:
                await outbox.send(await self._reply(stream, report, nursery))

    async def _reply(self, stream: trio.SocketStream, report: Report, nursery: trio.Nursery) -> Reply:
        """Return the last line of the connection; no error of a command gets past this."""
        try:
            # Read first: a caller that is refused in the middle of its sentence would not hear why.
            line = await _request_line(stream)
            _check_peer(stream)
            command, params = self._parse(line)
            nursery.start_soon(_cancel_at_hang_up, stream, nursery.cancel_scope)
            result = msgspec.json.encode(await command.run(params, report))
        except RemotefsError as error:
            return Reply(error=failure_of(error))
        except Exception:
            log.exception("internal error in a control command")
            return Reply(error=failure_of(RemotefsError("internal error in the mount; its log has the details")))
        return Reply(result=msgspec.Raw(result))

    def _parse(self, line: bytes) -> tuple[Command, msgspec.Struct]:
        try:
            request = msgspec.json.decode(line, type=Request)
            command = self._commands.get(request.command)
            if command is None:
                raise InvalidArgument(
                    f"this mount was started by remotefs {__version__}, which knows no command {request.command!r}; "
                    f"{MOUNT_AGAIN}"
                )
            return command, decode_params(command.name, request.params, command.params)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"not a control request: {error}") from error


async def _request_line(stream: trio.SocketStream) -> bytes:
    line = bytearray()
    with trio.move_on_after(PATIENCE_S), contextlib.suppress(trio.BrokenResourceError):
        while not line.endswith(b"\n"):
            piece = await stream.receive_some()
            line += piece
            if not piece or len(line) > MAX_REQUEST_BYTES:
                break
    if not line.endswith(b"\n"):
        raise InvalidArgument("not a control request: no whole line came")
    return bytes(line)


def _check_peer(stream: trio.SocketStream) -> None:
    """Raise AccessDenied for another user, to whom a descriptor may have been handed past the file's mode."""
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
    assert isinstance(raw, bytes)
    _, uid, _ = UCRED.unpack(raw)
    if uid not in {os.geteuid(), ROOT_UID}:
        raise AccessDenied("only the user who mounted it, or root, may control this mount")


async def _forward(
    lines: trio.MemoryReceiveChannel[Reply], stream: trio.SocketStream, connection: trio.CancelScope
) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.TooSlowError):
        async for reply in lines:
            with trio.fail_after(PATIENCE_S):
                await stream.send_all(encode(reply))
    connection.cancel()


async def _cancel_at_hang_up(stream: trio.SocketStream, connection: trio.CancelScope) -> None:
    """Cancel the command when its caller hangs up; a caller sends nothing after its request."""
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.receive_some()
    connection.cancel()


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        path.unlink(missing_ok=True)
        with short_address(path) as address:
            sock.bind(address)
        try:
            # Nobody can connect before listen(), so the mode is right from the first caller on.
            path.chmod(0o600)
            sock.listen(16)
            yield sock
        finally:
            path.unlink(missing_ok=True)
