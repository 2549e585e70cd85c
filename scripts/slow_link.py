"""A network in a process: `python scripts/slow_link.py HOST PORT [--rtt-ms 30] [--mb-per-s 40]`.

Listens on a free port of loopback, prints it, and forwards each connection to HOST:PORT as if it went over a link with
that round-trip time and that many 10^6 bytes a second for each connection and direction. A new connection costs one
round trip more. A line on its input is answered by one of JSON: connections, HTTP requests and bytes each way so far.
"""

from __future__ import annotations

import argparse
import json
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

# What can be on its way at one time: so many pieces, more than 40 MB/s bring in 15 ms.
_PIECES = 32
_PIECE_BYTES = 1 << 17
# A sender is held back once the line is busy for longer than this, as by a full socket buffer.
_LAG_S = 0.005
_REQUEST_LINE_END = b" HTTP/1.1\r\n"


@dataclass
class Traffic:
    """What went over the link, counted by several threads."""

    connections: int = 0
    requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **amounts: int) -> None:
        with self.lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def line(self) -> str:
        with self.lock:
            return json.dumps({name: value for name, value in vars(self).items() if name != "lock"})


@dataclass(frozen=True)
class Link:
    """The two properties of the network."""

    rtt_s: float
    bytes_per_s: float


class Pace:
    """When a piece that comes in now arrives at the other end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._free_at = 0.0

    def arrival(self, size: int) -> float:
        """Seconds of the monotonic clock."""
        self._free_at = max(self._free_at, time.monotonic()) + size / self._link.bytes_per_s
        return self._free_at + self._link.rtt_s / 2

    def hold_back(self) -> None:
        wait_until(self._free_at - _LAG_S)


def forward(source: socket.socket, target: socket.socket, link: Link, count: Callable[[bytes], None]) -> None:
    """One direction of a connection, until either end closes it."""
    pieces: queue.Queue[tuple[float, bytes]] = queue.Queue(_PIECES)
    delivery = started(deliver, pieces, target, source)
    pace = Pace(link)
    with suppress(OSError):
        while piece := source.recv(_PIECE_BYTES):
            count(piece)
            pieces.put((pace.arrival(len(piece)), piece))
            pace.hold_back()
    pieces.put((pace.arrival(0), b""))
    delivery.join()


def deliver(pieces: queue.Queue[tuple[float, bytes]], target: socket.socket, source: socket.socket) -> None:
    gone = False
    while True:
        due, piece = pieces.get()
        if not piece:
            break
        if gone:
            continue
        wait_until(due)
        try:
            target.sendall(piece)
        except OSError:
            gone = True
            with suppress(OSError):
                source.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def connect(client: socket.socket, address: tuple[str, int], link: Link, traffic: Traffic) -> None:
    tail = b""

    def count_up(piece: bytes) -> None:
        nonlocal tail
        seen = tail + piece
        traffic.add(bytes_up=len(piece), requests=seen.count(_REQUEST_LINE_END))
        tail = seen[-len(_REQUEST_LINE_END) + 1 :]

    traffic.add(connections=1)
    with client, socket.create_connection(address) as server:
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(link.rtt_s)
        up = started(forward, client, server, link, count_up)
        forward(server, client, link, lambda piece: traffic.add(bytes_down=len(piece)))
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        up.join()


def serve(address: tuple[str, int], link: Link, traffic: Traffic, listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        started(connect, client, address, link, traffic)


def started(act: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=act, args=arguments, daemon=True)
    thread.start()
    return thread


def wait_until(moment: float) -> None:
    if (left := moment - time.monotonic()) > 0:
        time.sleep(left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--rtt-ms", type=float, default=30.0)
    parser.add_argument("--mb-per-s", type=float, default=40.0)
    given = parser.parse_args()
    traffic = Traffic()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    link = Link(given.rtt_ms / 1000, given.mb_per_s * 1e6)
    started(serve, (given.host, given.port), link, traffic, listener)
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(traffic.line(), flush=True)


if __name__ == "__main__":
    main()
