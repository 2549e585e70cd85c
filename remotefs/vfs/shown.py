"""The owner, group and mode that programs see in place of the stored ones: `-o uid=`, `gid=`, `umask=` (H2) (pure).

They are shown and nothing else. A new file gets the caller's owner and mode as in any mount; they are what is stored,
recorded and shared, and what a mount without the options shows.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

from remotefs.errors import NotPermitted
from remotefs.store.records import Entry, Inode

_PERMISSIONS = 0o777


@dataclass(frozen=True)
class ShownAs:
    """What is shown instead: an owner, a group, and the permissions that the masks leave of rwxrwxrwx.

    `dir_mask` is for folders, `file_mask` for everything else but symbolic links. None shows what is stored.
    """

    uid: int | None = None
    gid: int | None = None
    file_mask: int | None = None
    dir_mask: int | None = None

    @property
    def is_stored(self) -> bool:
        """Return whether everything is shown as it is stored."""
        return self == AS_STORED

    def words(self) -> list[str]:
        """Return it as mount options."""
        masks = {"fmask": self.file_mask, "dmask": self.dir_mask}
        owners = [f"{name}={number}" for name, number in (("uid", self.uid), ("gid", self.gid)) if number is not None]
        return owners + [f"{name}={mask:03o}" for name, mask in masks.items() if mask is not None]

    def of(self, record: Inode | Entry) -> Inode | Entry:
        """Return an inode or an entry as it is shown."""
        if self.is_stored:
            return record
        uid = record.uid if self.uid is None else self.uid
        gid = record.gid if self.gid is None else self.gid
        return record._replace(mode=self._mode(record.mode), uid=uid, gid=gid)

    def _mode(self, mode: int) -> int:
        """Return a mode as it is shown.

        The set-id bits go: they would mean another owner. Then the kernel never has to clear them at a write, either.
        """
        mask = self.dir_mask if stat.S_ISDIR(mode) else self.file_mask
        if mask is None or stat.S_ISLNK(mode):
            return mode & ~(stat.S_ISUID | stat.S_ISGID)
        return stat.S_IFMT(mode) | _PERMISSIONS & ~mask


AS_STORED = ShownAs()


def check_unchanged(shown: Inode | Entry, *, mode: int | None, uid: int | None, gid: int | None) -> None:
    """Raise NotPermitted where chmod(2) or chown(2) asks for anything but the values that are shown (None: keep).

    Those change nothing and succeed, as on vfat: `git config` gives a new file the mode of the one that it replaces,
    and `cp -p` within a mount sets what it has read there.
    """
    asks_for = ((mode, shown.mode, stat.S_IMODE), (uid, shown.uid, int), (gid, shown.gid, int))
    if any(asked is not None and part(asked) != part(now) for asked, now, part in asks_for):
        raise NotPermitted(
            f"inode {shown.ino}: this mount shows owners and modes in place of the stored ones (uid=, gid=, umask=), "
            "so they cannot be changed through it; use a mount without these options"
        )
