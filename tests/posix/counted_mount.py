"""A mount in a process of its own that tells, for each line on its standard input, what its handles count.

    python counted_mount.py MOUNTPOINT STATE_DIR

The parts are those of `remotefs mount`, run by the same `MountSession`; what is added is the look at `Handles.statistics()`.
The settings come from the environment, as for the command.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import trio

from remotefs.mount.assembly import Components, assemble
from remotefs.mount.session import MountSession
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.setting_sources import load
from remotefs.store.database import Database


async def main(mountpoint: Path, state_dir: Path) -> None:
    settings = MountSettings(mountpoint, state_dir, load(os.environ, None, {}), FuseOptions(allow_other=True))
    database = Database(state_dir / "state.db")
    try:
        parts = assemble(settings, database)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell, parts)
            await MountSession(
                settings, parts, report=lambda progress: print(type(progress).__name__, flush=True)
            ).run()
            nursery.cancel_scope.cancel()
    finally:
        database.close()


async def tell(parts: Components) -> None:
    stdin = trio.lowlevel.FdStream(os.dup(0))
    async for _ in stdin:
        print(json.dumps(asdict(parts.handles.statistics())), flush=True)


if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(mode=0o700)
    trio.run(main, Path(sys.argv[1]), Path(sys.argv[2]))
