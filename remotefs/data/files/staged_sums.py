"""The sums of closed staged files, by which damage is told from an edit (R3), and the files that were found damaged.

A closed file gets its sums when its first upload reads it, or from `Summing` where it waits longer. A retry compares.
They lie beside the staged file:

    <inode>-<generation>.sums       as the content folder has them (`Sums`); the generation is that of the bytes
    <inode>-<generation>.damaged    these bytes are not what was closed

A file that is missing is damaged too. Nothing beside it says so: it is whole again once it is put back.
A generation names one content (`data/intents/lifecycle`), so what belongs to another generation means nothing.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
from cachetools import LRUCache

from remotefs import crashpoints
from remotefs.data.content.chunks import Layout, Sums
from remotefs.data.content.file import hash_file
from remotefs.data.files.staged_file import StagedFile
from remotefs.errors import CorruptionError
from remotefs.store.disk import local_error, write_durably
from remotefs.store.records import ContentState, Inode

_log = logging.getLogger(__name__)
_NAME = re.compile(r"(\d{1,20})-(\d{1,20})\.(sums|damaged)")
_NEW = ".sums.new"
_SUMS, _DAMAGED = "sums", "damaged"
# Sums that stay in memory: those of an upload that may be tried again, and of files that are read.
_RECENT = 128

Version = tuple[int, int]


class StagedSums:
    """Owns the sums of staged files by inode and generation, and knows which versions are damaged."""

    def __init__(self, folder: Path, chunk_bytes: int) -> None:
        self._folder = folder
        self._chunk_bytes = chunk_bytes
        # By inode the generations whose sums are on the disk.
        self._kept: defaultdict[int, set[int]] = defaultdict(set)
        self._damaged: set[Version] = set()
        self._recent: LRUCache[Version, Sums] = LRUCache(maxsize=_RECENT)
        for file in folder.iterdir():
            if file.name.endswith(_NEW):
                file.unlink()
            elif match := _NAME.fullmatch(file.name):
                ino, generation = int(match[1]), int(match[2])
                if match[3] == _SUMS:
                    self._kept[ino].add(generation)
                else:
                    self._damaged.add((ino, generation))

    def layout(self, size: int) -> Layout:
        """Return how a staged file of `size` bytes is divided."""
        return Layout(size, self._chunk_bytes)

    # -- sums

    def find(self, ino: int, generation: int) -> Sums | None:
        """Return the sums of a version; None if they are not known or cannot be read."""
        version = (ino, generation)
        sums: Sums | None = self._recent.get(version)
        if sums is None and self.is_kept(ino, generation):
            try:
                sums = self._recent[version] = Sums.decode(self._path(version, _SUMS).read_bytes())
            except (OSError, ValueError) as error:
                _log.warning("the sums of inode %d cannot be read: %s", ino, error)
                self._kept[ino].discard(generation)
        return sums

    def later(self, ino: int, generation: int) -> Iterator[Sums]:
        """Return the sums of versions of a file after `generation`."""
        versions = sorted(kept for kept in self._kept.get(ino, ()) if kept > generation)
        return filter(None, (self.find(ino, version) for version in versions))

    def remember(self, ino: int, generation: int, sums: Sums) -> None:
        """Know the sums of a version in this run, for the next try of its upload."""
        self._recent[ino, generation] = sums

    def is_kept(self, ino: int, generation: int) -> bool:
        """Return whether the sums of a version are on the disk."""
        return generation in self._kept.get(ino, ())

    async def keep(self, ino: int, generation: int, sums: Sums) -> None:
        """Write the sums of a version beside its bytes. Raises OutOfSpace, StateUnusable."""
        path = self._path((ino, generation), _SUMS)
        try:
            await trio.to_thread.run_sync(write_durably, path, sums.encode(), "sums of a staged file")
        except OSError as error:
            raise local_error(error, path) from error
        self._kept[ino].add(generation)
        self._recent[ino, generation] = sums

    def prune(self, current: Iterable[Version]) -> None:
        """Forget all versions but these."""
        versions = set(current)
        kept = {(ino, generation) for ino, generations in self._kept.items() for generation in generations}
        for version in kept - versions:
            self._recent.pop(version, None)
            self._remove(version, _SUMS)
        for version in self._damaged - versions:
            self._remove(version, _DAMAGED)
        self._damaged &= versions
        self._kept = defaultdict(set)
        for ino, generation in kept & versions:
            self._kept[ino].add(generation)

    # -- damage

    @property
    def damaged(self) -> frozenset[Version]:
        """Return the versions that were found damaged; some of them may be written over since."""
        return frozenset(self._damaged)

    def is_damaged(self, inode: Inode) -> bool:
        """Return whether the staged bytes of an inode were found damaged."""
        return inode.staged_gen is not None and (inode.ino, inode.content_gen) in self._damaged

    def note_damage(self, ino: int, generation: int) -> None:
        """Remember, over remounts, that a version is damaged."""
        version = (ino, generation)
        if version in self._damaged:
            return
        self._damaged.add(version)
        with suppress(OSError):  # as the disk is: it is found again
            self._path(version, _DAMAGED).touch(mode=0o600)
        crashpoints.reached("staged file is found damaged", ino)

    def note_missing(self, inode: Inode, path: Path) -> CorruptionError:
        """Remember in this run that the bytes of an inode, which belong at `path`, are not there; return the error."""
        if inode.state == ContentState.CLOSED:
            self._damaged.add((inode.ino, inode.content_gen))
        return CorruptionError(
            f"{path} is missing, and with it what was last written to this file; put it back and mount again, or write "
            "the whole file again or remove it"
        )

    def heal(self, ino: int, generation: int) -> None:
        """Forget that a version is damaged: its bytes match their sums."""
        if (ino, generation) in self._damaged:
            self._damaged.discard((ino, generation))
            self._remove((ino, generation), _DAMAGED)

    # -- checked bytes

    def read(self, inode: Inode, file: StagedFile, offset: int, size: int) -> bytes:
        """Return `size` bytes of a closed file from `offset`, checked where its sums are known.

        Raises CorruptionError where they are damaged, StateUnusable.
        """
        sums = self.find(inode.ino, inode.content_gen)
        if sums is not None:
            data = _read_checked(sums, file, offset, size)
        elif self.is_damaged(inode) and file.size >= inode.size:
            data = None  # nothing says which of them are good
        else:
            data = file.read(offset, size)
        if data is None or len(data) != size:
            self.note_damage(inode.ino, inode.content_gen)
            raise damage_of(file.path)
        return data

    async def check(self, inode: Inode, path: Path) -> None:
        """Read a closed file and compare it with its sums, where they are on the disk.

        Raises CorruptionError, OSError.
        """
        # Those of an upload that is just under way are not worth reading the file for each time that a write cuts it.
        is_kept = self.is_kept(inode.ino, inode.content_gen)
        expected = self.find(inode.ino, inode.content_gen) if is_kept else None
        if expected is None and not self.is_damaged(inode):
            return
        if expected is None or not await matches(path, expected):
            self.note_damage(inode.ino, inode.content_gen)
            raise damage_of(path)

    def _remove(self, version: Version, kind: str) -> None:
        with suppress(OSError):  # the next start tries again
            self._path(version, kind).unlink(missing_ok=True)

    def _path(self, version: Version, kind: str) -> Path:
        return self._folder / f"{version[0]}-{version[1]}.{kind}"


def _read_checked(sums: Sums, file: StagedFile, offset: int, size: int) -> bytes | None:
    """Return bytes of whole chunks that match their sums, cut to what is asked for; None if one does not."""
    layout = sums.layout
    chunks = layout.touching(offset, size)
    if not chunks:
        return b""
    start, end = layout.start(chunks.start), layout.start(chunks.stop)
    data = file.read(start, end - start)
    if len(data) != end - start:
        return None
    if not all(sums.matches(index, piece) for index, piece in zip(chunks, layout.pieces(data), strict=True)):
        return None
    return data[offset - start : offset - start + size]


def damage_of(path: Path) -> CorruptionError:
    """Return the error that says that a staged file is damaged."""
    return CorruptionError(
        f"{path}: these bytes are damaged: they are not what was written; copy what can be read, then write the whole "
        "file again or remove it"
    )


async def matches(path: Path, expected: Sums, *, may_go_on: bool = False) -> bool:
    """Read a file in a thread and return whether its bytes have these sums. Raises OSError.

    With `may_go_on` what lies behind the end is not looked at.
    """
    try:
        found = await trio.to_thread.run_sync(partial(hash_file, path, expected.layout, may_go_on=may_go_on))
    except CorruptionError:  # of another size
        return False
    return found.digest == expected.digest
