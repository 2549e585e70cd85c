"""The settings: frozen sections; each field has its unit in its name and its reason beside it.

A value comes from the first of: a flag, the environment (`REMOTEFS_<SECTION>_<FIELD>`; the service's own names are
`ANTHROPIC_*`), the file (`remotefs/config.toml` in the user's configuration folder), the default here.
Only this module and `cli` read the environment.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import platformdirs

from remotefs.errors import UsageError

_log = logging.getLogger(__name__)

Shape = Literal["auto", "ga", "beta"]
Durability = Literal["remote", "local", "strict"]

# The ranges of settings, which msgspec checks when it reads them.
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Days = Annotated[float, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Size = Annotated[int, msgspec.Meta(ge=0)]
# The kernel reads pages of 4 KiB.
ChunkSize = Annotated[int, msgspec.Meta(ge=4096)]
Number = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]

MIB = 1 << 20
GIB = 1 << 30
DEFAULT_BASE_URL = "https://api.anthropic.com"

# Former names of settings, which are accepted with a warning.
RENAMED = {
    ("writeback", "settle_s"): "upload_delay_s",
    ("writeback", "relabel_wait_s"): "reupload_wait_s",
    ("writeback", "relabel_max_files"): "reupload_max_files",
    ("writeback", "relabel_max_bytes"): "reupload_max_bytes",
    ("refresh", "view_every_s"): "check_viewed_every_s",
}


class Secret:
    """A string that no repr, log or traceback shows; `reveal()` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, for the header that carries it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings."""


class ServiceConfig(Section, frozen=True, kw_only=True):
    """How to reach the service, and as whom."""

    base_url: str = DEFAULT_BASE_URL
    # `x-api-key`; wins over auth_token, as in the vendor's SDKs.
    api_key: Secret | None = None
    # `Authorization: Bearer`.
    auth_token: Secret | None = None
    workspace_id: str | None = None
    # Extra request headers, from ANTHROPIC_CUSTOM_HEADERS; a Secret each, for people put tokens there.
    custom_headers: tuple[tuple[str, Secret], ...] = ()
    # `auto`: GA, falling back to the beta shape where a server needs it.
    shape: Shape = "auto"
    connect_timeout_s: Seconds = 5.0
    # Between two pieces of a reply or of an upload, not for the whole.
    io_timeout_s: Seconds = 60.0
    # For a request that carries no file, retries included.
    request_deadline_s: Seconds = 60.0
    # How long open, read, write and truncate wait while the service sends nothing for them. Short, because programs
    # freeze meanwhile; the request goes on, and the next try finds the bytes that came (R7).
    read_wait_s: Seconds = 10.0
    # None: the limit of the shape (500 in GA, 100 in beta); 0: no limit.
    requests_per_minute: Number | None = None
    # The service refuses more with 413; whether its MB are 10^6 or 2^20 is not documented.
    max_file_bytes: Size = 500 * MIB
    # What an organization may store, by the vendor's guide; no reply tells. `df` shows no more free. 0: no bound.
    storage_bytes: Size = 10**12


class CacheConfig(Section, frozen=True, kw_only=True):
    """Content kept on this disk."""

    # Evictable bytes at most, as a part of the disk; pins have no quota but the reserve.
    evictable_fraction: Fraction = 0.20
    evictable_bytes: Size | None = None
    # Always left free on the disk: the larger of the two.
    reserve_bytes: Size = GIB
    reserve_fraction: Fraction = 0.05
    # Chunks kept in memory when they cannot go to the disk (A8).
    memory_bytes: Size = 32 * MIB
    # One kernel READ; also the unit of checksums.
    chunk_bytes: ChunkSize = 128 * 1024
    # The readahead of a sequential reader's stream, past the bytes that the reader asked for.
    readahead_bytes: Size = 8 * MIB


class WritebackConfig(Section, frozen=True, kw_only=True):
    """From a written file to the service (W2, W4, W10, N6)."""

    durability: Durability = "remote"
    # A process in close cannot be killed: hence the bound (W2).
    close_wait_s: Seconds = 10.0
    # `durability = local`: the upload follows the last close after this.
    upload_delay_s: Seconds = 2.0
    # A file closed empty waits this long for its bytes (W10).
    empty_grace_s: Seconds = 5.0
    # Temporary shapes wait this long after their last close (N6).
    temporary_grace_s: Seconds = 30.0
    # A removed file waits this long at the service for a new one of its name, which is uploaded first (W5).
    delete_wait_s: Seconds = 1.0
    # A rename waits this long to merge with later ones (W7).
    reupload_wait_s: Seconds = 30.0
    reupload_max_files: Number = 100
    reupload_max_bytes: Size = 100 * MIB
    # When the listing is read back after a lost reply: files show up in it a few seconds late (W6).
    readback_after_s: tuple[Seconds, ...] = (5.0, 15.0)
    # A file that keeps changing: how long after one version the next is frozen and sent at the earliest, and how long
    # nothing has to follow a close for that to be sent as it is (W4).
    changing_pause_s: Seconds = 30.0
    upload_workers: Positive = 8
    # More pending intents than this make write and close wait, then fail with ENOSPC.
    backlog_intents: Positive = 100_000
    replace_downloadable: bool = False


class RefreshConfig(Section, frozen=True, kw_only=True):
    """Listing the service into the tree (A1, A4)."""

    poll_in_use_s: Seconds = 6.0
    poll_idle_s: Seconds = 300.0
    # Without a kernel request for this long the mount counts as idle.
    idle_after_s: Seconds = 60.0
    walk_every_s: Seconds = 3600.0
    # Files in viewed folders are asked for by id this often, if a poll does not show all of them.
    check_viewed_every_s: Seconds = 30.0
    # Polls and walks together use at most this part of the learned request limit.
    budget_fraction: Fraction = 0.02
    # A large upload can appear below a newer known id.
    poll_overlap_s: Seconds = 600.0
    first_listing_wait_s: Seconds = 60.0
    # The guard against mass removal (S1).
    removal_guard_files: Number = 20
    removal_guard_fraction: Fraction = 0.10
    # A file that became known only now is not missed yet: a listing may lag behind an upload.
    removal_min_age_s: Seconds = 30.0
    trash_days: Days = 30.0


class NamesConfig(Section, frozen=True, kw_only=True):
    """The two lists of N6, as shell patterns on one name."""

    never_uploaded: tuple[str, ...] = (
        ".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".directory", ".nfs*", ".fuse_hidden*", ".Trash-*",
    )  # fmt: skip
    temporary: tuple[str, ...] = (
        "*~", "*.sw[l-px]", "*.swpx", "4913", "#*#", ".#*", ".*.kate-swp",  # vim, nano, emacs, Kate
        ".goutputstream-*", ".~*", "~$*", "*.tmp",  # gio, LibreOffice and Jupyter, MS Office, very many
        "*.vsctmp", "*___jb_tmp___", "*___jb_old___",  # VS Code, JetBrains
        "*-journal", "*-wal", "*-shm", "*.crdownload", "*.part",  # SQLite, Chrome, Firefox
        "*.lock", "tmp_obj_*", ".tmp-*-pack-*", "*.pyc.[0-9]*",  # git, CPython's cache
        # Six characters of mkstemp: sed -i, zip, perl -i, git's packs and info files, patch, rsync.
        *(shape.replace("XXXXXX", "[A-Za-z0-9]" * 6) for shape in (
            "sedXXXXXX", "ziXXXXXX", "[X][X]XXXXXX", "tmp_*_XXXXXX", "refs_XXXXXX", "packs_XXXXXX", "*.oXXXXXX",
            ".*.XXXXXX",
        )),
        # glib and Qt save as `name.XXXXXX`: only with a capital among the six, for `.svelte` is an ordinary end.
        *("*." + "[a-z0-9]" * n + "[A-Z]" + "[A-Za-z0-9]" * (5 - n) for n in range(6)),
    )  # fmt: skip


class MountConfig(Section, frozen=True, kw_only=True):
    """The kernel's side of the mount."""

    # fusectl's max_background and congestion_threshold: the kernel's 12 let slow reads hold up fast ones.
    max_background: Positive = 128
    # What the kernel reads ahead of a sequential reader, and so the size of its READs: at most 1 MiB each. Its own
    # 128 KiB cost a request, and our work for one, eight times as often.
    kernel_readahead_bytes: Size = MIB
    max_tasks: Positive = 500
    # How long the kernel may cache a name or an attribute. The mount reports every change to it.
    entry_timeout_s: Seconds = 3600.0
    umount_drain_s: Seconds = 60.0
    signal_drain_s: Seconds = 30.0
    takeover_wait_s: Seconds = 10.0


