"""Reads the settings from the flags, the environment and the file, and refuses what cannot be (H6).

A message names the place (the file with its line, the variable, the flag), the value, and what may stand there.
Only this module and `cli` read the environment.

A value comes from the first of: a flag; a variable of ours, `REMOTEFS_…`; the chosen profile of the file; a variable
`ANTHROPIC_…`, which is for all programs of the service; the file's own sections; the default. Keys are taken as one:
where a source names one, those of the sources below it do not count. And a profile with a key is one account, whatever
the environment is set up for: then none of the variables `ANTHROPIC_…` counts.
"""

from __future__ import annotations

import difflib
import functools
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import platformdirs

from remotefs.config import (
    CacheConfig,
    Config,
    LogConfig,
    MetricsConfig,
    MountConfig,
    NamesConfig,
    RefreshConfig,
    Secret,
    Section,
    ServiceConfig,
    SharedConfig,
    UploadConfig,
    WritebackConfig,
)
from remotefs.errors import UsageError
from remotefs.keys import USUAL_CREDENTIAL, check_private
from remotefs.setting_file import Given, SettingFile
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
PROFILE_VARIABLE = "REMOTEFS_PROFILE"
OTHER_VARIABLES = frozenset({"REMOTEFS_DEBUG", PROFILE_VARIABLE})
# The names of the vendor's SDKs for settings of [service]. An empty one is as good as none.
_OF_THE_SERVICE = {
    "ANTHROPIC_BASE_URL": "base_url",
    "ANTHROPIC_API_KEY": "api_key",
    "ANTHROPIC_AUTH_TOKEN": "auth_token",
    "ANTHROPIC_WORKSPACE_ID": "workspace_id",
    "ANTHROPIC_CUSTOM_HEADERS": "custom_headers",
}
# The settings of [service] that sign requests in.
_KEYS = ("api_key", "auth_token", "key_file", "key_command", "key_credential")
# They may stand together: the first of them wins, as in the vendor's SDKs.
_TOGETHER = frozenset({"api_key", "auth_token"})
# Headers of these names carry a secret.
_SECRET_HEADER = re.compile(r"key|token|secret|auth|cookie", re.IGNORECASE)
# The place of the chosen profile among the sources, from the weakest: the file's own sections, the variables for all
# programs of the service, the profile, variables of ours, flags.
_CHOSEN = 2
_SECTIONS: dict[str, type[Section]] = {
    "service": ServiceConfig,
    "cache": CacheConfig,
    "writeback": WritebackConfig,
    "upload": UploadConfig,
    "refresh": RefreshConfig,
    "names": NamesConfig,
    "mount": MountConfig,
    "log": LogConfig,
    "metrics": MetricsConfig,
    "shared": SharedConfig,
}


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


def profiles_of(file: Path | None) -> tuple[str, ...]:
    """Return the names of the profiles in a settings file. Raises UsageError where it cannot be read."""
    return SettingFile.read(file).profiles


def load(
    environ: Mapping[str, str],
    file: Path | None,
    overrides: Mapping[str, Mapping[str, object]],
    warn: Callable[[str], None] = lambda _: None,
    profile: str | None = None,
) -> Config:
    """Return the settings: flags (`overrides`, by section and field) win over `environ`, `file` and the defaults.

    `profile` is one of the file; without it REMOTEFS_PROFILE may name one. Former names, and keys that do not count, go
    to `warn`. Raises UsageError for a name that is not known and for a value that cannot be.
    """
    kinds = {section: kinds_of(section) for section in _SECTIONS}
    written = SettingFile.read(file)
    profiles = {name: written.of_profile(name) for name in written.profiles}
    chosen = _chosen(profiles, profile or environ.get(PROFILE_VARIABLE) or None, file)
    own, ours = written.own(), _from_environment(environ, kinds)
    for source in profiles.values():
        for given in source:
            _read(_with_present_name(given), kinds)
    for source in (own, *profiles.values(), ours):
        _check_one_key(source)
    shared = _beside_profile(_of_the_service(environ, kinds["service"]), chosen, ours, warn)
    sources = [_with_present_names(source, warn) for source in (own, shared, chosen, ours, _from_flags(overrides))]
    merged: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for given in _with_keys_of_one(sources, warn):
        value = _read(given, kinds)
        if given.field:
            merged[given.section][given.field] = value
    _check_protected(written, [own, *profiles.values()])
    _find_credential(merged["service"], environ.get("CREDENTIALS_DIRECTORY"))
    sections: dict[str, Any] = {section: kind(**merged[section]) for section, kind in _SECTIONS.items()}
    return Config(**sections)


def _chosen(profiles: Mapping[str, list[Given]], name: str | None, file: Path | None) -> list[Given]:
    """Return the values of the profile `name`, none without a name. Raises UsageError where it is missing."""
    if name is None:
        return []
    if name not in profiles:
        known = f" (its profiles: {', '.join(profiles)})" if profiles else ", which has no profiles"
        raise UsageError(f"there is no profile {name!r} in {file}{_near(name, profiles)}{known}")
    return profiles[name]


# -- keys


def _beside_profile(
    shared: list[Given], chosen: list[Given], ours: list[Given], warn: Callable[[str], None]
) -> list[Given]:
    """Return the variables `ANTHROPIC_…` that count beside the chosen profile.

    Raises UsageError where both the profile and a variable of ours name a key: nothing says whose account is meant.
    """
    own_key = next(filter(_is_key, chosen), None)
    if own_key is None:
        return shared
    if other := next(filter(_is_key, ours), None):
        raise UsageError(f"{other.place()}: the profile has a key too ({own_key.place()}); use one of the two")
    for given in shared:
        warn(f"{given.place()} is not used: the profile has a key of its own")
    return []


