"""A mount from its start to its end: parts builds it, life runs it, commands answers for it.

run_mount --> recover --> first listing or greeting --> kernel mount --> serve --> drain --> unmount
"""

from remotefs.mount.life import identify, run_mount
from remotefs.mount.settings import FuseOptions, MountSettings

__all__ = ["FuseOptions", "MountSettings", "identify", "run_mount"]
