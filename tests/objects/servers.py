"""Two S3 servers as processes of their own: SeaweedFS, which is killed and stopped, and rclone as a second opinion."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TOOLS = REPOSITORY / ".envs" / "store-tools" / "bin"
BUCKET = "bucket"
_READY_S = 60
_END_S = 20
# gRPC ports of SeaweedFS lie this far above the others.
_GRPC = 10_000


@dataclass(frozen=True)
class Key:
    """What signs requests in."""

    id: str
    secret: str


WRITER, READER, WRONG = (
    Key("WRITERKEYID", "writer-hush"),
    Key("READERKEYID", "reader-hush"),
    Key("NOKEYID", "wrong-hush"),
)


def tool(name: str) -> str | None:
    """Return a program of `scripts/store-tools.sh`, else of the PATH; None where it is in neither."""
    return shutil.which(name, path=TOOLS) or shutil.which(name)


def environment(port: int, key: Key = WRITER) -> Mapping[str, str]:
    """Return the variables that obstore reads."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
    }


class Server:
    """A process that listens on `port`, and a folder that is its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, *self._others = _free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again on the same folder and ports, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.folder)
        end = time.monotonic() + _READY_S
        while not self.is_ready():
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)  # another process cannot be waited for otherwise

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, also when it is stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_END_S)

    def command(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Return whether it answers."""
        return _status(f"http://127.0.0.1:{self.port}/{BUCKET}") != 0


class SeaweedFS(Server):
    """A master, a volume server, a filer and S3 in one process, with a key that may write and one that may read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        rights = {WRITER: ["Admin"], READER: [f"Read:{BUCKET}", f"List:{BUCKET}"]}
        identities = [
            {"name": key.id, "credentials": [{"accessKey": key.id, "secretKey": key.secret}], "actions": actions}
            for key, actions in rights.items()
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (folder / "data").mkdir()
        self._made = False

    def command(self) -> list[str]:
        """Return the command line. Without the two ports a second one on a machine dies; the times let it restart fast."""
        master, volume, filer = self._others
        return [
            str(TOOLS / "weed"), "-logtostderr=true", "server", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1",
            f"-master.port={master}", "-master.electionTimeout=500ms", "-master.heartbeatInterval=100ms",
            "-master.volumeSizeLimitMB=256", "-master.telemetry=false",
            f"-volume.port={volume}", "-volume.max=10", "-filer", f"-filer.port={filer}",
            "-s3", f"-s3.port={self.port}", f"-s3.config={self.folder / 's3.json'}",
            "-s3.port.iceberg=0", "-s3.port.lance=0",
        ]  # fmt: skip

    def is_ready(self) -> bool:
        """Return whether it serves S3 and can place a file."""
        master, _, filer = self._others
        if _status(f"http://127.0.0.1:{self.port}/healthz") != 200:
            return False
        if _status(f"http://127.0.0.1:{master}/dir/assign") != 200:
            return False
        if not self._made:
            # A bucket is a folder of the filer.
            self._made = _status(f"http://127.0.0.1:{filer}/buckets/{BUCKET}/", method="POST") in {200, 201}
        return self._made


class Rclone(Server):
    """`rclone serve s3` on a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "data" / BUCKET).mkdir(parents=True)

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            str(TOOLS / "rclone"), "serve", "s3", f"--addr=127.0.0.1:{self.port}", "--config=/dev/null",
            f"--auth-key={WRITER.id},{WRITER.secret}", str(self.folder / "data"),
        ]  # fmt: skip


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server, and end it with the block."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _status(url: str, method: str = "GET") -> int:
    """Return the status of a request, 0 without an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def _free_ports(count: int) -> list[int]:
    """Return ports of which the twin for gRPC is free as well."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 40_000)
        if port not in found and all(map(_is_free, (port, port + _GRPC))):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
