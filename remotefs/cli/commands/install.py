"""`remotefs install`: a mount as a service of systemd, and the helper for mount(8) and fstab."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from remotefs.cli.choose_mount import A_PATH, IN_A_MOUNT
from remotefs.cli.console import notify
from remotefs.cli.launch.mount_options import parse_options
from remotefs.cli.launch.plan import absolute, load_settings
from remotefs.cli.settings_choice import ConfigChoice, ProfileChoice
from remotefs.cli.units_text import Unit, is_name_too_long, is_unchanged, unit_text
from remotefs.config import Config
from remotefs.credentials import has_key
from remotefs.errors import LocalError, UsageError
from remotefs.setting_sources import PREFIX

install = typer.Typer(
    help="Install a service for a mount, or the helper for mount(8) and fstab(5).", no_args_is_help=True
)
SYSTEM_UNITS = Path("/etc/systemd/system")
HELPER = "mount.fuse.remotefs"
HELPER_PLACE = Path("/sbin") / HELPER


@install.command()
def unit(
    mountpoint: Annotated[
        Path, typer.Argument(click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="The folder to mount on.")
    ],
    *,
    is_system: Annotated[
        bool | None,
        typer.Option(
            "--system/--user", help="For the whole machine, or for you. Default: as root --system, else --user."
        ),
    ] = None,
    profile: ProfileChoice = None,
    config_file: ConfigChoice = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir", click_type=A_PATH, metavar="DIR", help="The state folder. Default: the account's own."
        ),
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("-o", metavar="OPTION,...", help="Mount options, as for remotefs mount.")
    ] = None,
    credential: Annotated[
        Path | None,
        typer.Option(
            click_type=A_PATH,
            metavar="FILE",
            help="A file with the key, which systemd hands to the mount (LoadCredential=).",
        ),
    ] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Print the unit and install nothing.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the unit of this mountpoint.")] = False,
) -> None:
    """Install a unit of systemd that mounts at boot, or when you log in.

    Prints the commands that start it. A unit that somebody else wrote, or changed since, is not overwritten.
    """
    for_system = os.geteuid() == 0 if is_system is None else is_system
    settings = _settings(config_file, profile)
    written = Unit(
        mountpoint=_plain_path(mountpoint),
        program=program_words(),
        is_system=for_system,
        arguments=_arguments(profile, config_file, state_dir, options or []),
        credential=None if credential is None else _plain_path(credential),
        drain_s=settings.mount.umount_drain_s,
        signal_drain_s=settings.mount.signal_drain_s,
    )
    if is_name_too_long(written.name):
        raise UsageError(f"{mountpoint}: the path is too long for the name of a unit")
    if only_print:
        typer.echo(unit_text(written), nl=False)
        return
    place = _folder_of_units(is_system=for_system) / written.name
    if remove:
        _remove_unit(place, written)
        return
    write_unit(place, unit_text(written))
    _tell_what_is_next(place, written, settings)


@install.command()
def helper(
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the link.")] = False,
) -> None:
    """Link the helper of mount(8) to /sbin, for `mount -t fuse.remotefs` and lines of /etc/fstab. For root."""
    if os.geteuid() != 0:
        raise UsageError(f"{HELPER_PLACE} is root's: run this as root, for instance with sudo")
    if remove:
        notify(f"removed {HELPER_PLACE}" if remove_helper(HELPER_PLACE) else f"{HELPER_PLACE} is not there")
        return
    link_helper(_beside(HELPER), HELPER_PLACE)
    notify(f"{HELPER_PLACE} is {HELPER_PLACE.readlink()}")
    notify("a line of /etc/fstab: PROFILE MOUNTPOINT fuse.remotefs _netdev,nofail 0 0")


def program_words() -> tuple[str, ...]:
    """Return the words that call this installation of remotefs from anywhere."""
    try:
        return (str(_beside("remotefs")),)
    except LocalError:
        return sys.executable, "-m", "remotefs"


def write_unit(place: Path, text: str) -> None:
    """Write a unit. Raises UsageError for one that `remotefs install unit` did not write, or that was changed."""
    if place.is_symlink() or place.exists():
        _check_ours(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.new")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o644)
        fresh.replace(place)
    except OSError as error:
        raise LocalError(f"{place} cannot be written: {error.strerror}") from error


def link_helper(target: Path, place: Path) -> None:
    """Make `place` a link to the helper. Raises UsageError where something else is there."""
    if os.path.lexists(place):
        if not _is_our_link(place):
            raise UsageError(f"{place} is there and is not a link to a {HELPER}; a package may have put it there")
        place.unlink()
    try:
        place.symlink_to(target)
    except OSError as error:
        raise LocalError(f"{place} cannot be made: {error.strerror}") from error


def remove_helper(place: Path) -> bool:
    """Remove the link to the helper; return whether it was there. Raises UsageError where something else is there."""
    if not os.path.lexists(place):
        return False
    if not _is_our_link(place):
        raise UsageError(f"{place} is not a link to a {HELPER}: it stays")
    place.unlink()
    return True


def _is_our_link(place: Path) -> bool:
    return place.is_symlink() and place.readlink().name == HELPER


def _beside(name: str) -> Path:
    """Return the program of this installation. Raises LocalError where it has none."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise LocalError(f"this installation has no program {name}: install remotefs as its documents say")
    return Path(found).absolute()


