"""The text of systemd's units for mounts: pure.

A unit runs the mount in the foreground, which tells systemd when it answers and how it is doing, and ends it by
`remotefs umount`, which brings pending changes to the service first. Two restrictions decide about the hardening:

* An ordinary user mounts by the setuid program fusermount3, and NoNewPrivileges would take its rights away. So would
  every option that is made of a filter of system calls, because systemd then turns NoNewPrivileges on. A unit of a user
  therefore has none of them; root mounts without that program.
* Nobody else would see a mount that is made in a mount namespace of its own. So no unit has PrivateTmp, ProtectSystem,
  ProtectHome, PrivateDevices or another option that makes one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from remotefs.keys import USUAL_CREDENTIAL

WRITER = "# Written by `remotefs install unit`"
# The longest name of a unit.
_MOST_CHARACTERS = 255
_SUFFIX = ".service"
# Past the drain: the end of the mount's process itself, and the time that SIGTERM gives if `umount` was refused.
_GRACE_S = 60.0
_START_S = 180
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@,+-]+")
_HARDENING_OF_ROOT = (
    "NoNewPrivileges=yes", "LockPersonality=yes", "RestrictNamespaces=yes", "RestrictRealtime=yes",
    "SystemCallArchitectures=native",
)  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """A unit: `program` are the words that call remotefs, `arguments` those of its mount beside the mountpoint.

    `is_system` is for root's systemd, else it is for that of a user. `credential` is a file with the key. `drain_s` is
    the time that pending changes have at a stop.
    """

    mountpoint: str
    program: tuple[str, ...]
    is_system: bool
    arguments: tuple[str, ...] = ()
    credential: str | None = None
    drain_s: float = 60.0
    signal_drain_s: float = 30.0
    # Lines of [Service] that only a template has.
    extra: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Return the name of its file."""
        return f"remotefs-{escaped_path(self.mountpoint)}{_SUFFIX}"


def unit_text(unit: Unit) -> str:
    """Return the unit's file, whose first line tells later whether somebody has changed it."""
    how = "systemctl" if unit.is_system else "systemctl --user"
    change = f"To change it: {how} edit {unit.name}"
    body = _body(unit, _word(unit.mountpoint), unit.mountpoint.replace("%", "%%"))
    return f"{WRITER} ({_digest(body)}). {change}\n{body}"


def template_text(program: Sequence[str], *, is_system: bool) -> str:
    """Return the template `remotefs@.service` for packages; its instance is the escaped path of a mountpoint.

    `remotefs/<instance>.env` in /etc, or in the user's configuration folder, may set REMOTEFS_PROFILE for it.
    """
    extra = ("EnvironmentFile=-%E/remotefs/%i.env",)
    return _body(Unit("/", tuple(program), is_system=is_system, extra=extra), '"%f"', "%f")


def is_unchanged(text: str) -> bool | None:
    """Return whether a file is as `unit_text` wrote it; None where it wrote no such file."""
    first, _, body = text.partition("\n")
    if not first.startswith(WRITER):
        return None
    return f"({_digest(body)})" in first


def escaped_path(path: str) -> str:
    """Return a path as the names of units have it (systemd-escape --path)."""
    parts = [part for part in path.split("/") if part]
    name = "-".join(map(_escaped, parts)) or "-"
    return f"\\x2e{name[1:]}" if name.startswith(".") else name


def is_name_too_long(name: str) -> bool:
    """Return whether no unit can have that name."""
    return len(name) > _MOST_CHARACTERS


def _body(unit: Unit, mountpoint: str, shown: str) -> str:
    program = " ".join(map(_word, unit.program))
    arguments = "".join(f" {_word(argument)}" for argument in unit.arguments)
    lines = ["[Unit]", f"Description=remotefs at {shown}"]
    if unit.is_system:
        lines += ["Wants=network-online.target", "After=network-online.target"]
    lines += [
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={program} mount --foreground{arguments} {mountpoint}",
        "# Pending changes go to the service first; those that do not get there in time are kept for the next start.",
        f"ExecStop=-{program} umount --timeout {unit.drain_s:g} {mountpoint}",
        "KillMode=mixed",
        f"TimeoutStartSec={_START_S}",
        f"TimeoutStopSec={unit.drain_s + unit.signal_drain_s + _GRACE_S:g}",
        "Restart=on-failure",
        "RestartSec=10",
        "# 3: changes are left for the next start. 2: the settings are wrong, and would be the next time too.",
        "SuccessExitStatus=3",
        "RestartPreventExitStatus=2",
        "UMask=0077",
        "LimitCORE=0",
        "LimitNOFILE=65536",
    ]
    if unit.credential is not None:
        lines.append(f"LoadCredential={USUAL_CREDENTIAL}:{_specifier_free(unit.credential)}")
    lines += unit.extra
    lines += _HARDENING_OF_ROOT if unit.is_system else ()
    lines += ["", "[Install]", f"WantedBy={'multi-user.target' if unit.is_system else 'default.target'}", ""]
    return "\n".join(lines)


def _escaped(part: str) -> str:
    def shown(byte: int) -> str:
        character = chr(byte)
        return character if character.isascii() and (character.isalnum() or character in ":_.") else f"\\x{byte:02x}"

    return "".join(map(shown, part.encode("utf-8", "surrogateescape")))


def _word(text: str) -> str:
    """Return a word of a command line in a unit: quoted where needed, without specifiers and variables."""
    plain = _specifier_free(text).replace("$", "$$")
    if _PLAIN.fullmatch(plain):
        return plain
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _specifier_free(text: str) -> str:
    return text.replace("%", "%%")


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
