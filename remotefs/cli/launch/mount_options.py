"""Reads the mount options of `-o`, as mount(8) and fstab(5) write them.

The flags are those that libfuse takes and hands to the kernel or to fusermount3; `default_permissions` is always on.
The words with a value say what is shown, or stand for an option of `remotefs mount`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from remotefs.cli.launch.option_values import ALLOWED, READERS
from remotefs.errors import UsageError
from remotefs.vfs.shown import AS_STORED, ShownAs

# Later ones win over earlier ones of their pair, as in mount(8).
KERNEL_PAIRS = (("dev", "nodev"), ("suid", "nosuid"), ("exec", "noexec"), ("atime", "noatime"), ("sync", "async"))
KERNEL_FLAGS = frozenset({name for pair in KERNEL_PAIRS for name in pair} | {"dirsync"})
OWN_FLAGS = frozenset({"ro", "rw", "allow_other", "allow_root", "default_permissions", "remount"})
# What a remount can change: flags of the kernel alone. Who may enter was settled by the mount.
REMOUNT_FLAGS = KERNEL_FLAGS | {"ro", "rw"}
# For the boot's scripts and for mount(8), which hand the whole line of an fstab on; they say nothing about the mount.
FSTAB_WORDS = frozenset({
    "defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "nousers", "owner", "noowner",
    "group", "nogroup",
})  # fmt: skip
# Flags of the kernel without a meaning for a FUSE mount, which mount(8) hands on all the same.
IDLE_WORDS = frozenset({
    "relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "nodiratime", "lazytime", "nolazytime",
    "iversion", "noiversion", "mand", "nomand", "silent", "loud",
})  # fmt: skip
# The table of mounts has these for a FUSE mount, and a remount by mount(8) repeats them.
IDLE_VALUES = frozenset({"comment", "user", "user_id", "group_id", "rootmode", "fd", "max_read", "blksize", "subtype"})
_FOR_OTHERS = re.compile(r"[xX]-.*")
# A backslash takes the comma behind it into the word.
_WORD = re.compile(r"(?:\\,|[^,])+")


@dataclass(frozen=True)
class SettingWords:
    """The words that stand for an option of `remotefs mount`; None where `-o` does not say."""

    profile: str | None = None
    config: str | None = None
    state_dir: str | None = None
    base_url: str | None = None
    durability: Literal["remote", "local", "strict"] | None = None


@dataclass(frozen=True)
class MountOptions:
    """How the kernel mounts it, and what the mount shows. `extra` are further flags in libfuse's own words.

    `fsname` is the source that df(1) and findmnt(8) show; `shown` the owner and the mode in place of the stored ones;
    `subdir` the folder of the tree that is the mount's root, "" for all of it. `remount` has the flags that change on a
    running mount, in order; None for a new one.
    """

    read_only: bool = False
    allow_other: bool = False
    extra: tuple[str, ...] = ()
    fsname: str | None = None
    shown: ShownAs = AS_STORED
    subdir: str = ""
    settings: SettingWords = SettingWords()
    remount: tuple[str, ...] | None = None

    @property
    def lets_others_in(self) -> bool:
        """Return whether fusermount3 asks for `user_allow_other` in /etc/fuse.conf."""
        return self.allow_other or "allow_root" in self.extra


def parse_options(values: Sequence[str], *, sloppy: bool = False) -> MountOptions:
    """Read the values of all `-o`, each a comma-separated list; the last of two contrary words counts.

    Raises UsageError, with near names and allowed values, for a word that is not known unless `sloppy`, and for a value
    that cannot be.
    """
    flags: list[str] = []
    given: dict[str, object] = {}
    for word in (word.strip() for value in values for word in _WORD.findall(value)):
        name, has_value, value = word.partition("=")
        if not word or _is_idle(name, has_value=bool(has_value)):
            continue
        if name in READERS:
            given[name] = _read(name, value.replace("\\,", ",") if has_value else None)
        elif name in KERNEL_FLAGS | OWN_FLAGS and not has_value:
            flags.append(name)
        elif not sloppy:
            raise _unknown(word, name)
    if {"allow_other", "allow_root"} <= set(flags):
        raise UsageError("-o allow_other and -o allow_root exclude each other")
    return _with_values(_with_flags(flags), given)


def _is_idle(name: str, *, has_value: bool) -> bool:
    words = IDLE_VALUES if has_value else FSTAB_WORDS | IDLE_WORDS
    return name in words or _FOR_OTHERS.fullmatch(name) is not None


def _read(name: str, value: str | None) -> object:
    if value is None:
        raise UsageError(f"-o {name} needs a value: {name}= and {ALLOWED[name]}")
    try:
        return READERS[name](value)
    except ValueError:
        # Not chained: an address may hold a password, and is not shown.
        shown = "" if name == "base_url" else repr(value)
        raise UsageError(f"-o {name}={shown} is not valid: give {ALLOWED[name]}") from None


def _unknown(word: str, name: str) -> UsageError:
    known = KERNEL_FLAGS | OWN_FLAGS
    if name in known:
        return UsageError(f"-o {word}: {name} takes no value")
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known | READERS.keys(), n=2, cutoff=0.6)
    question = f"; did you mean {' or '.join(near)}?" if near else ""
    words = sorted(known | {f"{key}=" for key in READERS})
    return UsageError(f"-o {word}: no such option{question or ';'} known are {', '.join(words)}")


def _with_flags(flags: Sequence[str]) -> MountOptions:
    writable = [flag for flag in flags if flag in {"ro", "rw"}]
    return MountOptions(
        read_only=writable[-1:] == ["ro"],
        allow_other="allow_other" in flags,
        extra=last_of_pairs([flag for flag in flags if flag in KERNEL_FLAGS or flag == "allow_root"]),
        remount=tuple(flag for flag in flags if flag in REMOUNT_FLAGS) if "remount" in flags else None,
    )


def _with_values(options: MountOptions, given: Mapping[str, object]) -> MountOptions:
    mask = given.get("umask")
    shown = {"uid": given.get("uid"), "gid": given.get("gid")}
    shown |= {"file_mask": given.get("fmask", mask), "dir_mask": given.get("dmask", mask)}
    own = {name: given[name] for name in ("fsname", "subdir") if name in given}
    settings = {name: value for name, value in given.items() if name in SettingWords.__dataclass_fields__}
    return replace(options, **own, shown=ShownAs(**shown), settings=SettingWords(**settings))  # type: ignore[arg-type]  # each reader returns its field's type


def last_of_pairs(flags: Sequence[str]) -> tuple[str, ...]:
    """Return each flag once, and of two contrary ones the last."""
    kind = {name: pair for pair in (*KERNEL_PAIRS, ("ro", "rw")) for name in pair}
    last = {kind.get(flag, (flag,)): flag for flag in flags}
    return tuple(last.values())
