"""From a path to the id of its file and back: `id`, `path`."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Message


class IdentifyParams(Message, frozen=True):
    """Flush `path` and say which file of the service it is."""

    path: str
    timeout_s: float


class FileIdentity(Message, frozen=True):
    """A file of the service as its own reply described it."""

    file_id: str
    filename: str
    mime_type: str


class PathsParams(Message, frozen=True):
    """Where these files of the service are in the tree."""

    file_ids: tuple[str, ...]


class PathsResult(Message, frozen=True):
    """A path for each id asked for, None where the tree has no such file."""

    paths: tuple[str | None, ...]


IDENTIFY = Endpoint("id", IdentifyParams, FileIdentity)
PATHS = Endpoint("paths", PathsParams, PathsResult)
