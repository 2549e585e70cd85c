"""What a mount tells of itself while it runs: its log, a line for each request, metrics; also while nothing else answers."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from remotefs.control.address import SOCKET_NAME, short_address
from remotefs.control.client import ControlClient
from remotefs.control.messages.limit import LIMIT, LimitParams
from tests.faults import FaultyServer, Hold
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, detach, eventually, remotefs

# What `status` and a scrape may take while the network hangs, and what a busy machine may add to it.
ANSWER_S, LENIENCE = 0.1, 5.0


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        with short_address(self._path) as address:
            self.sock.connect(address)


def scrape(mount: Mounted) -> dict[tuple[str, tuple[str, ...]], float]:
    """The metrics of a mount that serves them at `m.sock` in its state folder, by name and labels."""
    with closing(UnixConnection(mount.state / "m.sock")) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_log_the_access_log_and_the_metrics_of_a_mount(make_mount: MakeMount) -> None:
    mount = make_mount("--metrics", "unix:m.sock", "--log-format", "json")
    (mount.path / "before").write_bytes(b"no line")
    changed = remotefs("log", mount.path, "--access", "--level", "debug", "--json")
    told = json.loads(changed.stdout)
    assert (told["level"], told["format"], told["access"]) == ("debug", "json", True)
    (mount.path / "d").mkdir()
    (mount.path / "d" / "a b").write_bytes(b"some bytes")
    assert (mount.path / "d" / "a b").read_bytes() == b"some bytes"
    shown = remotefs("log", mount.path, "--no-access", "--level", "info").stdout
    assert "access log  off" in shown
    (mount.path / "after").write_bytes(b"no line")
    access = Path(told["access_path"])
    eventually(lambda: '"release"' in access.read_text())
    lines = [json.loads(line) for line in access.read_text().splitlines()]
    assert access.stat().st_mode & 0o777 == 0o600
    assert {"mkdir", "create", "write", "flush", "release", "open"} <= {line["operation"] for line in lines}
    [written] = [line for line in lines if line["operation"] == "write"]
    assert (written["path"], written["offset"], written["bytes"]) == ("/d/a b", 0, 10)
    [closed] = [line for line in lines if line["operation"] == "flush" and line["ms"] > 1 and line["path"] == "/d/a b"]
    assert "service" in closed["waited_ms"]
    assert not {"/before", "/after"} & {line["path"] for line in lines}
    assert "some bytes" not in access.read_text()
    events = [json.loads(line).get("event") for line in mount.log().splitlines()]
    assert [event for event in events if event] == ["start", "started"]
    metrics = scrape(mount)
    assert metrics["remotefs_requests_total", ("upload", "200")] == 3
    assert metrics["remotefs_uploaded_bytes_total", ()] == 24
    assert metrics["remotefs_operation_duration_seconds_count", ("mkdir",)] == 1
    assert metrics["remotefs_online", ()] == 1
    mount.end()
    events = [json.loads(line).get("event") for line in mount.log().splitlines()]
    assert [event for event in events if event][-2:] == ["unmounted", "end"]


def _hang_with(mount: Mounted, server: FaultyServer, files: int) -> None:
    """Let a mount have so many uploads to send, to a service that answers nothing more."""
    server.script.add(Hold(), times=None)
    for number in range(files):
        (mount.path / f"f{number}").write_bytes(b"x")
    assert mount.status().pending[0].count == files


def test_a_limit_of_bandwidth_is_taken_off_while_an_upload_crawls(make_mount: MakeMount) -> None:
    mount = make_mount("--upload-rate", "1K", "--durability", "local")
    (mount.path / "a").write_bytes(bytes(300_000))
    control = ControlClient(mount.state / SOCKET_NAME)
    eventually(lambda: control.call(LIMIT, LimitParams(), timeout_s=30).uploads_waiting == 1)
    assert mount.status().pending[0].count == 1
    shown = remotefs("limit", mount.path, "--upload-rate", "0", "--download-rate", "2M").stdout
    assert shown.split("\n")[:2] == ["upload    no limit", "download  2.0 MiB/s"]
    mount.flush()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("files", [20, pytest.param(1000, marks=pytest.mark.long)])
def test_status_and_metrics_answer_while_the_network_hangs(
    make_mount: MakeMount, server: FaultyServer, files: int
) -> None:
    mount = make_mount("--metrics", "unix:m.sock", "--durability", "local")
    _hang_with(mount, server, files)
    for ask in (mount.status, lambda: scrape(mount)):
        took = []
        for _ in range(10):
            began = time.monotonic()
            ask()
            took.append(time.monotonic() - began)
        print(f"{files} pending: {sorted(took)[len(took) // 2] * 1000:.1f} ms, at most {max(took) * 1000:.1f} ms")
        assert sorted(took)[len(took) // 2] < ANSWER_S * LENIENCE
    found = scrape(mount)
    assert found["remotefs_pending_changes", ("upload",)] == files
    assert found["remotefs_pending_bytes", ()] == files


@pytest.mark.long
@pytest.mark.timeout(600)
def test_sixteen_mounts_of_which_one_is_dead_and_one_hangs_answer_at_once(make_mount: MakeMount) -> None:
    hung = make_mount(settings={"REMOTEFS_MOUNT_ENTRY_TIMEOUT_S": "0"})
    mounts = [hung, *(make_mount() for _ in range(15))]
    mounts[1].kill()
    hung.signal(signal.SIGSTOP)
    try:
        began, ends = time.monotonic(), dict[str, float]()
        asking = subprocess.Popen(
            [sys.executable, "-m", "remotefs", "status", "--json", *(str(mount.path) for mount in mounts)],
            stdout=subprocess.PIPE, text=True, env=hung.env,
        )  # fmt: skip
        with asking:
            assert asking.stdout is not None
            for line in asking.stdout:
                ends[json.loads(line)["mountpoint"]] = time.monotonic() - began
        assert asking.wait() == 1
        others = [ends[str(mount.path)] for mount in mounts[1:]]
        print(f"the others: {min(others):.2f} to {max(others):.2f} s; all: {time.monotonic() - began:.2f} s")
        # The one that hangs is given up after 5 s; the others did not wait for that.
        assert max(others) < ends[str(hung.path)] - 2.0
        assert ends[str(hung.path)] - min(others) < 8.0
    finally:
        hung.signal(signal.SIGCONT)
        detach(mounts[1].path)


# -- Prometheus itself


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Debian's Prometheus, which scrapes a target each second; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: remotefs, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    process = subprocess.Popen(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
         f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.long
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus")
def test_prometheus_scrapes_a_mount_under_load(make_mount: MakeMount, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{free.getsockname()[1]}"
    mount = make_mount("--metrics", target)
    with urlopen(f"http://{target}/metrics") as reply:
        text = reply.read()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    with ExitStack() as running, prometheus(tmp_path, target) as address:
        running.callback(shutil.rmtree, mount.path / "load", ignore_errors=True)

        def value(query: str) -> float:
            with urlopen(f"{address}/api/v1/query?query={query}") as answer:
                result = json.load(answer)["data"]["result"]
            return float(result[0]["value"][1]) if result else -1.0

        def loaded() -> bool:
            try:
                return value("up") == 1.0
            except OSError:
                return False

        eventually(loaded)
        (mount.path / "load").mkdir()
        for number in range(60):
            (mount.path / "load" / f"f{number}").write_bytes(bytes(100_000))
        eventually(
            lambda: (
                value(
                    'remotefs_requests_total{kind="upload",status="200"}'
                    .replace("{", "%7B")
                    .replace("}", "%7D")
                    .replace('"', "%22")
                )
                == 60
            )
        )
        assert value("min_over_time(up[10s])") == 1.0
        assert value("max_over_time(scrape_duration_seconds[10s])") < 1.0
        print("the longest scrape:", value("max_over_time(scrape_duration_seconds[10s])"), "s")
