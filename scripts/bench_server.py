"""Throughput and memory of the local server: `python scripts/bench_server.py [--root DIR] [--mb 450]`.

Prints JSON: MB are 10^6 bytes. The client is a bare socket, so that the server is what is measured. DIR on a tmpfs
(/dev/shm) leaves the disk out of it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.server_process import ServerProcess, running_server

_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.bin"\r\n\r\n'
_TAIL = b"\r\n--b--\r\n"
_MB = 1_000_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--root", type=Path, default=None)
    arguments.add_argument("--mb", type=int, default=450)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=given.root) as folder:
        source = Path(folder) / "source"
        with source.open("wb") as file:
            for _ in range(given.mb):
                file.write(os.urandom(_MB))
        with running_server(Path(folder) / "root") as server:
            print(json.dumps(measured(server, source), indent=2))


def measured(server: ServerProcess, source: Path) -> dict[str, Any]:
    idle = memory_mb(server)
    uploads = [upload(server, source) for _ in range(3)]
    file_id = uploads[0][1]
    downloads = [download(server, file_id) for _ in range(3)]
    metadata = f"GET /v1/files/{file_id} HTTP/1.1\r\n"
    return {
        "up_mb_per_s": [round(speed) for speed, _ in uploads],
        "down_mb_per_s": [round(speed) for speed in downloads],
        "metadata_per_s_1_connection": round(rate(lambda: many(server, metadata, 2000), 2000)),
        "metadata_per_s_8_connections": round(rate(lambda: parallel(server, metadata, 500), 4000)),
        "small_uploads_per_s_1_connection": round(rate(lambda: many(server, *small_upload(), 100), 100)),
        "small_uploads_per_s_8_connections": round(rate(lambda: parallel(server, *small_upload(), 50), 400)),
        "idle_mb": idle,
        "peak_mb": memory_mb(server, "VmHWM"),
    }


def connect(server: ServerProcess) -> socket.socket:
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname, place.port))


def head(server: ServerProcess, first_line: str, *more: str) -> bytes:
    return "".join([first_line, "Host: x\r\n", f"x-api-key: {server.key}\r\n", *more, "\r\n"]).encode()


def form_headers(length: int) -> tuple[str, str]:
    return f"Content-Length: {length}\r\n", "Content-Type: multipart/form-data; boundary=b\r\n"


def upload(server: ServerProcess, source: Path) -> tuple[float, str]:
    size = source.stat().st_size
    with connect(server) as connection, source.open("rb") as file:
        began = time.perf_counter()
        length = len(_HEAD) + size + len(_TAIL)
        connection.sendall(head(server, "POST /v1/files HTTP/1.1\r\n", *form_headers(length)) + _HEAD)
        connection.sendfile(file)
        connection.sendall(_TAIL)
        body = read_reply(connection)
        return size / _MB / (time.perf_counter() - began), json.loads(body)["id"]


def download(server: ServerProcess, file_id: str) -> float:
    with connect(server) as connection:
        began = time.perf_counter()
        request = head(server, f"GET /v1/files/{file_id}/content HTTP/1.1\r\n", "Connection: close\r\n")
        connection.sendall(request)
        buffer = bytearray(1 << 20)
        size = 0
        while count := connection.recv_into(buffer):
            size += count
        return size / _MB / (time.perf_counter() - began)


def read_reply(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as reply:
        length = 0
        while (line := reply.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return reply.read(length)


def small_upload() -> tuple[str, bytes]:
    return "POST /v1/files HTTP/1.1\r\n", _HEAD + bytes(1000) + _TAIL


def many(server: ServerProcess, first_line: str, *body_and_count: Any) -> None:
    *bodies, count = body_and_count
    body = bodies[0] if bodies else b""
    request = head(server, first_line, *(form_headers(len(body)) if body else ())) + body
    with connect(server) as connection:
        for _ in range(count):
            connection.sendall(request)
            read_reply(connection)


def parallel(server: ServerProcess, *arguments: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: many(server, *arguments), range(8)))


def rate(work: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def memory_mb(server: ServerProcess, field: str = "VmRSS") -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) * 1024 // _MB


main()
