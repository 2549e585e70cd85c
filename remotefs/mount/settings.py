"""What is to be mounted, where and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from remotefs.config import Config
from remotefs.control.address import SOCKET_NAME
from remotefs.credentials import KeyRing
from remotefs.mount.notify_socket import NotifySocket
from remotefs.vfs.shown import AS_STORED, ShownAs


@dataclass(frozen=True)
class FuseOptions:
    """How the kernel mounts it; `extra` in libfuse's own words, `fsname` the source that df(1) shows.

    `shown` has the owner and the mode that programs see in place of the stored ones, `subdir` the path of the folder of
    the tree that is the mount's root.
    """

    read_only: bool = False
    allow_other: bool = False
    extra: tuple[str, ...] = ()
    fsname: str = "remotefs"
    shown: ShownAs = AS_STORED
    subdir: str = ""

    @property
    def moves_atime(self) -> bool:
        """Return whether reading a file moves its access time. The kernel leaves that to a FUSE file system."""
        return not self.read_only and "noatime" not in self.extra


@dataclass(frozen=True)
class MountSettings:
    """The caller has checked the mountpoint and holds the lock of `state_dir`.

    `keys` has the credentials in use; without it those of `config` are, to the end. `manager` is the service manager
    that started the mount and is told how it is doing.
    """

    mountpoint: Path
    state_dir: Path
    config: Config
    options: FuseOptions
    keys: KeyRing | None = None
    manager: NotifySocket | None = None

    @property
    def socket(self) -> Path:
        """Return where the mount listens for commands."""
        return self.state_dir / SOCKET_NAME
