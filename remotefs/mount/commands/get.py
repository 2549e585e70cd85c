"""`remotefs get` beside a mount: the files that the code execution tool or a skill has made."""

from __future__ import annotations

from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.get import GENERATED, GeneratedParams, GeneratedResult
from remotefs.mount.assembly import Components

# Ids of one query, and of one reply: looking up their paths takes a few milliseconds (H8).
_PAGE = 200
_NS = 1_000_000_000


class GetCommands:
    """Finds generated files. It takes the clock of the service from the parts, and their paths."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [GENERATED.bind(self.generated)]

    async def generated(self, params: GeneratedParams, _: Report) -> GeneratedResult:
        """Return a page of the paths of generated files."""
        return generated_page(self._parts, params)


def generated_page(parts: Components, params: GeneratedParams) -> GeneratedResult:
    """Return a page of the paths of generated files, by ascending id."""
    since_ns = 0 if params.since_s is None else parts.service_clock.now_ns() - int(params.since_s * _NS)
    remotes = parts.remotes.generated(since_ns, after=params.after, limit=_PAGE)
    inodes = (parts.tree.find(remote.ino) for remote in remotes if remote.ino is not None)
    paths = (parts.intents.paths.path(inode) for inode in inodes if inode is not None)
    return GeneratedResult(
        tuple(path for path in paths if path is not None and parts.view.shows(path)),
        remotes[-1].file_id if len(remotes) == _PAGE else None,
    )
