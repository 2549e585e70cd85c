"""`remotefs doctor --bundle`: what a bug report needs, in one file, without names of files and without keys.

    doctor.json       the findings
    status-N.json     what each mount says of itself
    log-N.txt         the end of the log of each state folder
    database-N.json   the form of each database, and how many rows its tables have
    settings.json     the settings that differ from their defaults, and what refuses them

Machine lines keep their words, because they hold none of the user's. All other texts go through `blot`.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from remotefs.cli.console import human_size, notify
from remotefs.cli.doctor.blot import Blotter
from remotefs.cli.doctor.examination import Examination
from remotefs.cli.doctor.findings import Findings
from remotefs.cli.doctor.state_folder import DATABASE
from remotefs.config import Config, Secret
from remotefs.control.apart import ask_apart
from remotefs.control.messages.status import Status
from remotefs.credentials import secrets_of
from remotefs.errors import LocalError, RemotefsError, UsageError
from remotefs.store.glance import names_of, rows_of

# The end of each log.
LOG_LINES = 500
LOG_BYTES = 256 * 1024
# Counting the rows of a large database.
DATABASE_S = 30.0
_MACHINE_AREAS = frozenset({"versions", "kernel", "fuse", "helper", "pyfuse3", "allow_other", "open files", "fstab"})


def write_bundle(target: Path, findings: Findings, examination: Examination) -> None:
    """Write the bundle to a new file (0600), after a list of what is in it. Raises UsageError, LocalError."""
    members = dict(_members(findings, examination))
    notify(f"{target} holds, without names of files and without keys:")
    for name, content in members.items():
        notify(f"  {name}, {human_size(len(content))}")
    try:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"--bundle: {target} is there already: give the name of a new file") from None
    except OSError as error:
        raise LocalError(f"{target} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, content in members.items():
                archive.addfile(_member(name, content), io.BytesIO(content))
    except OSError as error:
        with suppress(OSError):
            target.unlink()
        raise LocalError(f"{target} cannot be written: {error.strerror}") from error
    notify(f"{target} written; look into it before you send it: tar -xzOf {target.name} | less")


def check_target(target: Path) -> None:
    """Raise UsageError where the bundle cannot have that name."""
    if not target.name.endswith((".tar.gz", ".tgz")):
        raise UsageError(f"--bundle: {str(target)!r} is not valid: give the name of a new file that ends with .tar.gz")
    if os.path.lexists(target):
        raise UsageError(f"--bundle: {target} is there already: give the name of a new file")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"--bundle: the folder of {target} does not exist")


def _members(findings: Findings, examination: Examination) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file of the bundle."""
    secrets = secrets_of(examination.config.service) if examination.config else ()
    blotter = Blotter(secrets, [name for folder in examination.folders for name in _names_in(folder)])
    yield "doctor.json", _json(_blotted(findings, blotter))
    for number, answer in enumerate(examination.answers.values(), start=1):
        shown = msgspec.to_builtins(answer) if isinstance(answer, Status) else {"error": str(answer)}
        yield f"status-{number}.json", _json(blotter.value(shown))
    for number, folder in enumerate(examination.folders, start=1):
        if lines := _log_of(folder):
            yield f"log-{number}.txt", "".join(f"{blotter.line(line)}\n" for line in lines).encode()
        if (folder / DATABASE).exists():
            yield f"database-{number}.json", _json(blotter.value(_database(folder / DATABASE)))
    yield "settings.json", _json(blotter.value(_settings(examination.config)))


def _blotted(findings: Findings, blotter: Blotter) -> object:
    plain = msgspec.to_builtins(findings)
    for finding in plain["findings"]:
        if finding["area"] not in _MACHINE_AREAS:
            finding["found"] = blotter.text(finding["found"])
            finding["advice"] = blotter.text(finding["advice"])
    return plain


def _log_of(folder: Path) -> list[str]:
    """Return the last lines of the log of a state folder; none where it cannot be read."""
    try:
        with (folder / "log" / "remotefs.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
            return file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return []


def _database(path: Path) -> dict[str, object]:
    try:
        rows = ask_apart(lambda: msgspec.json.encode(rows_of(path)), patience_s=DATABASE_S)
    except (RemotefsError, OSError) as error:
        return {"error": str(error)}
    return {"bytes": path.stat().st_size, "rows": msgspec.json.decode(rows)}


def _names_in(folder: Path) -> list[str]:
    """Return the names of the tree of a state folder; none where they cannot be read."""
    try:
        return names_of(folder / DATABASE) if (folder / DATABASE).exists() else []
    except RemotefsError:
        return []


def _settings(config: Config | None) -> dict[str, object]:
    """Return the settings that differ from their defaults; of a secret only that it is set."""
    if config is None:
        return {"refused": True}
    changed: dict[str, object] = {}
    for section in Config.__struct_fields__:
        for name in getattr(config, section).__struct_fields__:
            value = getattr(getattr(config, section), name)
            if value != getattr(getattr(Config(), section), name):
                changed[f"{section}.{name}"] = "set, not shown" if _is_secret(value) else value
    return changed


def _is_secret(value: object) -> bool:
    return isinstance(value, Secret) or (isinstance(value, tuple) and "Secret" in repr(value))


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _member(name: str, content: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"remotefs-doctor/{name}")
    member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
    return member
