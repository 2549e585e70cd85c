"""`mount.fuse.remotefs`: the helper that mount(8) calls for the type fuse.remotefs, so that fstab(5) has a line for it.

    mount.fuse.remotefs SOURCE DIR [-sfnv] [-o OPTIONS] [-t TYPE]

It is silent on success. Its exit status is that of mount(8).
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from remotefs import __version__
from remotefs.cli.console import Notify, printable
from remotefs.cli.exit_status import EXIT_USAGE, sentence
from remotefs.cli.launch.begin import checked, start
from remotefs.cli.launch.mount_options import parse_options
from remotefs.cli.launch.mount_source import as_written, with_source
from remotefs.cli.launch.option_values import READERS
from remotefs.cli.launch.plan import MountArgs, MountPlan, absolute
from remotefs.cli.launch.remount import remount
from remotefs.errors import LocalError, RemotefsError, UsageError

PROGRAM = "mount.fuse.remotefs"
USAGE = f"usage: {PROGRAM} SOURCE DIR [-sfnv] [-o OPTIONS] [-t TYPE]"
TYPES = frozenset({"fuse.remotefs", "remotefs", "fuse"})
# mount(8), "EXIT STATUS".
MOUNTED, WRONG_USE, SYSTEM_ERROR, INTERNAL_ERROR, INTERRUPTED, FAILED = 0, 1, 2, 4, 8, 32
# The boot's scripts and a mount unit may set none.
SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True)
class Call:
    """A call of the helper: what to mount where, and whether to talk, to pass over odd words, or only to look."""

    source: str
    folder: Path
    options: tuple[str, ...]
    is_sloppy: bool = False
    is_fake: bool = False
    is_verbose: bool = False


def main() -> None:
    """Mount as the arguments say, and exit with mount(8)'s status."""
    arguments = sys.argv[1:]
    if arguments in (["-h"], ["--help"], ["-V"], ["--version"]):
        sys.stdout.write(f"{USAGE}\n" if arguments[0] in {"-h", "--help"} else f"{PROGRAM} {__version__}\n")
        sys.exit(MOUNTED)
    os.environ["PATH"] = path_with_system(os.environ)
    sys.exit(run(arguments, os.environ))


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Carry out a call; return the exit status. Errors are told on stderr."""
    try:
        call = read_call(arguments)
        flags = parse_options(call.options, sloppy=call.is_sloppy).remount
        work = _mounting(call, environ) if flags is None else partial(_remount, call.folder, flags)
    except UsageError as error:
        return _failed(error, WRONG_USE)
    try:
        return MOUNTED if call.is_fake else work()
    except LocalError as error:
        return _failed(error, SYSTEM_ERROR)
    except (RemotefsError, OSError) as error:
        return _failed(error, FAILED)
    except KeyboardInterrupt as error:
        return _failed(error, INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - mount(8) is told that it is a bug
        return _failed(error, INTERNAL_ERROR)


def _remount(folder: Path, flags: Sequence[str]) -> int:
    remount(folder, flags)
    return MOUNTED


def _mounting(call: Call, environ: Mapping[str, str]) -> Callable[[], int]:
    """Return what mounts as a call says. Raises UsageError for words and settings that cannot be."""
    args = mount_args(call)
    return partial(_mount, call, args, args.plan(environ, _notes(call)))


def _mount(call: Call, args: MountArgs, plan: MountPlan) -> int:
    """Mount and return the exit status. Raises RemotefsError for what can be known before a start."""
    mountpoint = checked(plan, call.folder, _notes(call)).mountpoint
    last = start(msgspec.structs.replace(args, mountpoint=str(mountpoint)), _notes(call), _notes(call))
    if last.error is None:
        return MOUNTED
    _tell(last.error)
    return WRONG_USE if last.exit == EXIT_USAGE else FAILED


def read_call(arguments: Sequence[str]) -> Call:
    """Return the call that mount(8)'s arguments make. Raises UsageError."""
    try:
        options, places = getopt.gnu_getopt(list(arguments), "sfnvo:t:N:")
    except getopt.GetoptError as error:
        raise UsageError(f"{error}; {USAGE}") from None
    given = dict(options)
    if len(places) != 2:
        raise UsageError(f"SOURCE and DIR are needed; {USAGE}")
    if "-N" in given:
        raise UsageError("-N: another mount namespace is not supported; enter it with nsenter(1)")
    if given.get("-t", "fuse") not in TYPES:
        raise UsageError(f"-t {given['-t']}: the type is one of {', '.join(sorted(TYPES))}")
    words = tuple(value for option, value in options if option == "-o")
    return Call(places[0], Path(places[1]), words, "-s" in given, "-f" in given, "-v" in given)


def mount_args(call: Call) -> MountArgs:
    """Return the arguments of `remotefs mount` for a call. Raises UsageError.

    The SOURCE is also what the table of mounts shows. By that `mount -a` knows that the line of fstab is mounted.
    """
    args = MountArgs(mountpoint=absolute(call.folder) or "", options=call.options, sloppy=call.is_sloppy).with_words()
    source = as_written(args, call.source)
    try:
        READERS["fsname"](source or "remotefs")
    except ValueError:
        raise UsageError(f"SOURCE {source!r} cannot have a comma, a backslash or control characters") from None
    args = with_source(args, source)
    return msgspec.structs.replace(args, options=(f"fsname={source or 'remotefs'}", *call.options))


def path_with_system(environ: Mapping[str, str]) -> str:
    """Return the search path with the folders of the system's programs, which mount(8) may not hand on."""
    given = [folder for folder in environ.get("PATH", "").split(":") if folder]
    return ":".join(dict.fromkeys([*given, *SYSTEM_PATH]))


def _notes(call: Call) -> Notify:
    return _tell if call.is_verbose else lambda _: None


def _failed(error: BaseException, status: int) -> int:
    _tell(sentence(error))
    return status


def _tell(text: str) -> None:
    first, *more = text.split("\n")
    sys.stderr.write(f"{PROGRAM}: {printable(first)}\n")
    sys.stderr.writelines(f"  {printable(line)}\n" for line in more)


if __name__ == "__main__":
    main()
