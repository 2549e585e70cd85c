"""A proxy before an S3 server that spoils some of what goes through it, and lets new keys into listings late.

with faulty_proxy(server.port) as proxy:
    proxy.often = 0.2       # so many of the requests are spoiled
    ...
    proxy.often = 0.0       # all is well again
"""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What is done to a request; the first three come instead of an answer of the server.
KINDS = ("500", "503", "429", "dropped", "lost reply", "cut", "flipped", "late")
_LATE_S = 0.7
_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_CHANGED = re.compile(rb"<LastModified>(.*?)</LastModified>")
_OF_THE_CONNECTION = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class FaultyProxy(ThreadingHTTPServer):
    """Listens on `server_port`. `done` counts the faults by kind."""

    daemon_threads = True

    def __init__(self, behind: int, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.often = 0.0
        # Keys that came within this time are not listed, in seconds.
        self.lag_s = 0.0
        self.done: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def fault(self) -> str:
        """Return what is done to the next request; empty: nothing."""
        with self._lock:
            kind = self._random.choice(KINDS) if self._random.random() < self.often else ""
            self.done[kind or "none"] += 1
            return kind

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that break."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.server.fault()
        if fault == "dropped":
            self._hang_up()
            return
        if fault.isdigit():
            self._send(int(fault), [], b"<Error><Code>SlowDown</Code></Error>")
            return
        if fault == "late":
            time.sleep(_LATE_S)  # as a slow network would
        status, headers, answer = self._asked(body)
        if fault == "lost reply":
            self._hang_up()
            return
        if fault == "flipped" and self.command == "GET" and status in {200, 206} and answer:
            at = len(answer) // 3
            answer = answer[:at] + bytes([answer[at] ^ 4]) + answer[at + 1 :]
        if self.server.lag_s and "list-type=2" in self.path:
            answer = self._without_new_keys(answer)
        self._send(status, headers, answer, cut=fault == "cut")

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the library's names

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the server; the signature is of the name of the host that the client used."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "transfer-encoding"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.close()

    def _without_new_keys(self, listing: bytes) -> bytes:
        until = time.time() - self.server.lag_s

        def kept(entry: re.Match[bytes]) -> bytes:
            changed = _CHANGED.search(entry[0])
            is_new = changed is not None and datetime.fromisoformat(changed[1].decode()).timestamp() > until
            return b"" if is_new else entry[0]

        return _ENTRY.sub(kept, listing)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def faulty_proxy(behind: int, seed: int = 1) -> Iterator[FaultyProxy]:
    """Run a proxy before the server on the port `behind`."""
    proxy = FaultyProxy(behind, seed)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
