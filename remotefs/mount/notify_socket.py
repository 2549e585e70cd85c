"""Tells the service manager that started the mount how it is doing: systemd's protocol for `Type=notify`.

A message is a datagram of lines `NAME=value` to the socket that NOTIFY_SOCKET names (sd_notify(3)). There is no library
for these lines that is kept up and does without a C binding; none keeps what the service manager could not take.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

_log = logging.getLogger(__name__)
VARIABLE = "NOTIFY_SOCKET"
_MOST_CHARACTERS = 200
_US = 1_000_000


class NotifySocket:
    """Sends to the service manager without ever waiting for it: what it cannot take now goes with the next message."""

    def __init__(self, address: str) -> None:
        # An abstract address begins with NUL, which no variable can hold.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._owed: dict[str, str] = {}

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> NotifySocket | None:
        """Return the socket that the environment names, None without one.

        The variable is taken out: programs that the mount starts are not to speak for it.
        """
        address = environ.pop(VARIABLE, "")
        if not address:
            return None
        if not address.startswith(("/", "@")):
            _log.warning(
                "%s=%s is not the address of a Unix socket: the service manager is told nothing", VARIABLE, address
            )
            return None
        return cls(address)

    def ready(self) -> None:
        """Tell that the mount answers."""
        self._send(READY="1", MAINPID=str(os.getpid()))

    def status(self, text: str) -> None:
        """Tell the state of the mount as a line for `systemctl status`."""
        shown = "".join(c if c.isprintable() else " " for c in text)
        self._send(STATUS=shown if len(shown) <= _MOST_CHARACTERS else f"{shown[: _MOST_CHARACTERS - 1]}…")

    def extend(self, seconds: float) -> None:
        """Ask for that much time from now on before the start or the stop counts as failed."""
        self._send(EXTEND_TIMEOUT_USEC=str(int(seconds * _US)))

    def stopping(self) -> None:
        """Tell that the mount ends, for certain: the service manager ends it if that takes too long."""
        self._send(STOPPING="1")

    def flush(self) -> None:
        """Send what the service manager could not take before."""
        if self._owed:
            self._send()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, **fields: str) -> None:
        self._owed |= fields
        message = "".join(f"{name}={value}\n" for name, value in self._owed.items())
        try:
            self._socket.sendto(message.encode(errors="replace"), self._address)
        except BlockingIOError:
            return
        except OSError as error:
            _log.warning("the service manager cannot be told how the mount is: %s", error)
        self._owed.clear()
