"""A service manager as far as a mount sees one: a socket, an environment, a process in the foreground."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import KEY, FaultyServer
from tests.mount.support import PATIENCE_S, detach, environment, eventually, is_mounted


class Manager:
    """Takes the datagrams of a service."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.settimeout(PATIENCE_S)
        self.told: list[dict[str, str]] = []

    def close(self) -> None:
        self.socket.close()

    def until(self, name: str, value: str | None = None) -> dict[str, str]:
        """Wait for a message with a field; the message."""
        while True:
            message = self._next()
            if name in message and value in (None, message[name]):
                return message

    def rest(self) -> list[dict[str, str]]:
        """What has come and was not looked at."""
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._next()
        self.socket.settimeout(PATIENCE_S)
        return self.told

    def statuses(self) -> list[str]:
        return [message["STATUS"] for message in self.rest() if "STATUS" in message]

    def _next(self) -> dict[str, str]:
        message = dict(line.split("=", 1) for line in self.socket.recv(65536).decode().splitlines())
        self.told.append(message)
        return message


@dataclass
class Service:
    """A mount in the foreground, as a service manager runs it."""

    path: Path
    state: Path
    manager: Manager
    env: dict[str, str]
    output: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        command = [sys.executable, "-m", "remotefs", "mount", "--foreground", self.path, "--state-dir", self.state]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def stop(self) -> int:
        """As systemctl stop without ExecStop does; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def said(self) -> str:
        return self.output.read_text(errors="replace")


@contextmanager
def service(
    folder: Path, server: FaultyServer, *, address: str | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """A service that runs; it is ended whatever happens."""
    path = folder / "mnt"
    path.mkdir(parents=True)
    with closing(Manager(address or str(folder / "notify"))) as manager:
        env = environment(KEY, {"REMOTEFS_SERVICE_BASE_URL": server.url, **(settings or {})})
        env["NOTIFY_SOCKET"] = manager.address
        running = Service(path, folder / "state", manager, env, folder / "output")
        running.start()
        try:
            yield running
        finally:
            server.script.clear()
            detach(path)
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    running.process.wait(PATIENCE_S)
            if running.process.poll() is None:
                os.kill(running.process.pid, signal.SIGKILL)
                running.process.wait()
            assert not is_mounted(path)
            print(running.said()[-6000:])


def eventually_ready(running: Service) -> None:
    message = running.manager.until("READY", "1")
    assert message["MAINPID"] == str(running.process.pid)
    eventually(lambda: is_mounted(running.path), timeout=1)
