"""What somebody without the key can do to a server, on real sockets: take little of it, and nothing from others."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.server_process import ServerProcess, cli, resident_peak_kib, running_server, with_settings

HALF_HEAD = b"GET /v1/files HTTP/1.1\r\nHost: x\r\nx-filler: " + b"a" * 8000
HALF_BODY = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 500000000\r\n\r\n" + b"a" * 60_000
WITHOUT_KEY = b"GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n"
# What the server may work on all that strangers send, so that nobody waits longer for it on a machine of his own; and
# what an answer may take, in seconds, on one that is busy with the other tests.
WORK_S = 1.0
PROMPT_S = 10.0
GROWTH_KIB = 16_000
# Nothing here should take that long.
PATIENCE_S = 20


def cpu_s(server: ServerProcess) -> float:
    """The seconds that the server's process has worked."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(server: ServerProcess) -> socket.socket:
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname, place.port), timeout=PATIENCE_S)


def with_key(server: ServerProcess, line: str = "GET /v1/files HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join([line, "Host: x", f"x-api-key: {server.key}", *headers, "", ""]).encode()


def until_closed(connection: socket.socket) -> bytes:
    """What the server sends until it closes the connection, politely or not."""
    received = b""
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return received


def send_until_closed(connection: socket.socket, piece: bytes, times: int) -> int:
    """Send `piece` so many times; the bytes that were taken before the server closed the connection."""
    for number in range(times):
        try:
            connection.sendall(piece)
        except OSError:
            return number * len(piece)
    return times * len(piece)


def one_reply(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """The status and the JSON of the next reply, on a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < _length(received):
        piece = connection.recv(1 << 16)
        assert piece, received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def _length(received: bytes) -> int:
    line = next(each for each in received.lower().split(b"\r\n") if each.startswith(b"content-length:"))
    return int(line.partition(b":")[2])


@contextmanager
def watched(server: ServerProcess) -> Iterator[list[float]]:
    """Ask for a listing over and over in a thread, each time on a new connection; how long each took, in seconds."""
    took: list[float] = []
    failed: list[object] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            begin = time.monotonic()
            try:
                # Not by a client library: to make a client takes longer than the server does for its answer.
                with connect(server) as connection:
                    connection.sendall(with_key(server))
                    status, _ = one_reply(connection)
            except (OSError, AssertionError) as error:
                failed.append(error)
            else:
                if status != 200:
                    failed.append(status)
            took.append(time.monotonic() - begin)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
        before = len(took)
        while thread.is_alive() and len(took) < before + 3:
            time.sleep(0.01)
    finally:
        ended.set()
        thread.join()
    assert failed == []


@pytest.mark.parametrize("descriptors", [None, 256])
@pytest.mark.parametrize("half", [HALF_HEAD, HALF_BODY], ids=["head", "body"])
def test_400_half_requests_and_an_endless_header_hold_up_nobody(
    tmp_path: Path, half: bytes, descriptors: int | None
) -> None:
    under = [] if descriptors is None else ["prlimit", f"--nofile={descriptors}"]
    command = [*under, *cli("serve", "--root", str(tmp_path))]
    with running_server(tmp_path, command=command) as server, ExitStack() as cleanup:
        httpx.get(server.url + "/v1/files", headers=server.headers)
        before, worked_s = resident_peak_kib(server), cpu_s(server)
        with watched(server) as took:
            for _ in range(400):
                cleanup.enter_context(connect(server)).sendall(half)
            with connect(server) as endless:
                endless.sendall(b"GET /v1/files HTTP/1.1\r\nx-filler: ")
                assert send_until_closed(endless, b"a" * 1_000_000, 300) < 10_000_000
        # A listing costs the server 5 ms at most.
        assert cpu_s(server) - worked_s < WORK_S + 0.005 * len(took)
        assert max(took) < PROMPT_S
        assert resident_peak_kib(server) - before < GROWTH_KIB


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (b"GET /v1/files HTTP/1.1\r\nx-filler: ", b"a"),
        (b"GET /v1/files HTTP/1.1\r\n", b"a: b\r\n"),
        (b"GET /", b"a"),
        (b"", b"\r\n"),
        (b"POST /v1/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", b"b"),
        (b"POST /v1/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: ", b"b"),
    ],
    ids=["value", "headers", "path", "lines", "chunk-extension", "trailer"],
)
def test_bytes_that_bring_nothing_are_not_taken_for_ever(tmp_path: Path, head: bytes, endless: bytes) -> None:
    with running_server(tmp_path) as server, connect(server) as connection:
        before = resident_peak_kib(server)
        connection.sendall(head)
        piece = endless * (64_000 // len(endless))
        assert send_until_closed(connection, piece, 2000) < 10_000_000
        assert resident_peak_kib(server) - before < GROWTH_KIB


def test_a_head_that_is_too_long_is_told_so(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, connect(server) as connection:
        connection.sendall(b"GET /v1/files HTTP/1.1\r\nx-filler: " + b"a" * 40_000)
        status, body = one_reply(connection)
        assert (status, body["type"]) == (431, "error")
        assert connection.recv(1) == b""


def test_a_listing_of_as_many_ids_as_it_may_have_fits(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        query = "&".join("ids[]=file_" + "x" * 40 for _ in range(100))
        assert httpx.get(f"{server.url}/v1/files?{query}", headers=server.headers).json()["data"] == []


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path, command=with_settings(tmp_path, head_s=0.3)) as server:
        yield server


@pytest.mark.parametrize("begun", [b"", b"GET /v1/files HTTP/1.1\r\n", b"\r\n"])
def test_a_request_that_does_not_come_is_not_waited_for(impatient: ServerProcess, begun: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(begun)
        status, _ = one_reply(connection)
        assert status == 408
        assert until_closed(connection) == b""


def test_a_head_that_drips_is_not_waited_for(impatient: ServerProcess) -> None:
    with connect(impatient) as connection:
        for byte in b"GET /v1/files HTTP/1.1\r\n" + b"a" * 10_000:
            try:
                connection.send(bytes([byte]))
            except OSError:
                break
            time.sleep(0.005)
        else:
            pytest.fail("the server took all of it")


def test_after_an_answer_too_the_next_request_has_to_come_in_time(impatient: ServerProcess) -> None:
    with connect(impatient) as connection:
        connection.sendall(with_key(impatient))
        assert one_reply(connection)[0] == 200
        connection.sendall(b"GET /v1/fi")
        assert one_reply(connection)[0] == 408
        assert until_closed(connection) == b""


def test_a_body_without_the_key_is_not_waited_for(impatient: ServerProcess) -> None:
    with connect(impatient) as connection:
        connection.sendall(HALF_BODY)
        assert until_closed(connection) == b""


def test_one_who_has_the_key_may_take_long(impatient: ServerProcess) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b--\r\n'
    headers = (f"Content-Length: {len(body)}", "Content-Type: multipart/form-data; boundary=b")
    with connect(impatient) as slow, connect(impatient) as stranger:
        slow.sendall(with_key(impatient, "POST /v1/files HTTP/1.1", *headers) + body[:30])
        assert one_reply(stranger)[0] == 408
        with connect(impatient) as later:
            assert one_reply(later)[0] == 408
        slow.sendall(body[30:])
        status, made = one_reply(slow)
        assert (status, made["size_bytes"]) == (200, 3)


def test_a_large_upload_without_the_key_is_cut_and_told_why(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        with connect(server) as connection:
            connection.sendall(HALF_BODY)
            assert send_until_closed(connection, bytes(1_000_000), 500) < 20_000_000
            assert until_closed(connection).startswith(b"HTTP/1.1 401")
        content = bytes(30_000_000)
        for _ in range(5):
            reply = httpx.post(server.url + "/v1/files", files={"file": ("a.bin", content)}, timeout=PATIENCE_S)
            assert (reply.status_code, reply.headers["connection"]) == (401, "close")
            assert reply.json()["error"]["type"] == "authentication_error"


def test_the_stranger_who_waited_longest_makes_room(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, command=with_settings(tmp_path, connections=3)) as server,
        connect(server) as guest,
        connect(server) as first,
        connect(server) as second,
    ):
        guest.sendall(with_key(server))
        assert one_reply(guest)[0] == 200
        for each in (first, second):
            each.sendall(WITHOUT_KEY)
            assert one_reply(each)[0] == 401
        reply = httpx.get(server.url + "/v1/files", headers=server.headers)
        assert reply.status_code == 200
        assert until_closed(first) == b""
        for each, status in ((second, 401), (guest, 200)):
            each.sendall(WITHOUT_KEY if each is second else with_key(server))
            assert one_reply(each)[0] == status


def test_when_all_are_at_work_a_new_one_is_told_to_come_again(tmp_path: Path) -> None:
    headers = ("Content-Length: 1000", "Content-Type: multipart/form-data; boundary=b")
    upload = "POST /v1/files HTTP/1.1"
    with (
        running_server(tmp_path, command=with_settings(tmp_path, connections=2)) as server,
        connect(server) as first,
        connect(server) as second,
    ):
        for each in (first, second):
            # The 100 comes when the request has been let in.
            each.sendall(with_key(server, upload, *headers, "Expect: 100-continue"))
            assert each.recv(1 << 16).startswith(b"HTTP/1.1 100")
        reply = httpx.get(server.url + "/v1/files", headers=server.headers)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert reply.json()["error"]["type"] == "api_error"


def test_a_thousand_requests_sent_ahead_are_not_kept(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, connect(server) as connection:
        before = resident_peak_kib(server)
        send_until_closed(connection, WITHOUT_KEY * 5000, 100)
        until_closed(connection)
        assert resident_peak_kib(server) - before < GROWTH_KIB
        assert httpx.get(server.url + "/v1/files", headers=server.headers).status_code == 200


def test_malformed_requests_write_nothing_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file, running_server(tmp_path / "root", stderr=file.fileno()) as server:
        for malformed in (b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"):
            with connect(server) as connection:
                connection.sendall(malformed)
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 4")
    assert log.read_text() == ""
