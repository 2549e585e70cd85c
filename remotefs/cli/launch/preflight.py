"""Checks what a mount needs before anything is started: the mountpoint, FUSE itself, a key."""

from __future__ import annotations

import os
import resource
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from remotefs.cli.launch.unmount import detach
from remotefs.config import ServiceConfig
from remotefs.control.find import find_mount
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.status import STATUS
from remotefs.control.mounts import MountEntry, is_dead, mount_at, read_mounts, real, real_apart
from remotefs.credentials import has_key
from remotefs.errors import LocalError, RemotefsError, TransportError, UsageError
from remotefs.keys import check_key_file, signed

FUSE_DEVICE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")
FUSE_HEADER = Path("/usr/include/fuse3/fuse.h")
UNMOUNT_HELPER = "fusermount3"
# Connections, staged files, content that is being read, the database and its copies. Each file that a program holds
# open may take one more.
OPEN_FILES_NEEDED = 256
OPEN_FILES_WANTED = 65_536
# Where the vendor's SDKs find a key that remotefs does not.
SDK_VARIABLES = (
    "ANTHROPIC_PROFILE", "ANTHROPIC_CONFIG_DIR", "ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_IDENTITY_TOKEN_FILE",
)  # fmt: skip
# Each mount on top of a dead one may be dead as well.
MAX_DEAD_LAYERS = 8


def check_fuse(device: Path = FUSE_DEVICE, helper: str = UNMOUNT_HELPER) -> None:
    """Raise LocalError when this machine cannot mount."""
    if find_spec("pyfuse3") is None:
        raise LocalError(f"mounting needs the Python package pyfuse3, which is not installed: {_how_to_build(helper)}")
    if shutil.which(helper) is None:
        raise LocalError(f"{helper} is missing: install the package fuse3")
    if not device.exists():
        raise LocalError(
            f"{device} is missing: load the kernel's module (modprobe fuse), or give the container the device "
            f"(--device {device} --cap-add SYS_ADMIN)"
        )
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise LocalError(
            f"{device} cannot be opened: {error.strerror}; root opens it to all users with: chmod a+rw {device}"
        ) from error


def check_binding() -> None:
    """Raise LocalError when the installed pyfuse3 does not work. Loads all of a mount."""
    try:
        import_module("remotefs.mount.session")
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"pyfuse3", "_pyfuse3"}:
            raise
        raise LocalError(
            f"mounting needs the Python package pyfuse3, which cannot be loaded: {error}; "
            "install the package libfuse3-3"
        ) from error


def check_others_allowed(conf: Path = FUSE_CONF, uid: int | None = None) -> None:
    """Raise UsageError when an ordinary user asks for allow_other and the machine does not grant it."""
    if (os.geteuid() if uid is None else uid) == 0:
        return
    lines = conf.read_text(encoding="utf-8").splitlines() if conf.exists() else []
    if "user_allow_other" not in map(str.strip, lines):
        raise UsageError(f"-o allow_other: {conf} has to say user_allow_other first; root can add that line")


def raise_open_files() -> None:
    """Allow this process, and the mount that it starts, as many open files as the machine lets it have.

    Raises LocalError when they are too few for a mount.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < OPEN_FILES_NEEDED:
        raise LocalError(
            f"a mount needs {OPEN_FILES_NEEDED} open files, and only {most} are allowed here: "
            f"raise the limit (`ulimit -n {OPEN_FILES_WANTED}`, or LimitNOFILE= of a systemd unit)"
        )


def check_key(service: ServiceConfig) -> None:
    """Raise UsageError when there is no key or token to sign in with, or its file cannot be used. Runs no command."""
    if not has_key(service):
        raise UsageError(
            "no key: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), or key_file or key_command in the settings, or "
            f"use --local for a server of your own{_unsupported(os.environ)}"
        )
    check_key_file(service)


def with_key(service: ServiceConfig) -> ServiceConfig:
    """Return the settings with the key from its source. May take seconds: a command may give the key.

    Raises UsageError, LocalError.
    """
    check_key(service)
    return signed(service)


def _unsupported(environ: Mapping[str, str]) -> str:
    """Return a remark where a key seems to be at a place that remotefs does not read."""
    for name in SDK_VARIABLES:
        if environ.get(name):
            return f". {name} is set, but remotefs does not read the profiles and identities of the vendor's SDKs"
    return ""


def ready_mountpoint(path: Path, notify: Callable[[str], None]) -> Path:
    """Return the mountpoint, absolute and without links, ready to be mounted on; unmounts a dead mount there first.

    Raises UsageError when it is missing, not a folder, not empty, or already a mountpoint, Unreachable when it hangs.
    """
    mountpoint = real_apart(path)
    _clear_dead(mountpoint, notify)
    entry = mount_at(mountpoint, read_mounts())
    if entry is not None:
        raise UsageError(f"{path} is already a mountpoint: {_describe(entry)}")
    _check_empty_folder(path, mountpoint)
    return mountpoint


def check_apart(mountpoint: Path, folder: Path, what: str) -> None:
    """Raise UsageError when `folder`, which the mount itself uses, and the mountpoint lie in one another."""
    inner = real(folder)
    if inner.is_relative_to(mountpoint) or mountpoint.is_relative_to(inner):
        raise UsageError(f"{what} {folder} and the mountpoint {mountpoint} lie in one another; keep them apart")


def _how_to_build(helper: str) -> str:
    """Return the commands that install pyfuse3, which has no wheels, and the Debian packages missing for it."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    there = {
        "fuse3": shutil.which(helper) is not None,
        "gcc": shutil.which("gcc") is not None,
        "pkg-config": shutil.which("pkg-config") is not None,
        "libfuse3-dev": FUSE_HEADER.exists(),
        "python3-dev": header.exists(),
    }
    missing = " ".join(package for package, is_there in there.items() if not is_there)
    first = f"as root, apt-get install {missing}; then " if missing else ""
    return f"{first}pip install pyfuse3"


def _clear_dead(mountpoint: Path, notify: Callable[[str], None]) -> None:
    for _ in range(MAX_DEAD_LAYERS):
        entry = mount_at(mountpoint, read_mounts())
        if entry is None or not entry.is_fuse or not is_dead(mountpoint):
            return
        detach(mountpoint, lazy=True)
        notify(f"{mountpoint} held a dead mount ({entry.fstype}), whose process had ended: unmounted it")


def _describe(entry: MountEntry) -> str:
    if not entry.is_fuse:
        return f"{entry.fstype} ({entry.source}) is mounted there"
    try:
        found = find_mount(entry.mountpoint)
        status = found.control.call(STATUS, Nothing(), timeout_s=5)
    except TransportError as error:
        return f"{entry.fstype} ({entry.source}) is mounted there, and does not answer: {error}"
    except RemotefsError:
        return f"{entry.fstype} ({entry.source}) is mounted there"
    return f"remotefs is mounted there by process {status.pid}, with its state in {status.state_dir}"


def _check_empty_folder(path: Path, mountpoint: Path) -> None:
    try:
        with os.scandir(mountpoint) as entries:
            occupied = next(entries, None)
    except FileNotFoundError as error:
        raise UsageError(f"the mountpoint {path} does not exist: make it with mkdir") from error
    except NotADirectoryError as error:
        raise UsageError(f"the mountpoint {path} is not a folder") from error
    except OSError as error:
        raise UsageError(f"the mountpoint {path} cannot be used: {error.strerror}") from error
    if occupied is not None:
        raise UsageError(f"the mountpoint {path} is not empty (there is {occupied.name!r}): mount on an empty folder")
