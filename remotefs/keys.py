"""Reads the key from its source: a file, a command, a credential of systemd, or the settings themselves. Blocking.

A key that a file or a command gives is read when it is needed, and again after the service has refused it, so that a
new key needs no new mount. A file has to be as private as the key itself. No message shows the content of a file or the
output of a command.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec

from remotefs.config import Secret, ServiceConfig
from remotefs.errors import LocalError, UsageError

# The name of the credential that is taken where no setting names a key.
USUAL_CREDENTIAL = "anthropic-api-key"
# A password store may ask a person first.
COMMAND_WAIT_S = 30.0
_MOST_BYTES = 64 * 1024
_MOST_SHOWN = 200
# Of what a command complains, nothing that could be a key or a part of one: keys are longer.
_LONG_WORD = re.compile(r"[\w+/=-]{16,}")
_ASSIGNMENT = re.compile(r"(export\s+)?\w*(KEY|TOKEN)\w*\s*=")


def check_key_file(service: ServiceConfig) -> None:
    """Raise UsageError for a key file or a credential that cannot be used; a command is not run for that."""
    if service.key_command is None:
        signed(service)


def signed(service: ServiceConfig) -> ServiceConfig:
    """Return the settings with the key from its source in `api_key`. Runs at most COMMAND_WAIT_S.

    Raises UsageError for a file that cannot be used, LocalError for a command that gives no key.
    """
    if service.key_file is not None:
        key = Secret(_of_file(Path(service.key_file).expanduser()), f"{service.key_file}")
    elif service.key_command is not None:
        key = Secret(_of_command(service.key_command), f"the output of {service.key_command[0]} (key_command)")
    elif service.key_credential is not None:
        key = Secret(_of_credential(service.key_credential), f"the credential {service.key_credential}")
    else:
        return service
    return msgspec.structs.replace(service, api_key=key, auth_token=None)


def check_private(path: str, status: os.stat_result, what: str) -> None:
    """Raise UsageError if others than its owner could read or change a file, which `what` says something secret about.

    The message names the command that mends it.
    """
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise UsageError(
            f"{path} {what}, and others can read or change it (mode {mode:04o}): chmod 600 {shlex.quote(path)}"
        )


def _of_file(path: Path) -> str:
    text, status = _read(path, "key_file")
    if status.st_uid not in (0, os.geteuid()):
        raise UsageError(f"key_file: {path} belongs to user {status.st_uid}; it has to be yours or root's")
    check_private(str(path), status, "holds a key")
    return _first_line(text, str(path))


def _of_credential(given: str) -> str:
    """Return the key in a credential. systemd guards its folder; the mode of a file there also shows an ACL."""
    path = Path(given)
    if not path.is_absolute():
        raise UsageError(
            f"key_credential: there is no credential {given}: systemd did not start this process, or its unit lacks "
            f"LoadCredential={given}:FILE"
        )
    text, _ = _read(path, "key_credential")
    return _first_line(text, f"the credential {path.name}")


def _read(path: Path, setting: str) -> tuple[str, os.stat_result]:
    try:
        # Without O_NONBLOCK a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{setting}: {path} is not a regular file")
            return _text(os.read(descriptor, _MOST_BYTES), str(path)), status
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"{setting}: {path} cannot be read: {error.strerror}") from error


def _of_command(words: tuple[str, ...]) -> str:
    name = words[0]
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command, in words, without a shell
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A group of its own, so that its children end with it.
            start_new_session=True,
        )
    except OSError as error:
        raise LocalError(f"key_command: {name} cannot be run: {error.strerror}") from error
    with process:
        try:
            output, complaint = process.communicate(timeout=COMMAND_WAIT_S)
        except subprocess.TimeoutExpired:
            raise LocalError(f"key_command: {name} gave no key within {COMMAND_WAIT_S:g} s") from None
        finally:
            _end(process)
    if process.returncode:
        raise LocalError(f"key_command: {name} {_fate(process.returncode)}{_shown(complaint)}")
    return _first_line(_text(output, f"the output of {name}"), f"the output of {name} (key_command)")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _fate(status: int) -> str:
    return f"ended with {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"


def _shown(complaint: bytes) -> str:
    """Return the last line of a command's stderr, with long words blotted; empty where it has none."""
    lines = [line.strip() for line in complaint.decode(errors="replace").splitlines() if line.strip()]
    return f": {_LONG_WORD.sub('…', lines[-1])[:_MOST_SHOWN]}" if lines else ""


def _text(content: bytes, where: str) -> str:
    # Not chained: the cause shows the content.
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    raise UsageError(f"{where} is not a text")


def _first_line(text: str, where: str) -> str:
    line = text.split("\n", 1)[0].strip()
    if not line:
        raise UsageError(f"{where} has no key in its first line")
    if _ASSIGNMENT.match(line):
        raise UsageError(f"{where} has a line NAME=value; it has to hold the key alone")
    return line
