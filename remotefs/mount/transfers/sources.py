"""The files and folders of this machine that `remotefs put` sends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from remotefs.mount.copying import Looks
from remotefs.mount.transfers.records import ODD_KIND, Kind, Upload, reason_of

Refuse = Callable[[Path, str, str], None]


def uploads_of(source: Path, path: str, refuse: Refuse) -> Iterator[Upload]:
    """Yield `source` and all below it, each folder before what it holds; `path` is its path in the tree.

    A link that is named itself is followed; links within a folder are kept as links. `refuse(source, path, reason)`
    gets what cannot be sent.
    """
    places = [(source, path, True)]
    while places:
        here, there, follow = places.pop()
        try:
            upload = _upload(here, there, follow=follow)
            if upload is not None and upload.kind is Kind.FOLDER:
                inside = sorted(upload.source.iterdir(), reverse=True)
                places += [(entry, f"{there}/{entry.name}" if there else entry.name, False) for entry in inside]
        except OSError as error:
            refuse(here, there, reason_of(error))
            continue
        except UnicodeEncodeError:
            refuse(here, there, "its name is not UTF-8")
            continue
        if upload is None:
            refuse(here, there, ODD_KIND)
        else:
            yield upload


def _upload(source: Path, path: str, *, follow: bool) -> Upload | None:
    path.encode()
    # The end of a link, so that no later step follows another one.
    source = Path(os.path.realpath(source)) if follow else source
    status = source.lstat()
    kind = Kind.of(status.st_mode)
    if kind is None:
        return None
    looks = Looks.of(status)
    return Upload(kind, source, path, looks, os.fsencode(source.readlink()) if kind is Kind.LINK else b"")
