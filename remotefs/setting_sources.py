"""Reads the settings from the flags, the environment and the file, and refuses what cannot be (H6).

A message names the place (the file with its line, the variable, the flag), the value, and what may stand there.
Only this module and `cli` read the environment.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import platformdirs

from remotefs.config import (
    CacheConfig,
    Config,
    MountConfig,
    NamesConfig,
    RefreshConfig,
    Section,
    ServiceConfig,
    UploadConfig,
    WritebackConfig,
)
from remotefs.errors import UsageError
from remotefs.setting_kinds import Kind

# Former names of settings, which are accepted with a warning.
RENAMED = {
    ("writeback", "settle_s"): "upload_delay_s",
    ("writeback", "relabel_wait_s"): "reupload_wait_s",
    ("writeback", "relabel_max_files"): "reupload_max_files",
    ("writeback", "relabel_max_bytes"): "reupload_max_bytes",
    ("refresh", "view_every_s"): "check_viewed_every_s",
}
PREFIX = "REMOTEFS_"
# Variables that begin like a setting and are none.
OTHER_VARIABLES = frozenset({"REMOTEFS_DEBUG"})
# The names of the vendor's SDKs for settings of [service]. An empty one is as good as none.
_OF_THE_SERVICE = {
    "ANTHROPIC_BASE_URL": "base_url",
    "ANTHROPIC_API_KEY": "api_key",
    "ANTHROPIC_AUTH_TOKEN": "auth_token",
    "ANTHROPIC_CUSTOM_HEADERS": "custom_headers",
}
_SECTIONS: dict[str, type[Section]] = {
    "service": ServiceConfig,
    "cache": CacheConfig,
    "writeback": WritebackConfig,
    "upload": UploadConfig,
    "refresh": RefreshConfig,
    "names": NamesConfig,
    "mount": MountConfig,
}


@dataclass(frozen=True)
class _Given:
    """A value that a source has for a setting; `place` tells where, for a message."""

    section: str
    field: str
    value: object
    place: Callable[[], str]


def default_file() -> Path:
    """Return the path of the user's settings file."""
    return platformdirs.user_config_path("remotefs") / "config.toml"


@functools.cache
def kinds_of(section: str) -> Mapping[str, Kind]:
    """Return the kind of each setting of a section."""
    hints = get_type_hints(_SECTIONS[section], include_extras=True)
    return {field: hints[field].__metadata__[0] for field in _SECTIONS[section].__struct_fields__}


def variable_of(section: str, field: str) -> str:
    """Return the variable of the environment that sets a setting."""
    return f"{PREFIX}{section}_{field}".upper()


def load(
    environ: Mapping[str, str],
    file: Path | None,
    overrides: Mapping[str, Mapping[str, object]],
    warn: Callable[[str], None] = lambda _: None,
) -> Config:
    """Return the settings: flags (`overrides`, by section and field) win over `environ`, `file` and the defaults.

    Former names go to `warn`. Raises UsageError for a name that is not known and for a value that cannot be.
    """
    kinds = {section: kinds_of(section) for section in _SECTIONS}
    merged: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for source in (_from_file(file), _from_environment(environ, kinds), _from_flags(overrides)):
        for given in _with_present_names(source, warn):
            merged[given.section][given.field] = _read(given, kinds)
    sections: dict[str, Any] = {section: kind(**merged[section]) for section, kind in _SECTIONS.items()}
    return Config(**sections)


def _read(given: _Given, kinds: Mapping[str, Mapping[str, Kind]]) -> object:
    if given.section not in kinds:
        raise UsageError(f"{given.place()}: there is no section [{given.section}]{_near(given.section, kinds)}")
    kind = kinds[given.section].get(given.field)
    if kind is None:
        raise UsageError(
            f"{given.place()}: there is no setting {given.field} in [{given.section}]{_hint(given, kinds)}"
        )
    try:
        return kind.read(given.value)
    except ValueError:
        # Not chained: the cause may show a secret.
        setting = f"[{given.section}] {given.field}"
        raise UsageError(
            f"{given.place()}: {kind.shown(given.value)} is not valid for {setting}: give {kind.allowed}"
        ) from None


