"""`remotefs export` from the files of a state folder alone: what it takes when the database cannot be read.

    staging/    what was written and not yet uploaded          to DEST/<path>
    content/    what was uploaded from here, checked           to DEST/<path>
    content/    what was downloaded, if all of it is here      to DEST/by-id/<file id>
    trash/                                                     to DEST/trash/<number>-<name>

Paths are those of the labels that lie with the bytes (`data/content/labels.py`); bytes without one go to DEST/unnamed/.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from remotefs import names
from remotefs.control.messages.base import Notice, Report
from remotefs.data.content.file import ContentFile
from remotefs.data.content.index import CACHED, PINNED
from remotefs.data.content.labels import Label, NoLabel, read_label
from remotefs.data.content.trash import read_record
from remotefs.data.files.staging import STAGED_NAME
from remotefs.errors import CorruptionError, RemotefsError
from remotefs.mount.copying import Looks, copy_file

_UNNAMED, _BY_ID, _TRASH = "unnamed", "by-id", "trash"
_DEFAULT_MODE = 0o600


class Loose(NamedTuple):
    """A file of the state folder, and where it goes below DEST. `sums` lie beside content."""

    file: Path
    path: str
    mode: int = _DEFAULT_MODE
    sums: Path | None = None


class LooseExport:
    """One run. `failed` has the reason for each destination that was not written."""

    def __init__(self, state_dir: Path, *, force: bool, report: Report) -> None:
        self._state_dir = state_dir
        self._force = force
        self._report = report
        self.files = 0
        self.bytes = 0
        self.failed: dict[str, str] = {}

    def copy(
        self,
        path: str,
        target: Path,
        *,
        taken: AbstractSet[str] = frozenset(),
        only: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Copy what lies at or below a path of the mount to `target`; with `""` everything there is.

        `taken` are paths of the mount whose places at the target have a file already. `only` returns whether a file
        of that name is to be copied.
        """
        places = {inside for one in taken if (inside := _below(one, path)) is not None}
        for loose in loose_files(self._state_dir):
            inside = _below(loose.path, path)
            if inside is None or not only(loose.file.name):
                continue
            place = _free(inside, loose.file.name, places)
            places.add(place)
            try:
                self._copy_one(loose, target / place if place else target)
            except (RemotefsError, OSError) as error:
                self.failed[loose.path] = (error.strerror if isinstance(error, OSError) else None) or str(error)

    def _copy_one(self, loose: Loose, target: Path) -> None:
        self._report(Notice(text=loose.path))
        if loose.sums is not None:
            _check(loose.file, loose.sums)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with loose.file.open("rb") as source:
            status = os.fstat(source.fileno())
            looks = Looks.of(status)._replace(mode=loose.mode)
            copy_file(source, target, looks, force=self._force)
        self.files += 1
        self.bytes += status.st_size


def loose_files(state_dir: Path) -> Iterator[Loose]:
    """Yield every file with bytes of a state folder; of several that say the same path the newest comes first."""
    yield from _staged(state_dir / "staging")
    yield from _content(state_dir / "content")
    for file in _files(state_dir / "trash"):
        if file.name.isdigit():
            record = read_record(file.parent, int(file.name))
            yield Loose(file, f"{_TRASH}/{file.name}-{Path(record.path).name}", stat.S_IMODE(record.mode))


def _staged(folder: Path) -> Iterator[Loose]:
    found = [(match, file) for file in _files(folder) if (match := STAGED_NAME.fullmatch(file.name))]
    for _, file in sorted(found, key=lambda one: (int(one[0][1]), int(one[0][2])), reverse=True):
        # Void, it was given up, or holds nothing that was acknowledged.
        if file.stat().st_size and (label := read_label(file)) is not NoLabel.VOID:
            yield _labelled(file, label, f"{_UNNAMED}/{file.name}")


def _content(folder: Path) -> Iterator[Loose]:
    for below in sorted(_files(folder)):
        for file in sorted(_files(below)):
            pinned, cached = (file.with_name(file.name + suffix) for suffix in (PINNED, CACHED))
            if "." in file.name:
                continue
            if pinned.exists():
                yield _labelled(file, read_label(file), f"{_UNNAMED}/{file.name}")._replace(sums=pinned)
            elif cached.exists():
                yield Loose(file, f"{_BY_ID}/{file.name}", sums=cached)
            else:
                yield Loose(file, f"{_UNNAMED}/{file.name}")


def _labelled(file: Path, label: Label | NoLabel, otherwise: str) -> Loose:
    if isinstance(label, Label) and _is_path(label.path):
        return Loose(file, label.path, stat.S_IMODE(label.mode))
    return Loose(file, otherwise)


def _is_path(path: str) -> bool:
    """Return whether a path can be one of the tree, so that nothing gets out of DEST."""
    components = path.split("/")
    try:
        checked = [names.check_component(component.encode()) for component in components]
    except (RemotefsError, UnicodeEncodeError):
        return False
    return checked == components and not {".", ".."} & set(components)


def _below(path: str, wanted: str) -> str | None:
    """Return the rest of a path below another; "" where they are the same; None where it lies elsewhere."""
    if not wanted:
        return path
    if path == wanted:
        return ""
    return path.removeprefix(f"{wanted}/") if path.startswith(f"{wanted}/") else None


def _free(path: str, name: str, taken: set[str]) -> str:
    """Return a place that no other file of this run has: `path (name)` for an older version."""
    return f"{path} ({name})" if path in taken else path


def _check(file: Path, sums: Path) -> None:
    """Raise CorruptionError where the bytes are not all here, or do not match their checksums."""
    content = ContentFile.open(file, sums)
    try:
        layout = content.sums.layout
        for index in range(layout.count):
            if content.read(layout.start(index), layout.length(index)) is None:
                raise CorruptionError(f"{file}: not all of it is on this disk")
    finally:
        content.close(None)


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