def _check_ours(place: Path) -> None:
    try:
        unchanged = is_unchanged(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{place} is there and cannot be read: {error}") from error
    if unchanged is None:
        raise UsageError(f"{place} is there, and remotefs did not write it: remove it first, or use --print")
    if not unchanged:
        raise UsageError(f"{place} was changed since remotefs wrote it: remove it first, or use --print")


def _remove_unit(place: Path, written: Unit) -> None:
    if not os.path.lexists(place):
        raise UsageError(f"{place} is not there")
    _check_ours(place)
    place.unlink()
    notify(f"removed {place}")
    _show_commands(written, "stop", "disable", "daemon-reload")


def _settings(config_file: Path | None, profile: str | None) -> Config:
    """Return the settings as the unit will have them: without the variables of this shell."""
    return load_settings({}, config_file, {}, profile=profile or os.environ.get("REMOTEFS_PROFILE") or None)


def _arguments(
    profile: str | None, config_file: Path | None, state_dir: Path | None, options: list[str]
) -> tuple[str, ...]:
    parse_options(options)
    chosen = profile or os.environ.get("REMOTEFS_PROFILE") or None
    pairs = (("--profile", chosen), ("--config", absolute(config_file)), ("--state-dir", absolute(state_dir)))
    given = [(name, value) for name, value in pairs if value is not None] + [("-o", value) for value in options]
    for _, value in given:
        if not value.isprintable():
            raise UsageError(f"{value!r} has characters that a unit cannot have")
    return tuple(word for pair in given for word in pair)


def _plain_path(path: Path) -> str:
    text = absolute(path) or ""
    if not text.isprintable():
        raise UsageError(f"{text!r} has characters that a unit cannot have")
    return os.path.normpath(text)


def _folder_of_units(*, is_system: bool) -> Path:
    if not is_system:
        return platformdirs.user_config_path("systemd") / "user"
    if os.geteuid() != 0:
        raise UsageError(f"{SYSTEM_UNITS} is root's: run this as root, or use --user or --print")
    return SYSTEM_UNITS


def _tell_what_is_next(place: Path, written: Unit, settings: Config) -> None:
    notify(f"wrote {place}")
    if not Path(written.mountpoint).is_dir():
        notify(f"make the mountpoint first: mkdir -p {shlex.quote(written.mountpoint)}")
    if written.credential is None and not has_key(settings.service):
        notify("it has no key: set key_file or key_command in the settings, or give --credential FILE")
    ignored = sorted(name for name in os.environ if name.startswith((PREFIX, "ANTHROPIC_")))
    if ignored:
        notify(f"a service does not get the variables of your shell ({', '.join(ignored)})")
    _show_commands(written, "daemon-reload", "enable --now", "status")
    if not written.is_system:
        notify("to start it at boot, before you log in: loginctl enable-linger")


def _show_commands(written: Unit, *verbs: str) -> None:
    how = "systemctl" if written.is_system else "systemctl --user"
    for verb in verbs:
        notify(f"{how} {verb}" + ("" if verb == "daemon-reload" else f" {shlex.quote(written.name)}"))
