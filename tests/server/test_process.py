"""`remotefs serve` as people and mounts run it: ready line, key, lock, signals, kill -9."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from remotefs.server import Root, Store
from tests.server_process import ServerProcess, cli, environment, resident_peak_kib, running_server, seed_rows, start

BODY_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
BODY_TAIL = b"\r\n--b--\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path / "root", "--log-requests") as running:
        yield running


def eventually(condition: Callable[[], bool]) -> None:
    """Another process gives no event to wait for: look until it is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def connect(server: ServerProcess) -> socket.socket:
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname, place.port), timeout=20)


def begin_upload(server: ServerProcess, length: int) -> socket.socket:
    connection = connect(server)
    total = len(BODY_HEAD) + length + len(BODY_TAIL)
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nx-api-key: {server.key}\r\nContent-Length: {total}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    connection.sendall(head.encode() + BODY_HEAD)
    return connection


def until_closed(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def incoming_bytes(root: Path) -> int:
    return sum(each.stat().st_size for each in (root / "incoming").iterdir())


def is_refused(server: ServerProcess) -> bool:
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_one_line_says_where_it_is_and_where_its_key_is(tmp_path: Path) -> None:
    server = start(tmp_path / "root")
    try:
        key_file = tmp_path / "root" / "api-key"
        assert server.key == key_file.read_text().strip()
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        assert httpx.get(server.url + "/v1/files", headers=server.headers).status_code == 200
        assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == 0o700
    finally:
        assert server.stop() == 0
    assert server.process.stdout is not None
    with server.process.stdout as rest:
        assert rest.read() == ""


def test_the_key_stays_and_the_environment_wins(tmp_path: Path) -> None:
    with running_server(tmp_path) as first, running_server(tmp_path / "other") as elsewhere:
        keys = (first.key, elsewhere.key)
    with running_server(tmp_path) as again:
        assert again.key == keys[0] != keys[1]
    with running_server(tmp_path, env={"ANTHROPIC_API_KEY": "given"}) as given:
        assert given.key == "given"
        assert httpx.get(given.url + "/v1/files", headers={"x-api-key": keys[0]}).status_code == 401
        assert httpx.get(given.url + "/v1/files", headers={"x-api-key": "given"}).status_code == 200


def test_a_second_server_of_the_same_root_is_refused(server: ServerProcess) -> None:
    second = subprocess.run(
        cli("serve", "--root", str(server.root)), capture_output=True, text=True, env=environment(), check=False
    )
    assert second.returncode == 2
    assert second.stdout == ""
    assert server.url in second.stderr
    assert "Traceback" not in second.stderr
    assert httpx.get(server.url + "/v1/files", headers=server.headers).status_code == 200


def test_a_server_that_may_open_too_few_files_says_so(tmp_path: Path) -> None:
    command = ["prlimit", "--nofile=64", *cli("serve", "--root", str(tmp_path))]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "remotefs: a server needs 168 open files, and only 64 are allowed: raise `ulimit -n`\n"


def test_a_running_server_can_be_found(tmp_path: Path) -> None:
    root = Root(tmp_path / "root")
    assert root.running() is None
    with running_server(tmp_path / "root") as server:
        found = root.running()
        assert found is not None
        assert (found.url, found.pid, found.key_file) == (
            server.url, server.process.pid, str(tmp_path / "root" / "api-key")
        )  # fmt: skip
        server.stop(signal.SIGKILL)
    assert root.running() is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--allow-remote"),
        (["--host", "example.invalid", "--allow-remote"], "example.invalid"),
        (["--rpm", "0"], "--rpm"),
        (["--port", "70000"], "--port"),
        (["--max-file-bytes", "500X"], "'500X' is not valid: give a size from 1 bytes"),
        (["--max-file-bytes", "0"], "give a size from 1 bytes"),
    ],
)
def test_what_it_cannot_do_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    command = cli("serve", "--root", str(tmp_path), *arguments)
    ended = subprocess.run(command, capture_output=True, text=True, env=environment() | {"COLUMNS": "200"}, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_and_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments in (["--root", str(tmp_path / "root"), "--port", port], ["--root", str(tmp_path / "file")]):
            ended = subprocess.run(
                cli("serve", *arguments), capture_output=True, text=True, env=environment(), check=False
            )
            assert ended.returncode == 2
            assert ended.stderr.startswith("remotefs: ")


def test_a_name_forges_no_line_on_the_terminal(tmp_path: Path) -> None:
    root = tmp_path / "root\nremotefs: all is well\x1b[31m"
    root.touch()
    ended = subprocess.run(
        cli("serve", "--root", str(root)), capture_output=True, text=True, env=environment(), check=False
    )
    assert ended.returncode == 2
    assert r"root\nremotefs: all is well\x1b[31m" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_the_largest_file_is_given_with_a_unit(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, "--max-file-bytes", "1K") as server,
        httpx.Client(base_url=server.url, headers=server.headers) as client,
    ):
        statuses = [client.post("/v1/files", files={"file": ("a", bytes(size))}).status_code for size in (1024, 1025)]
    assert statuses == [200, 413]


