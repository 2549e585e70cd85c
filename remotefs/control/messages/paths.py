"""From a path to the id of its file and back: the wait of `id` (its files come by `ls`), and `path`."""

from __future__ import annotations

from remotefs.control.messages.base import DrainResult, Endpoint, Message


class ArriveParams(Message, frozen=True):
    """Wait until the service has the files at `paths`; one that is being written is closed first."""

    paths: tuple[str, ...]
    timeout_s: float


class PathsParams(Message, frozen=True):
    """Where these files of the service are in the tree."""

    file_ids: tuple[str, ...]


class PathsResult(Message, frozen=True):
    """A path for each id asked for, None where the tree has no such file."""

    paths: tuple[str | None, ...]


ARRIVE = Endpoint("arrive", ArriveParams, DrainResult)
PATHS = Endpoint("paths", PathsParams, PathsResult)