def _hint(given: _Given, kinds: Mapping[str, Mapping[str, Kind]]) -> str:
    elsewhere = [section for section, fields in kinds.items() if given.field in fields]
    return f"; it belongs to [{elsewhere[0]}]" if elsewhere else _near(given.field, kinds[given.section])


def _near(name: str, known: Iterable[str]) -> str:
    """Return a question with the known names that are most like `name`; empty where none is."""
    found = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _with_present_names(source: list[_Given], warn: Callable[[str], None]) -> list[_Given]:
    """Return what a source has under the names that settings have now; the present name wins where both are given."""
    former, present = [], []
    for given in source:
        name = RENAMED.get((given.section, given.field))
        if name is None:
            present.append(given)
            continue
        warn(f"{given.place()}: {given.section}.{given.field} has the name {name} now; please change it")
        former.append(_Given(given.section, name, given.value, given.place))
    return former + present


# -- the flags


def _from_flags(overrides: Mapping[str, Mapping[str, object]]) -> list[_Given]:
    return [
        _Given(section, field, value, _constant(f"--{field.replace('_', '-')}"))
        for section, fields in overrides.items()
        for field, value in fields.items()
        if value is not None
    ]


# -- the environment


def _from_environment(environ: Mapping[str, str], kinds: Mapping[str, Mapping[str, Kind]]) -> list[_Given]:
    variables = {variable_of(section, field): (section, field) for section in kinds for field in kinds[section]}
    former = {variable_of(*setting): setting for setting in RENAMED}
    _check_variables(environ, variables, former)
    found = []
    for name, (section, field) in (variables | former).items():
        if name in environ:
            kind = kinds[section][RENAMED.get((section, field), field)]
            found.append(_Given(section, field, kind.split(environ[name]), _constant(name)))
    # The service's own names first: ours win.
    return _of_the_service(environ, kinds["service"]) + found


def _of_the_service(environ: Mapping[str, str], kinds: Mapping[str, Kind]) -> list[_Given]:
    return [
        _Given("service", field, kinds[field].split(environ[name]), _constant(name))
        for name, field in _OF_THE_SERVICE.items()
        if environ.get(name)
    ]


def _check_variables(environ: Mapping[str, str], known: Iterable[str], former: Iterable[str]) -> None:
    """Raise UsageError for a variable that looks like a setting and is none."""
    accepted = {*known, *former, *OTHER_VARIABLES}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in accepted:
            # Without the common start, for all would be alike by it.
            near = difflib.get_close_matches(
                name[len(PREFIX) :], [one[len(PREFIX) :] for one in known], n=2, cutoff=0.7
            )
            question = f"; did you mean {' or '.join(PREFIX + one for one in near)}?" if near else ""
            raise UsageError(f"the environment sets {name}, which is not a setting{question}")


def _constant(text: str) -> Callable[[], str]:
    return lambda: text


# -- the file


def _from_file(file: Path | None) -> list[_Given]:
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{file}: the settings cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error
    found = []
    for section, fields in content.items():
        if not isinstance(fields, dict):
            place = _place(file, text, (section,))
            raise UsageError(f"{place}: {section} is outside of a section such as [service]")
        if section not in _SECTIONS:
            found.append(_Given(section, "", None, _lines(file, text, section)))
        found += [_Given(section, field, value, _lines(file, text, section, field)) for field, value in fields.items()]
    return found


def _lines(file: Path, text: str, *keys: str) -> Callable[[], str]:
    return lambda: _place(file, text, keys)


def _place(file: Path, text: str, keys: tuple[str, ...]) -> str:
    """Return the file with the line at which a section or a setting begins.

    The TOML library knows no lines. But the first lines of a file are a file of their own: the setting begins after the
    most of them that can be read and do not have it.
    """
    lines = text.splitlines(keepends=True)
    without = 0
    for count in range(1, len(lines) + 1):
        try:
            content: Any = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:  # in the middle of a value of several lines
            continue
        for key in keys:
            content = content.get(key) if isinstance(content, dict) else None
        if content is not None:
            break
        without = count
    return f"{file}, line {without + 1}"
