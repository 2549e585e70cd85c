"""The kernel, FUSE and its helper, the limit of open files, the clock, and versions."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from remotefs import __version__
from remotefs.cli.doctor.findings import Finding, ok, problem, warning
from remotefs.cli.launch.preflight import (
    FUSE_CONF,
    FUSE_DEVICE,
    OPEN_FILES_NEEDED,
    OPEN_FILES_WANTED,
    UNMOUNT_HELPER,
)

# The library that pyfuse3 loads.
LIBFUSE = "libfuse3.so.3"
MOUNT_HELPERS = (Path("/sbin/mount.fuse.remotefs"), Path("/usr/sbin/mount.fuse.remotefs"))
PACKAGES = ("pyfuse3", "trio", "httpx", "msgspec", "typer")
HELPER_PATIENCE_S = 2.0
# fusermount3 lets an ordinary user have as many mounts unless fuse.conf says otherwise (fusermount3(1)).
DEFAULT_MOUNTS = 1000
# Since this release the kernel has all that a mount uses.
OLDEST_KERNEL = (5, 4)
# The clock of a machine that has lost its battery begins in the past.
EARLIEST_YEAR = 2025


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """What this machine is like; the errno of opening the device is None where that worked."""

    is_root: bool = False
    release: str = ""
    has_fuse: bool = True
    device_errno: int | None = None
    helper: str | None = UNMOUNT_HELPER
    helper_version: str = ""
    helper_is_setuid: bool = True
    others_allowed: bool = False
    most_mounts: int = DEFAULT_MOUNTS
    mounts: int = 0
    pyfuse3: str | None = ""
    # Why libfuse cannot be loaded.
    libfuse: str | None = None
    open_files: int = OPEN_FILES_WANTED
    year: int = EARLIEST_YEAR
    versions: dict[str, str] = field(default_factory=dict)
    mount_helper: str | None = None


def look(mounts: int) -> MachineFacts:
    """Return what this machine is like; `mounts` is the number of running mounts of FUSE."""
    helper = shutil.which(UNMOUNT_HELPER)
    conf = _conf()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MachineFacts(
        is_root=os.geteuid() == 0,
        release=platform.release(),
        has_fuse="fuse" in Path("/proc/filesystems").read_text(encoding="utf-8").split(),
        device_errno=_errno_of_device(),
        helper=helper,
        helper_version=_version_of(helper) if helper else "",
        helper_is_setuid=bool(helper) and bool(Path(helper or "").stat().st_mode & 0o4000),
        others_allowed="user_allow_other" in conf,
        most_mounts=conf.get("mount_max", DEFAULT_MOUNTS) or DEFAULT_MOUNTS,
        mounts=mounts,
        pyfuse3=_version_or_none("pyfuse3") if find_spec("pyfuse3") else None,
        libfuse=_why_not_loaded(),
        open_files=OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else hard,
        year=time.gmtime().tm_year,
        versions={name: found for name in PACKAGES if (found := _version_or_none(name))},
        mount_helper=next((str(path) for path in MOUNT_HELPERS if os.access(path, os.X_OK)), None),
    )


def judge(facts: MachineFacts) -> Iterator[Finding]:
    """Yield what is to say of the machine: pure."""
    packages = ", ".join(f"{name} {found}" for name, found in facts.versions.items())
    yield ok("versions", f"remotefs {__version__}, Python {platform.python_version()}, {packages}")
    yield _kernel(facts)
    yield _device(facts)
    yield _helper(facts)
    yield _binding(facts)
    yield _others(facts)
    yield _open_files(facts)
    if facts.year < EARLIEST_YEAR:
        yield problem("clock", f"it is the year {facts.year} here", "set the clock (timedatectl set-ntp true)")
    if facts.mount_helper:
        yield ok("fstab", f"{facts.mount_helper} is there for mount(8) and /etc/fstab")
    else:
        yield ok("fstab", "no helper for mount(8): needed for /etc/fstab only")


def _kernel(facts: MachineFacts) -> Finding:
    numbers = tuple(int(part) for part in facts.release.split("-")[0].split(".")[:2] if part.isdecimal())
    if numbers < OLDEST_KERNEL:
        return warning("kernel", f"Linux {facts.release}", "remotefs is tested from Linux 5.4 on: update the kernel")
    return ok("kernel", f"Linux {facts.release}")


def _device(facts: MachineFacts) -> Finding:
    container = f"give a container --device {FUSE_DEVICE} --cap-add SYS_ADMIN"
    match facts.device_errno:
        case None:
            return ok("fuse", f"{FUSE_DEVICE} can be opened")
        case errno.ENOENT:
            return problem("fuse", f"{FUSE_DEVICE} is missing", f"load the module (modprobe fuse), or {container}")
        case errno.ENODEV | errno.ENXIO:
            return problem("fuse", f"the kernel has no FUSE behind {FUSE_DEVICE}", "load the module: modprobe fuse")
        case errno.EPERM:
            return problem("fuse", f"{FUSE_DEVICE} is forbidden here, as in a container", container)
        case number:
            why = os.strerror(number)
            return problem("fuse", f"{FUSE_DEVICE} cannot be opened: {why}", f"as root: chmod a+rw {FUSE_DEVICE}")


def _helper(facts: MachineFacts) -> Finding:
    if facts.helper is None:
        return problem("helper", f"{UNMOUNT_HELPER} is missing", "install the package fuse3")
    if not facts.is_root and not facts.helper_is_setuid:
        found = f"{facts.helper} has no rights of root, so you cannot mount"
        return problem("helper", found, f"as root: chmod u+s {facts.helper}, or install the package fuse3 again")
    if not facts.is_root and facts.mounts >= facts.most_mounts:
        found = f"{facts.mounts} mounts of {facts.most_mounts} are in use"
        return problem("helper", found, f"unmount some, or let root raise mount_max in {FUSE_CONF}")
    return ok("helper", f"{facts.helper} {facts.helper_version}".strip())


def _binding(facts: MachineFacts) -> Finding:
    if facts.pyfuse3 is None:
        advice = "`remotefs mount` says which packages it needs; all other commands work"
        return problem("pyfuse3", "the Python package pyfuse3 is not installed, so nothing can be mounted", advice)
    if facts.libfuse is not None:
        return problem("pyfuse3", f"libfuse cannot be loaded: {facts.libfuse}", "install the package libfuse3-3")
    return ok("pyfuse3", f"pyfuse3 {facts.pyfuse3}, and libfuse is there")


def _others(facts: MachineFacts) -> Finding:
    if facts.is_root or facts.others_allowed:
        return ok("allow_other", "other users can be let into a mount")
    return ok("allow_other", f"not possible for you: {FUSE_CONF} does not say user_allow_other")


def _open_files(facts: MachineFacts) -> Finding:
    found = f"{facts.open_files:,} may be open at once"
    advice = f"raise the limit (ulimit -n {OPEN_FILES_WANTED}, or LimitNOFILE= of a systemd unit)"
    if facts.open_files < OPEN_FILES_NEEDED:
        return problem("open files", f"{found}, a mount needs {OPEN_FILES_NEEDED}", advice)
    if facts.open_files < OPEN_FILES_NEEDED * 4:
        return warning("open files", f"{found}, little for many programs", advice)
    return ok("open files", found)


def _errno_of_device() -> int | None:
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return None


def _version_of(helper: str) -> str:
    """Return what the helper says of its version: `fusermount3 version: 3.14.0`."""
    try:
        done = subprocess.run(  # noqa: S603 - the helper of this machine
            [helper, "--version"], capture_output=True, text=True, timeout=HELPER_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "(it does not run)"
    return done.stdout.strip().rpartition(" ")[2]


def _conf() -> dict[str, int]:
    """Return the words of fuse.conf with their numbers, 0 for those without one; none where it cannot be read."""
    try:
        lines = FUSE_CONF.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = [line.partition("=") for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return {word.strip(): int(text) if text.strip().isdecimal() else 0 for word, _, text in pairs}


def _version_or_none(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _why_not_loaded() -> str | None:
    try:
        ctypes.CDLL(LIBFUSE)
    except OSError as error:
        return str(error)
    return None
