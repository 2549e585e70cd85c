"""The arguments of `remotefs mount`, and the plan that they and the settings make."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from remotefs.cli.console import notify
from remotefs.cli.launch.mount_options import MountOptions, parse_options
from remotefs.cli.launch.state_dirs import data_dir
from remotefs.config import Config, Durability, LogFormat, LogLevel, ServiceConfig
from remotefs.errors import UsageError
from remotefs.keys import signed
from remotefs.setting_sources import default_file, load


@dataclass(frozen=True)
class MountPlan:
    """`mountpoint` is fit to be mounted on; paths are absolute.

    `local_root` is None for the real service; `state_dir` None for the account's own. `reread` returns the settings of
    the service as they are now, with the key from its source.
    """

    mountpoint: Path
    config: Config
    options: MountOptions
    local_root: Path | None = None
    state_dir: Path | None = None
    reread: Callable[[], ServiceConfig] | None = None


class MountArgs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The arguments of `remotefs mount`, handed on to the process in the background among its arguments.

    So it holds no key; that process reads the environment itself. Paths are absolute, as text.
    """

    mountpoint: str
    local: bool = False
    local_root: str | None = None
    state_dir: str | None = None
    base_url: str | None = None
    durability: Durability | None = None
    upload_rate: int | None = None
    download_rate: int | None = None
    log_level: LogLevel | None = None
    log_format: LogFormat | None = None
    metrics: str | None = None
    shared_store: str | None = None
    options: tuple[str, ...] = ()
    config_file: str | None = None
    profile: str | None = None
    # Words of -o that are not known are passed over, as mount(8) asks for by -s.
    sloppy: bool = False

    def with_words(self) -> MountArgs:
        """Return the arguments with what `-o` says of settings in fields of its own, paths absolute.

        Raises UsageError for an option that cannot be, and where a flag says another value than `-o`.
        """
        words = parse_options(self.options, sloppy=self.sloppy).settings
        given = {
            "profile": words.profile,
            "config_file": absolute(Path(words.config)) if words.config else None,
            "state_dir": absolute(Path(words.state_dir)) if words.state_dir else None,
            "base_url": words.base_url,
            "durability": words.durability,
        }
        for field, value in given.items():
            said = getattr(self, field)
            if value is not None and said is not None and said != value:
                flag = f"--{field.removesuffix('_file').replace('_', '-')}"
                raise UsageError(f"{flag} says {said} and -o says {value}: give one of them")
        return msgspec.structs.replace(self, **{field: value for field, value in given.items() if value is not None})

    def plan(self, environ: Mapping[str, str], warn: Callable[[str], None] = lambda _: None) -> MountPlan:
        """Return the plan that the arguments and the settings make; `warn` gets former names. Raises UsageError."""
        if self.local and self.base_url is not None:
            raise UsageError("--local and --base-url exclude each other: the local server has its own address")
        if self.local_root is not None and not self.local:
            raise UsageError("--local-root says where the local server keeps its files; it needs --local")
        flags: dict[str, dict[str, Any]] = {
            "service": {
                "base_url": self.base_url,
                "upload_rate": self.upload_rate,
                "download_rate": self.download_rate,
            },
            "writeback": {"durability": self.durability},
            "log": {"level": self.log_level, "format": self.log_format},
            "metrics": {"listen": self.metrics},
            "shared": {"store": self.shared_store},
        }
        local_root = Path(self.local_root) if self.local_root else data_dir() / "local"
        config_file = Path(self.config_file) if self.config_file else None

        def load_again(warn: Callable[[str], None] = lambda _: None) -> Config:
            return load_settings(environ, config_file, flags, warn, self.profile)

        return MountPlan(
            mountpoint=Path(self.mountpoint),
            config=load_again(warn),
            options=parse_options(self.options, sloppy=self.sloppy),
            local_root=local_root if self.local else None,
            state_dir=Path(self.state_dir) if self.state_dir else None,
            reread=None if self.local else lambda: signed(load_again().service),
        )

    def encode(self) -> str:
        """Return the arguments as one word of a command line."""
        return msgspec.json.encode(self).decode()


def decode_args(word: str) -> MountArgs:
    """Return the arguments that `encode` has written."""
    return msgspec.json.decode(word, type=MountArgs)


def absolute(path: Path | None) -> str | None:
    """Return a path of the command line as text. Raises UsageError where it is not UTF-8: status could not show it."""
    if path is None:
        return None
    text = str(path.absolute())
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{os.fsencode(path)!r} is not UTF-8; remotefs takes no such path here") from error
    return text


def load_settings(
    environ: Mapping[str, str],
    file: Path | None,
    flags: Mapping[str, Mapping[str, Any]],
    warn: Callable[[str], None] = notify,
    profile: str | None = None,
) -> Config:
    """Return the settings, from `file` or from their usual place, with those of a profile.

    `warn` gets former names, and keys that do not count. Raises UsageError.
    """
    if file is not None and not file.is_file():
        raise UsageError(f"--config {file}: there is no such file")
    return load(environ, file or default_file(), flags, warn, profile)
