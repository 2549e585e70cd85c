"""A package index on this machine (PEP 503) that notes what is fetched from it, and stubs of packages to put there."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

# Newer than any release of anything.
NEWER = "99999.0"
# What builds a stub out of its sources: needs nothing, but says that it does, as the real ones do.
_BACKEND = """
import pathlib, shutil
def build_wheel(folder, settings=None, metadata=None):
    wheel, = pathlib.Path().glob("*.whl")
    shutil.copy(wheel, folder)
    return wheel.name
"""
_BUILD = """
[build-system]
requires = {requires}
build-backend = "backend"
backend-path = ["."]
"""


def normal(name: str) -> str:
    """The name of a package as an index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Stub:
    """A package that has nothing but what a resolver looks at."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    def metadata(self) -> str:
        lines = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}"]
        lines += [f"Provides-Extra: {extra}" for extra in self.extras]
        lines += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        return "\n".join(lines) + "\n"

    def wheel(self) -> tuple[str, bytes]:
        """The name and the bytes of a wheel of it."""
        stem = f"{normal(self.name).replace('-', '_')}-{self.version}"
        files = {
            f"{stem}.dist-info/METADATA": self.metadata(),
            f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: stub\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = [f"{path},{_record_hash(text)},{len(text.encode())}" for path, text in files.items()]
        files[f"{stem}.dist-info/RECORD"] = "\n".join([*record, f"{stem}.dist-info/RECORD,,"]) + "\n"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
        return f"{stem}-py3-none-any.whl", packed.getvalue()

    def sources(self, build_requires: tuple[str, ...]) -> tuple[str, bytes]:
        """The name and the bytes of an archive that has to be built first, and asks for other packages for that."""
        stem = f"{normal(self.name)}-{self.version}"
        wheel_name, wheel = self.wheel()
        files = {
            "PKG-INFO": self.metadata().encode(),
            "pyproject.toml": _BUILD.format(requires=list(build_requires)).encode(),
            "backend.py": _BACKEND.encode(),
            wheel_name: wheel,
        }
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path, content in files.items():
                entry = tarfile.TarInfo(f"{stem}/{path}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return f"{stem}.tar.gz", packed.getvalue()


@dataclass
class Index:
    """The files of an index by package, and the names of those that were fetched."""

    url: str
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    fetched: set[str] = field(default_factory=set)

    def add(self, package: str, name: str, content: bytes) -> str:
        """Offer a file; its hash, as a lock writes it."""
        self.files.setdefault(normal(package), {})[name] = content
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def answer(self, path: str) -> bytes | None:
        """The page of a package, or one of its files."""
        match [unquote(part) for part in path.strip("/").split("/")]:
            case ["simple", package] if package in self.files:
                return "".join(
                    f'<a href="/file/{package}/{name}">{name}</a>\n' for name in self.files[package]
                ).encode()
            case ["file", package, name] if name in self.files.get(package, {}):
                self.fetched.add(name)
                return self.files[package][name]
        return None


@contextmanager
def local_index() -> Iterator[Index]:
    """Serve an index on a loopback port while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One segment a reply, which waits for no acknowledgement.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            content = index.answer(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header(
                "Content-Type", "text/html" if self.path.startswith("/simple") else "application/octet-stream"
            )
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        index = Index(f"http://127.0.0.1:{server.server_address[1]}/simple")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield index
        finally:
            server.shutdown()


def index_only(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a pip that knows this index and no setting of this machine."""
    clean = {name: value for name, value in environment.items() if not name.startswith(("PIP_", "UV_"))}
    # pip reads no other file of settings then.
    return clean | {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": url,
        "PIP_NO_CACHE_DIR": "1",
        "NO_PROXY": "127.0.0.1",
    }


def _record_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
