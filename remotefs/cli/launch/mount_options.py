"""Reads the mount options of `-o`, as mount(8) writes them: pure.

The flags are those that libfuse takes and hands to the kernel or to fusermount3; `default_permissions` is always on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remotefs.errors import UsageError

# Later ones win over earlier ones of their pair, as in mount(8).
KERNEL_PAIRS = (("dev", "nodev"), ("suid", "nosuid"), ("exec", "noexec"), ("atime", "noatime"), ("sync", "async"))
KERNEL_FLAGS = frozenset({name for pair in KERNEL_PAIRS for name in pair} | {"dirsync"})
OWN_FLAGS = frozenset({"ro", "rw", "allow_other", "allow_root", "default_permissions", "remount"})
# What a remount can change: flags of the kernel alone. Who may enter was settled by the mount.
REMOUNT_FLAGS = KERNEL_FLAGS | {"ro", "rw"}
_FSNAME = "fsname="
# For the boot's scripts and for mount(8), which hand the whole line of an fstab on; they say nothing about the mount.
FSTAB_WORDS = frozenset({"defaults", "auto", "noauto", "user", "users", "nouser", "nofail", "_netdev"})


@dataclass(frozen=True)
class MountOptions:
    """How the kernel mounts it. `extra` are further flags in libfuse's own words.

    `fsname` is the source that df(1) and findmnt(8) show. `remount` has the flags that change on a running mount, in
    order; None for a new one.
    """

    read_only: bool = False
    allow_other: bool = False
    extra: tuple[str, ...] = ()
    fsname: str | None = None
    remount: tuple[str, ...] | None = None

    @property
    def lets_others_in(self) -> bool:
        """Return whether fusermount3 asks for `user_allow_other` in /etc/fuse.conf."""
        return self.allow_other or "allow_root" in self.extra


def parse_options(values: Sequence[str]) -> MountOptions:
    """Read the values of all `-o`, each a comma-separated list. Raises UsageError that names what is known."""
    words = [word.strip() for value in values for word in value.split(",")]
    flags = [word for word in words if word and not _is_fstab_word(word) and not word.startswith(_FSNAME)]
    for flag in flags:
        if flag not in KERNEL_FLAGS | OWN_FLAGS:
            known = ", ".join(sorted(KERNEL_FLAGS | OWN_FLAGS | {_FSNAME + "NAME"}))
            raise UsageError(f"-o {flag}: no such option; known are {known}")
    if {"allow_other", "allow_root"} <= set(flags):
        raise UsageError("-o allow_other and -o allow_root exclude each other")
    writable = [flag for flag in flags if flag in {"ro", "rw"}]
    return MountOptions(
        read_only=writable[-1:] == ["ro"],
        allow_other="allow_other" in flags,
        extra=_last_of_pairs([flag for flag in flags if flag in KERNEL_FLAGS or flag == "allow_root"]),
        fsname=_fsname(words),
        remount=tuple(flag for flag in flags if flag in REMOUNT_FLAGS) if "remount" in flags else None,
    )


def _fsname(words: Sequence[str]) -> str | None:
    given = [word.removeprefix(_FSNAME) for word in words if word.startswith(_FSNAME)]
    if not given:
        return None
    # A backslash would quote the comma behind it for libfuse.
    if not given[-1].isprintable() or not given[-1] or "\\" in given[-1]:
        raise UsageError(f"-o {_FSNAME}{given[-1]!r}: a name of printable characters without a backslash")
    return given[-1]


def _is_fstab_word(word: str) -> bool:
    return word in FSTAB_WORDS or word.startswith(("x-", "comment="))


def _last_of_pairs(flags: Sequence[str]) -> tuple[str, ...]:
    kind = {name: pair for pair in KERNEL_PAIRS for name in pair}
    last = {kind.get(flag, (flag,)): flag for flag in flags}
    return tuple(last.values())