class Config(Section, frozen=True, kw_only=True):
    """All sections."""

    service: ServiceConfig = ServiceConfig()
    cache: CacheConfig = CacheConfig()
    writeback: WritebackConfig = WritebackConfig()
    refresh: RefreshConfig = RefreshConfig()
    names: NamesConfig = NamesConfig()
    mount: MountConfig = MountConfig()


S = TypeVar("S", bound=Section)


def default_file() -> Path:
    """Return the path of the user's settings file."""
    return platformdirs.user_config_path("remotefs") / "config.toml"


def load(environ: Mapping[str, str], file: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return the settings: flags (`overrides`, by section and field) win over `environ`, `file` and the defaults.

    Raises UsageError that names the setting and its source.
    """
    sources = [
        ("settings file", _read_file(file)),
        ("environment", _from_environment(environ)),
        ("flag", overrides),
    ]
    merged: dict[str, dict[str, Any]] = {}
    for origin, sections in sources:
        for section, found in sections.items():
            fields = _with_present_names(origin, section, found)
            _check(origin, section, fields)
            merged.setdefault(section, {}).update({k: v for k, v in fields.items() if v is not None})
    return _build(Config, merged, "settings")


def _read_file(file: Path | None) -> Mapping[str, Mapping[str, Any]]:
    if file is None or not file.exists():
        return {}
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error
    for section, fields in content.items():
        if not isinstance(fields, dict):
            raise UsageError(f"{file}: {section!r} is outside of a section such as [service]")
    return content


def _from_environment(environ: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for section in Config.__struct_fields__:
        values = getattr(Config(), section)
        former = [old for where, old in RENAMED if where == section]
        for field in (*type(values).__struct_fields__, *former):
            name = f"REMOTEFS_{section}_{field}".upper()
            if name in environ:
                value = environ[name]
                several = isinstance(getattr(values, field, None), tuple)
                found.setdefault(section, {})[field] = value.split() if several else value
    service = {
        "base_url": environ.get("ANTHROPIC_BASE_URL") or None,
        "api_key": environ.get("ANTHROPIC_API_KEY") or None,
        "auth_token": environ.get("ANTHROPIC_AUTH_TOKEN") or None,
        "custom_headers": _header_lines(environ.get("ANTHROPIC_CUSTOM_HEADERS", "")),
    }
    found["service"] = {k: v for k, v in service.items() if v} | found.get("service", {})
    return found


def _header_lines(text: str) -> list[tuple[str, str]]:
    pairs = []
    for line in filter(str.strip, text.splitlines()):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UsageError("ANTHROPIC_CUSTOM_HEADERS: each line is `Name: value`")
        pairs.append((name.strip(), value.strip()))
    return pairs


def _with_present_names(origin: str, section: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields under the names that settings have now; the present name wins where both are given."""
    present: dict[str, Any] = {}
    for field, value in fields.items():
        name = RENAMED.get((section, field), field)
        if name == field:
            present[name] = value
            continue
        _log.warning("%s: %s.%s has the name %s now; please change it", origin, section, field, name)
        present.setdefault(name, value)
    return present


def _check(origin: str, section: str, fields: Mapping[str, Any]) -> None:
    """Reject unknown names and invalid values of one source, so that the message can name the source."""
    known = getattr(Config(), section, None)
    if not isinstance(known, Section):
        raise UsageError(f"{origin}: there is no section {section!r}")
    _build(type(known), {k: v for k, v in fields.items() if v is not None}, f"{origin}, [{section}]")


def _build(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}") from error


def _decode(kind: type, value: object) -> Secret:
    if kind is Secret and isinstance(value, Secret | str):
        return value if isinstance(value, Secret) else Secret(value)
    raise TypeError(f"{kind} cannot be read from {type(value).__name__}")