def test_allow_remote_listens_everywhere(tmp_path: Path) -> None:
    with running_server(tmp_path, "--host", "0.0.0.0", "--allow-remote") as server:
        assert server.url.startswith("http://0.0.0.0:")
        assert not is_refused(server)


def test_ipv6(tmp_path: Path) -> None:
    with running_server(tmp_path, "--host", "::1") as server:
        assert httpx.get(server.url + "/v1/files", headers=server.headers).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_end(server: ServerProcess, number: int) -> None:
    content = bytes(8_000_000)
    with closing(Store(server.root)) as store:
        record = store.add_generated("big.bin", content)
    upload = begin_upload(server, len(content))
    upload.sendall(content[:4_000_000])
    download = connect(server)
    request = f"GET /v1/files/{record.id}/content HTTP/1.1\r\nHost: x\r\nx-api-key: {server.key}\r\n\r\n"
    download.sendall(request.encode())
    first = download.recv(100)
    eventually(lambda: incoming_bytes(server.root) > 0)

    server.process.send_signal(number)
    eventually(lambda: is_refused(server))
    upload.sendall(content[4_000_000:] + BODY_TAIL)
    received = first + until_closed(download)
    answer = until_closed(upload)

    assert server.process.wait(20) == 0
    assert received.partition(b"\r\n\r\n")[2] == content
    assert answer.startswith(b"HTTP/1.1 200")
    assert not (server.root / "server.json").exists()
    with closing(Store(server.root)) as store:
        assert store.get(json.loads(answer.partition(b"\r\n\r\n")[2])["id"]).size_bytes == len(content)


def test_a_second_ctrl_c_cuts_what_is_running_and_says_so_in_a_line(tmp_path: Path) -> None:
    with running_server(tmp_path / "root", stderr=subprocess.PIPE) as server:
        with closing(Store(server.root)) as store:
            # More than the buffers of both sockets take.
            record = store.add_generated("big.bin", bytes(64_000_000))
        with connect(server) as download:
            request = f"GET /v1/files/{record.id}/content HTTP/1.1\r\nHost: x\r\nx-api-key: {server.key}\r\n\r\n"
            download.sendall(request.encode())
            assert download.recv(100)
            server.process.send_signal(signal.SIGINT)
            eventually(lambda: is_refused(server))
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(20) == 0
        assert server.process.stderr is not None
        with server.process.stderr:
            assert server.process.stderr.read().splitlines() == ["requests that were cut off at the end: 1"]


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    server = start(tmp_path, "--exit-with-parent", stdin=subprocess.PIPE)
    assert server.process.stdin is not None
    assert server.process.stdout is not None
    with server.process.stdout:
        assert not is_refused(server)
        server.process.stdin.close()
        assert server.process.wait(20) == 0


def test_kill_9_during_an_upload_leaves_no_half_file_and_no_row(server: ServerProcess) -> None:
    with begin_upload(server, 8_000_000) as upload:
        upload.sendall(bytes(4_000_000))
        eventually(lambda: incoming_bytes(server.root) > 0)
        assert httpx.get(server.url + "/v1/files", headers=server.headers).json()["data"] == []
        server.stop(signal.SIGKILL)
    assert incoming_bytes(server.root) > 0
    with running_server(server.root) as again:
        assert httpx.get(again.url + "/v1/files", headers=again.headers).json()["data"] == []
        assert list((server.root / "incoming").iterdir()) == []
        assert list((server.root / "files").iterdir()) == []


