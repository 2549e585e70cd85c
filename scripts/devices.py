"""File systems as the conformance suites want them: a device that mount(8) mounts, again and again, by its name.

Each has two devices, `test` and `scratch`, with a server and a state of its own. mount(8) of a type `fuse.NAME` runs
libfuse's mount.fuse3, which calls the program NAME as `NAME DEVICE FOLDER -o OPTIONS`. NAME may be a path, so each file
system gets a small program beside its devices, and nothing is installed. A peer that is not installed is left out.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.peers import SFTP_SERVER
from tests.mount.support import detach, is_mounted
from tests.server_process import running_server

REMOTEFS, SSHFS, JUICEFS = "remotefs", "sshfs", "JuiceFS"
MOUNT_HELPER = Path("/sbin/mount.fuse3")
PARTS = ("test", "scratch")
_CHECKOUT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Device:
    """What mount(8) calls the source, and the folder that it is mounted on."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Devices:
    """Two devices of one file system. `type` is what mount(8) takes, `options` goes with each mount."""

    test: Device
    scratch: Device
    program: Path
    options: str

    @property
    def type(self) -> str:
        return f"fuse.{self.program}"

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The folder of `test`, mounted for the length of a block."""
        folder = self.test.folder
        command = ["mount", "-t", self.type, "-o", self.options, self.test.name, folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)

    def detach(self) -> None:
        """Unmount whatever a suite left mounted."""
        for device in (self.test, self.scratch):
            while is_mounted(device.folder):
                detach(device.folder)


# Makes what the devices need below a folder, and returns their names and the lines of a shell that mount "$1" on "$2".
# The word is the durability, which only remotefs has.
Prepare = Callable[[Path, str, ExitStack], tuple[dict[str, str], str]]


def prepare_remotefs(folder: Path, durability: str, ends: ExitStack) -> tuple[dict[str, str], str]:
    names = device_names()
    for part in PARTS:
        server = ends.enter_context(running_server(folder / part / "server"))
        settings = {
            "REMOTEFS_SERVICE_REQUESTS_PER_MINUTE": "0",
            "REMOTEFS_WRITEBACK_DURABILITY": durability,
            "ANTHROPIC_API_KEY": server.key,
            "ANTHROPIC_BASE_URL": server.url,
            "PYTHONPATH": str(_CHECKOUT),
        }
        lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
        (folder / names[part]).write_text(lines)
    here = shlex.quote(str(folder))
    program = f"{shlex.quote(sys.executable)} -m remotefs mount"
    words = f'"$2" --state-dir {here}/"state-of-$1" -o fsname="$1" -o "$4"'
    lines = [f'. {here}/"$1"', f'said="$({program} {words} 2>&1)" || {{ echo "$said" >&2; exit 1; }}']
    return names, "\n".join(lines)


def device_names(before: str = "") -> dict[str, str]:
    """The names of the devices: no other mount of the machine may have one."""
    return {part: f"{before}{part}-{os.getpid()}" for part in PARTS}


def prepare_sshfs(folder: Path, _durability: str, _ends: ExitStack) -> tuple[dict[str, str], str]:
    names = device_names()
    for part in PARTS:
        (folder / names[part]).mkdir()
    # The server's program on a pipe: no daemon, no network, no encryption.
    server = folder / "sftp"
    server.write_text(f"#!/bin/sh\nexec {SFTP_SERVER}\n")
    server.chmod(0o700)
    here = shlex.quote(str(folder))
    words = f'localhost:{here}/"$1" "$2" -o ssh_command={here}/sftp -o fsname="$1" -o "$4"'
    return names, f"exec sshfs {words}"


def prepare_juicefs(folder: Path, _durability: str, _ends: ExitStack) -> tuple[dict[str, str], str]:
    program = shutil.which("juicefs")
    # The name of the source is its own.
    names = device_names("JuiceFS:")
    for name in names.values():
        objects, meta = folder / f"{name}-objects", folder / f"{name}-meta.db"
        objects.mkdir()
        store = ["--storage", "file", "--bucket", f"{objects}/", "--trash-days", "0"]
        command = [program, "format", f"sqlite3://{meta}", name.removeprefix("JuiceFS:"), *store]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    here = shlex.quote(str(folder))
    words = f'--no-usage-report --enable-xattr --cache-dir {here}/"$1-cache" -o "$4"'
    return names, f'exec {program} mount -d {words} sqlite3://{here}/"$1-meta.db" "$2" >/dev/null 2>&1'


_ALL: dict[str, tuple[Prepare, str]] = {
    REMOTEFS: (prepare_remotefs, "allow_other"),
    SSHFS: (prepare_sshfs, "allow_other,default_permissions"),
    JUICEFS: (prepare_juicefs, "allow_other"),
}


def installed() -> list[str]:
    """The file systems that are there, by name."""
    there = {REMOTEFS}
    if shutil.which("sshfs") and SFTP_SERVER.exists():
        there.add(SSHFS)
    if shutil.which("juicefs"):
        there.add(JUICEFS)
    return [name for name in _ALL if name in there]


@contextmanager
def devices(name: str, folder: Path, durability: str) -> Iterator[Devices]:
    """Two empty devices of the file system of that name, below a folder; remotefs' have that durability."""
    prepare, options = _ALL[name]
    with ExitStack() as ends:
        names, script = prepare(folder, durability, ends)
        program = folder / f"mount-{name.lower()}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        test, scratch = (Device(names[part], _made(folder / "mnt" / part)) for part in PARTS)
        made = Devices(test, scratch, program, options)
        ends.callback(made.detach)
        yield made


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