def _with_keys_of_one(sources: list[list[Given]], warn: Callable[[str], None]) -> list[Given]:
    """Return the values of all sources, the strongest last, with the keys of the strongest alone."""
    strongest = max((number for number, source in enumerate(sources) if any(map(_is_key, source))), default=0)
    used = []
    for number, source in enumerate(sources):
        for given in source:
            if number >= strongest or not _is_key(given):
                used.append(given)
            elif strongest != _CHOSEN:  # a profile is there to win over the sections of its file
                other = next(filter(_is_key, sources[strongest]))
                warn(f"{given.place()}: the key is not used: {other.place()} has one, which takes precedence")
    return used


def _check_one_key(source: list[Given]) -> None:
    """Raise UsageError where one source says in two ways where the key is."""
    found = {given.field: given for given in source if _is_key(given)}
    if len(found) > 1 and not found.keys() <= _TOGETHER:
        *_, one, other = found.values()
        raise UsageError(f"{other.place()}: {other.field} and {one.field} both name a key; give one of them")


def _check_protected(written: SettingFile, sources: list[list[Given]]) -> None:
    """Raise UsageError for a file with a key that others can read, or with a command that others can change."""
    if written.status is None:
        return
    given = [given for source in sources for given in source if given.section == "service"]
    if any(map(_holds_secret, given)):
        check_private(str(written.path), written.status, "holds a key")
    elif written.status.st_mode & 0o022 and any(one.field == "key_command" for one in given):
        mend = f"chmod go-w {shlex.quote(str(written.path))}"
        raise UsageError(f"{written.path} names a command to run, and others can change it: {mend}")


def _holds_secret(given: Given) -> bool:
    if given.field == "custom_headers" and isinstance(given.value, list):
        return any(isinstance(pair, list) and pair and _SECRET_HEADER.search(str(pair[0])) for pair in given.value)
    return given.field in _TOGETHER


def _find_credential(service: dict[str, Any], folder: str | None) -> None:
    """Set the path of the credential of systemd that is named, or of the usual one where no key is."""
    if folder is None:
        return
    named = service.get("key_credential")
    usual = None if any(service.get(key) for key in _KEYS) else USUAL_CREDENTIAL
    if named is not None:
        service["key_credential"] = str(Path(folder, named))
    elif usual is not None and Path(folder, usual).exists():
        service["key_credential"] = str(Path(folder, usual))


def _is_key(given: Given) -> bool:
    return given.section == "service" and given.field in _KEYS


# -- reading a value


def _read(given: Given, kinds: Mapping[str, Mapping[str, Kind]]) -> object:
    if given.section not in kinds:
        raise UsageError(f"{given.place()}: there is no section [{given.section}]{_near(given.section, kinds)}")
    if not given.field:
        return None
    kind = kinds[given.section].get(given.field)
    if kind is None:
        raise UsageError(
            f"{given.place()}: there is no setting {given.field} in [{given.section}]{_hint(given, kinds)}"
        )
    try:
        value = kind.read(given.value)
    except ValueError:
        # Not chained: the cause may show a secret.
        setting = f"[{given.section}] {given.field}"
        raise UsageError(
            f"{given.place()}: {kind.shown(given.value)} is not valid for {setting}: give {kind.allowed}"
        ) from None
    return Secret(value.reveal(), given.place()) if isinstance(value, Secret) else value


def _hint(given: Given, kinds: Mapping[str, Mapping[str, Kind]]) -> str:
    elsewhere = [section for section, fields in kinds.items() if given.field in fields]
    return f"; it belongs to [{elsewhere[0]}]" if elsewhere else _near(given.field, kinds[given.section])


def _near(name: str, known: Iterable[str]) -> str:
    """Return a question with the known names that are most like `name`; empty where none is."""
    found = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _with_present_names(source: list[Given], warn: Callable[[str], None]) -> list[Given]:
    """Return what a source has under the names that settings have now; the present name wins where both are given."""
    former, present = [], []
    for given in source:
        now = _with_present_name(given)
        if now is given:
            present.append(given)
            continue
        warn(f"{given.place()}: {given.section}.{given.field} has the name {now.field} now; please change it")
        former.append(now)
    return former + present


def _with_present_name(given: Given) -> Given:
    name = RENAMED.get((given.section, given.field))
    return given if name is None else Given(given.section, name, given.value, given.place)


# -- the flags

# Those that are not named after their field alone.
_FLAGS = {("shared", "store"): "--shared-store"}


def _flag_of(section: str, field: str) -> str:
    return _FLAGS.get((section, field), f"--{field.replace('_', '-')}")


def _from_flags(overrides: Mapping[str, Mapping[str, object]]) -> list[Given]:
    return [
        Given(section, field, value, _constant(_flag_of(section, field)))
        for section, fields in overrides.items()
        for field, value in fields.items()
        if value is not None
    ]


# -- the environment


def _from_environment(environ: Mapping[str, str], kinds: Mapping[str, Mapping[str, Kind]]) -> list[Given]:
    variables = {variable_of(section, field): (section, field) for section in kinds for field in kinds[section]}
    former = {variable_of(*setting): setting for setting in RENAMED}
    _check_variables(environ, variables, former)
    found = []
    for name, (section, field) in (variables | former).items():
        if name in environ:
            kind = kinds[section][RENAMED.get((section, field), field)]
            found.append(Given(section, field, kind.split(environ[name]), _constant(name)))
    return found


def _of_the_service(environ: Mapping[str, str], kinds: Mapping[str, Kind]) -> list[Given]:
    return [
        Given("service", field, kinds[field].split(environ[name]), _constant(name))
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
