"""Finds what the SOURCE of mount(8) and fstab(5) stands for: a profile, an address, an account, or the settings."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from remotefs.cli.launch.plan import MountArgs
from remotefs.cli.launch.state_dirs import data_dir, folders_by_name
from remotefs.errors import UsageError
from remotefs.setting_sources import default_file, profiles_of

# For the service and the account that the settings name.
DEFAULTS = frozenset({"", "remotefs", "none"})
_ADDRESSES = ("http://", "https://")


def as_written(args: MountArgs, source: str) -> str:
    """Return a SOURCE as it was written: mount(8) makes a path of a name that a file of the current folder has, too."""
    if not source.startswith("/"):
        return source
    names = {*DEFAULTS - {""}, *profiles_of(_settings_file(args)), *folders_by_name(data_dir())}
    return next((name for name in sorted(names) if os.path.realpath(name) == source), source)


def with_source(args: MountArgs, source: str) -> MountArgs:
    """Return the arguments of a mount with those that its SOURCE stands for.

    Raises UsageError, with what SOURCE may be here, when it stands for nothing or an option says something else.
    """
    if source in DEFAULTS:
        return args
    if source.lower().startswith(_ADDRESSES):
        return _with(args, "base_url", source, source)
    profiles = profiles_of(_settings_file(args))
    if source in profiles:
        return _with(args, "profile", source, source)
    folders = folders_by_name(data_dir())
    match folders.get(source, ()):
        case [folder]:
            return _with(args, "state_dir", str(folder), source)
        case [_, _, *_]:
            names = ", ".join(name for name in folders if name.startswith(f"{source}/"))
            raise UsageError(f"SOURCE {source!r} stands for several accounts: give one of {names}")
    raise UsageError(
        f"SOURCE {source!r} is not known: give a profile of {_settings_file(args)} ({_named(profiles)}), an address "
        f"such as https://api.anthropic.com, an account that was mounted here ({_named(folders)}), or `remotefs`"
    )


def _settings_file(args: MountArgs) -> Path:
    return Path(args.config_file) if args.config_file else default_file()


def _with(args: MountArgs, field: str, value: str, source: str) -> MountArgs:
    said = getattr(args, field)
    if said is not None and said != value:
        raise UsageError(f"SOURCE {source} stands for {field}={value}, and -o says {field}={said}: give one of them")
    return msgspec.structs.replace(args, **{field: value})


def _named(names: object) -> str:
    return ", ".join(sorted(map(str, names))) if names else "there is none"  # type: ignore[call-overload]
