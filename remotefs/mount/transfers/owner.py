"""The user for whom a command without a mount works: the caller of the file system's verbs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Owner:
    """The user of this process, who owns what is made."""

    uid: int = field(default_factory=os.geteuid)
    gid: int = field(default_factory=os.getegid)
