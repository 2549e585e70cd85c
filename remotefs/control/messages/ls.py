"""The files below paths, a page at a time, and the sums of their contents: `ls`, and what `id` knows of files.

A request names as many paths as fit into one (`protocol`), and a reply brings a page of files. The caller asks again
from where the page ended, so neither side holds or sends the whole of a large tree.
"""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Message


class LsParams(Message, frozen=True, kw_only=True):
    """List the files at and below `paths`, from the place that an earlier page gave as its end."""

    paths: tuple[str, ...]
    skip_missing: bool = False
    place: int = 0
    after: str = ""


class ListedFile(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A file: its size in bytes, its times in ns since the epoch.

    `place` is the position, among the paths of the request, of the one that it is or lies below, and `below` its path
    relative to that one, empty where it is the path itself. Facts of the service are only there while it has the file
    as it is here.
    """

    place: int = 0
    below: str = ""
    path: str
    size: int
    modified_ns: int
    # As `user.remotefs.state` says it.
    state: str
    # It is to be uploaded, or uploaded again under another name: its id, if it has one, goes then.
    pending: bool = False
    readable: bool = True
    # All of its bytes are on this disk.
    here: bool = False
    # Made by a tool at the service, and so an output.
    generated: bool = False
    downloadable: bool = False
    file_id: str | None = None
    mime_type: str | None = None
    created_ns: int | None = None
    expires_ns: int | None = None
    # xxh3-128 of its bytes in hex, where it is known without reading them.
    digest: str | None = None


class LsPage(Message, frozen=True, kw_only=True):
    """Some of the files in the order of their paths; the next page begins at `place` and `after`.

    `place` is None where this is the last.
    """

    files: tuple[ListedFile, ...]
    place: int | None = None
    after: str = ""
    # The clock of the service, by which files expire.
    now_ns: int


class FilesParams(Message, frozen=True):
    """The files at `paths`."""

    paths: tuple[str, ...]


class SumsResult(Message, frozen=True):
    """The xxh3-128 of each file in hex; None where not all of its bytes are on this disk, or where it changed."""

    digests: tuple[str | None, ...]


class SourcesResult(Message, frozen=True):
    """The local file with all bytes of each file; None where they are not on this disk. It may be moved at any time."""

    sources: tuple[str | None, ...]


LS = Endpoint("ls", LsParams, LsPage)
SUMS = Endpoint("sums", FilesParams, SumsResult)
SOURCES = Endpoint("sources", FilesParams, SourcesResult)
