"""Runs the local server as a child of the mount (`--local`): starts, watches, restarts and stops it.

Its port is chosen once and kept across restarts, so that the base URL stays valid. A root that another process serves
already is used as it is; when that server ends, one of ours takes its place at its port.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
import trio

from remotefs.cli.launch.startup import tail
from remotefs.config import Secret
from remotefs.errors import LocalError

log = logging.getLogger(__name__)

SERVE = (sys.executable, "-m", "remotefs", "serve")
# `remotefs serve` ends so when another process serves the root, and says where in ROOT/server.json.
EXIT_SERVED_ALREADY = 2
START_TIMEOUT_S = 30.0
# It finishes what it is answering; the mount has drained before, so there is little.
STOP_WAIT_S = 10.0
# Between two tries to start it again, and between two looks at a server that is not ours.
RETRY_S = 1.0
MAX_ANNOUNCEMENT_BYTES = 65536
ANNOUNCEMENT_NAME = "server.json"
LOG_NAME = "server.log"


class Announcement(msgspec.Struct, frozen=True):
    """The line that the server prints once it answers, kept also in ROOT/server.json."""

    url: str
    key_file: str | None = None


@dataclass(frozen=True)
class LocalServer:
    """A server that answers: its base URL and its key; `key` is None where it took one from its own environment."""

    url: str
    key: Secret | None

    @property
    def port(self) -> int:
        """Return the TCP port on loopback."""
        return urlsplit(self.url).port or 80


class _Running(Protocol):
    """A server that answers, ours or not."""

    @property
    def server(self) -> LocalServer:
        """Return where it answers."""

    async def gone(self) -> None:
        """Return when it no longer answers."""

    async def stop(self) -> None:
        """End it, if it is ours."""


@contextlib.asynccontextmanager
async def local_server(root: Path, *, program: Sequence[str] = SERVE) -> AsyncIterator[LocalServer]:
    """Yield a server of `root` that runs as long as the context lasts.

    Raises LocalError, with the end of ROOT/server.log, when it does not start.
    """
    running = await _start(root, program, port=0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_keep_serving, running, root, program)
        yield running.server
        nursery.cancel_scope.cancel()


async def _keep_serving(running: _Running, root: Path, program: Sequence[str]) -> None:
    port = running.server.port
    while True:
        try:
            await running.gone()
        finally:
            await running.stop()
        log.warning("the local server of %s went away; starting it again at port %d", root, port)
        running = await _start_again(root, program, port)


async def _start_again(root: Path, program: Sequence[str], port: int) -> _Running:
    """Try for as long as it takes: without it the mount is offline, which it can be for any time."""
    while True:
        try:
            running = await _start(root, program, port)
        except LocalError as error:
            log.error("%s; trying on", error)  # noqa: TRY400 - the sentence says it all
        else:
            if running.server.port == port:
                return running
            await running.stop()
            log.error("%s is served at %s now and not at port %d; trying on", root, running.server.url, port)
        await trio.sleep(RETRY_S)


async def _start(root: Path, program: Sequence[str], port: int) -> _Running:
    try:
        child = _spawn(root, program, port)
    except OSError as error:
        raise LocalError(f"the local server cannot be started in {root}: {error.strerror}") from error
    try:
        line = await _first_line(child)
        if line is not None:
            return _Ours(_described(line), child)
        await _end_of(child)
    except BaseException:
        await _stop(child)
        raise
    await _stop(child)
    elsewhere = await _served_elsewhere(root) if child.returncode == EXIT_SERVED_ALREADY else None
    if elsewhere is None:
        raise LocalError(f"the local server of {root} did not start:\n{tail(root / LOG_NAME)}".rstrip())
    return _Theirs(elsewhere)


@dataclass(frozen=True)
class _Ours:
    server: LocalServer
    child: subprocess.Popen[bytes]

    async def gone(self) -> None:
        await _end_of(self.child)

    async def stop(self) -> None:
        await _stop(self.child)


@dataclass(frozen=True)
class _Theirs:
    server: LocalServer

    async def gone(self) -> None:
        while await _answers(self.server):  # noqa: ASYNC110 - another process tells nobody when it ends
            await trio.sleep(RETRY_S)

    async def stop(self) -> None:
        """Do nothing, because another process started it."""


def _spawn(root: Path, program: Sequence[str], port: int) -> subprocess.Popen[bytes]:
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [*program, "--root", str(root), "--port", str(port), "--exit-with-parent"]
    # Its key is its own, and the one for the real service is none of its business.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    output = os.open(root / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # A session of its own: Ctrl-C is for the mount, which still needs the server to drain.
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            # Held open as long as this process lives: its end is what --exit-with-parent waits for.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(output)


async def _first_line(child: subprocess.Popen[bytes]) -> bytes | None:
    """Return the announcement; None when the child ended before it. Raises LocalError when none comes in time."""
    assert child.stdout is not None
    line = b""
    # A descriptor of its own, for the stream closes it; the child's pipe stays open, whatever it may say later.
    async with trio.lowlevel.FdStream(os.dup(child.stdout.fileno())) as stream:
        with trio.move_on_after(START_TIMEOUT_S):
            while b"\n" not in line and len(line) < MAX_ANNOUNCEMENT_BYTES:
                piece = await stream.receive_some()
                if not piece:
                    return None
                line += piece
    if b"\n" in line:
        return line.split(b"\n")[0]
    raise LocalError(f"the local server said nothing for {START_TIMEOUT_S:.0f} s")


def _described(announcement: bytes) -> LocalServer:
    try:
        said = msgspec.json.decode(announcement, type=Announcement)
        key = Secret(Path(said.key_file).read_text(encoding="utf-8").strip()) if said.key_file else None
    except (OSError, msgspec.DecodeError) as error:
        raise LocalError(f"the local server announced itself in a way that cannot be used: {error}") from error
    return LocalServer(said.url, key)


async def _served_elsewhere(root: Path) -> LocalServer | None:
    try:
        server = _described((root / ANNOUNCEMENT_NAME).read_bytes())
    except (OSError, LocalError):
        return None
    return server if await _answers(server) else None


async def _answers(server: LocalServer) -> bool:
    try:
        stream = await trio.open_tcp_stream(urlsplit(server.url).hostname or "127.0.0.1", server.port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def _end_of(child: subprocess.Popen[bytes]) -> None:
    """Wait for the child's end and take its exit status."""
    pidfd = os.pidfd_open(child.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    child.wait()


async def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ask it to end, kill it after a while, close its pipes; not to be cancelled, because no other code would do it."""
    if child.poll() is None:
        child.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(STOP_WAIT_S):
            await _end_of(child)
    if child.poll() is None:
        child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
