"""A desktop of a test's own: an X server in memory, a window manager, a session bus and a home."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.mount.support import eventually, run

SIZE = "900x560"
# In the environment of all that runs on a desktop, also of services that the bus starts: by it they are found again.
_MARK = "DESKTOP_OF_A_TEST"
# Calls of the bus that start what turns the accessibility of programs on: they look for it when they start.
_ACCESSIBILITY = ("--dest", "org.a11y.Bus", "--object-path", "/org/a11y/bus", "--method", "org.a11y.Bus.GetAddress")


@dataclass
class Display:
    """A running desktop; `env` is what a program needs to be on it."""

    home: Path
    env: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: object, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a program on the desktop; its output goes to a log in the home."""
        with (self.home / ".programs.log").open("a") as log:
            process = subprocess.Popen(
                list(map(str, command)), env=self.env, cwd=self.home, pass_fds=pass_fds,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *command: object, check: bool = True) -> str:
        """Run a command on the desktop; its output."""
        return run(*command, env=self.env, cwd=self.home, check=check).stdout

    def picture(self, path: Path) -> None:
        """Save what is on the screen as a small PNG."""
        self.run("import", "-silent", "-window", "root", "+dither", "-colors", "48", "-strip", path)


@contextmanager
def desktop(home: Path) -> Iterator[Display]:
    """A desktop with nothing on it. All that runs on it is ended with it."""
    runtime = home / ".run"
    runtime.mkdir(parents=True, mode=0o700)
    display = Display(home, _environment(home, runtime))
    try:
        number = _told(
            display, lambda fd: ("Xvfb", "-displayfd", fd, "-screen", 0, f"{SIZE}x24", "-nolisten", "tcp", "-noreset")
        )
        display.env["DISPLAY"] = f":{number}"
        bus = _told(display, lambda fd: ("dbus-daemon", "--session", "--nofork", f"--print-address={fd}"))
        display.env["DBUS_SESSION_BUS_ADDRESS"] = bus
        display.start("openbox", "--sm-disable")
        eventually(lambda: "window id" in display.run("xprop", "-root", "_NET_SUPPORTING_WM_CHECK"))
        display.run("gdbus", "call", "--session", *_ACCESSIBILITY)
        yield display
    finally:
        eventually(lambda: not _kill(str(home)))
        for process in display.started:
            process.wait()


def _environment(home: Path, runtime: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        # GTK 2 takes its accessibility interface from modules.
        "GTK_MODULES": "gail:atk-bridge",
        "GVFS_DISABLE_FUSE": "1",
        _MARK: str(home),
    }


def _told(display: Display, command: Callable[[int], tuple[object, ...]]) -> str:
    """Start a server and return where it is, which it tells on a descriptor."""
    read_end, write_end = os.pipe()
    try:
        display.start(*command(write_end), pass_fds=(write_end,))
    finally:
        os.close(write_end)
    with os.fdopen(read_end) as told:
        return told.readline().strip()


def _kill(home: str) -> bool:
    """Kill what runs on the desktop of this home; return whether anything did."""
    ours = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_on(pid, home)]
    for pid in ours:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(ours)


def _is_on(pid: int, home: str) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return f"{_MARK}={home}".encode() in variables