def test_kill_9_among_many_uploads_keeps_what_was_acknowledged(server: ServerProcess) -> None:
    acknowledged: dict[str, int] = {}
    enough = threading.Event()

    def keep_uploading(worker: int) -> None:
        with httpx.Client(base_url=server.url, headers=server.headers) as client:
            while True:
                size = 1000 + len(acknowledged) + worker
                try:
                    made = client.post("/v1/files", files={"file": ("a.bin", bytes(size))}).json()
                except httpx.TransportError:
                    return
                acknowledged[made["id"]] = size
                if len(acknowledged) >= 60:
                    enough.set()

    workers = [threading.Thread(target=keep_uploading, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    assert enough.wait(30)
    server.stop(signal.SIGKILL)
    for worker in workers:
        worker.join()

    with running_server(server.root) as again, httpx.Client(base_url=again.url, headers=again.headers) as client:
        listed = {
            each["id"]: each["size_bytes"] for each in client.get("/v1/files", params={"limit": 1000}).json()["data"]
        }
        assert acknowledged.items() <= listed.items()
        for file_id, size in listed.items():
            assert client.get(f"/v1/files/{file_id}/content").content == bytes(size)
    assert {each.name for each in (server.root / "files").iterdir()} == set(listed)


def test_a_client_that_goes_away_leaves_nothing(server: ServerProcess) -> None:
    with begin_upload(server, 8_000_000) as upload:
        upload.sendall(bytes(4_000_000))
        eventually(lambda: incoming_bytes(server.root) > 0)
    eventually(lambda: [entry["status"] for entry in server.requests()] == [499])
    assert list((server.root / "incoming").iterdir()) == []


def test_a_hundred_thousand_files_are_listed_with_little_memory(tmp_path: Path) -> None:
    Store(tmp_path / "root").close()
    seed_rows(tmp_path / "root", 100_000)
    with running_server(tmp_path / "root") as server:
        before = resident_peak_kib(server)
        with httpx.Client(base_url=server.url, headers=server.headers) as client:
            seen = [each for page in walk(client) for each in page]
        growth = resident_peak_kib(server) - before
    assert seen == [f"file_seed{number:07}" for number in reversed(range(100_000))]
    assert growth < 12_000


def walk(client: httpx.Client) -> Iterator[list[str]]:
    page: dict[str, object] = {"next_page": None}
    while True:
        cursor = {"page": page["next_page"]} if page["next_page"] else {}
        page = client.get("/v1/files", params={"limit": 1000} | cursor).json()  # type: ignore[arg-type]  # a str
        yield [each["id"] for each in page["data"]]  # type: ignore[attr-defined]  # JSON
        if page["next_page"] is None:
            return


def test_a_large_upload_does_not_stay_in_memory(server: ServerProcess) -> None:
    length = 120_000_000
    before = resident_peak_kib(server)
    with begin_upload(server, length) as upload:
        for _ in range(length // 1_000_000):
            upload.sendall(bytes(1_000_000))
        upload.sendall(BODY_TAIL)
        assert upload.recv(12) == b"HTTP/1.1 200"
    assert resident_peak_kib(server) - before < 20_000


def test_generated_files_appear_in_a_running_server_and_wait_for_one(tmp_path: Path) -> None:
    source = tmp_path / "chart.png"
    source.write_bytes(b"png")
    root = tmp_path / "root"
    first = generate(root, str(source))
    with running_server(root, "--faithful") as server:
        second = generate(root, str(source), "--name", "renamed.png")
        with httpx.Client(base_url=server.url, headers=server.headers) as client:
            listed = client.get("/v1/files").json()["data"]
            assert [(each["id"], each["filename"]) for each in listed] == [
                (second, "renamed.png"), (first, "chart.png")
            ]  # fmt: skip
            assert client.get(f"/v1/files/{first}/content").content == b"png"


def generate(root: Path, *arguments: str) -> str:
    command = cli("generate", "--root", str(root), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout.strip()


def test_generate_refuses_a_name_that_the_service_refuses(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    command = cli("generate", "--root", str(tmp_path / "root"), str(tmp_path / "a"), "--name", "a:b")
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert ended.returncode == 2
    assert ended.stderr == "remotefs: filename: forbidden character ':'\n"


def test_the_access_log_has_a_line_for_every_request(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url, headers=server.headers) as client:
        made = client.post("/v1/files", files={"file": ("a.txt", b"abc")}).json()["id"]
        client.get("/v1/files")
        client.get(f"/v1/files/{made}")
        client.get(f"/v1/files/{made}/content")
        client.delete(f"/v1/files/{made}")
        client.get("/v1/files/file_no")
        client.put("/v1/files")
        client.get("/v1/files", headers={"x-api-key": "wrong"})
        eventually(lambda: len(server.requests()) == 8)
    assert [(each["op"], each["status"], each.get("file_id")) for each in server.requests()] == [
        ("upload", 200, made),
        ("list", 200, None),
        ("metadata", 200, made),
        ("content", 200, made),
        ("delete", 200, made),
        ("metadata", 404, "file_no"),
        ("other", 405, None),
        ("other", 401, None),
    ]
    assert server.requests()[3]["bytes"] == 3
    assert server.key not in (server.root / "requests.jsonl").read_text()


def test_help_tells_the_default_of_downloadable(tmp_path: Path) -> None:
    env = environment() | {"COLUMNS": "200"}
    text = subprocess.run(cli("serve", "--help"), capture_output=True, text=True, check=True, env=env).stdout
    assert "Without it uploads are downloadable" in " ".join(text.split())
