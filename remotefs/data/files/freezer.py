"""Frozen versions: the bytes of a file as one close left them, kept beside its staged file until they went up (W4).

A version is frozen under the inode's lock and before anything is written, so it holds exactly the bytes of a close.
Only this process refers to it: a crash removes it, and the newer staged file is sent instead.

The file system shares the blocks where it can; else a thread copies them while one write waits, for some seconds at
most. Moving the staged file away and giving the writer a copy would cost the same copy, and a sync before the row may
say that the copy takes the place of bytes that are on the disk. Only when the writer keeps nothing, as `>` does, the
staged file itself is set aside.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from remotefs.api.connectivity import Connectivity
from remotefs.data.files.staging import Staging
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.errors import RemotefsError
from remotefs.store.records import ContentState, Inode
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


class Frozen(NamedTuple):
    """A version of a file: `size` bytes at `path`, which do not change."""

    generation: int
    path: Path
    size: int


class Freezer:
    """Owns the frozen versions, one a file at most; `Churn` knows which files keep changing."""

    def __init__(
        self,
        store: Store,
        staging: Staging,
        intents: Intents,
        churn: Churn,
        connectivity: Connectivity,
        in_flight: UploadsInFlight,
    ) -> None:
        self._tree = store.tree
        self._staging = staging
        self._paths = intents.paths
        self._planner = intents.planner
        self._churn = churn
        self._connectivity = connectivity
        self._in_flight = in_flight
        # Invariant: a file is in here exactly while `Churn` has it as frozen.
        self._frozen: dict[int, Frozen] = {}

    def of(self, ino: int) -> Frozen | None:
        """Return the frozen version of a file, None when there is none."""
        return self._frozen.get(ino)

    def overtaken(self, ino: int, *, cut: bool) -> None:
        """Note that a closed version is written over; `cut`: its upload was cut by that.

        Offline it says nothing about the file: no version could have been sent.
        """
        if cut or (self._connectivity.is_up and ino not in self._frozen and self._planner.is_upload_pending(ino)):
            self._churn.overtaken(ino, cut=cut)

    def wants(self, inode: Inode) -> bool:
        """Return whether the closed version of a file has to be frozen before it changes or is sent (W4)."""
        return (
            not self._in_flight.will_arrive(inode.ino)
            and self._churn.may_freeze(inode.ino)
            and self._connectivity.is_up
            and inode.state == ContentState.CLOSED
            and inode.staged_gen is not None
            and inode.size > 0
            and not self._paths.is_local(inode)
            and not self._paths.is_temporary(inode)
        )

    async def freeze(self, inode: Inode) -> None:
        """Keep a copy of the closed version of a file; without room or time for it, log that and go on without.

        Invariant: called with the inode's lock held.
        """
        assert inode.staged_gen is not None
        generation = ContentLifecycle.of(inode).frozen()
        try:
            path = await self._staging.freeze(inode.ino, inode.staged_gen, generation, inode.size)
        except RemotefsError as error:
            self._note_failure(inode, error)
            return
        # During the copy the file may have been sent after all, or removed.
        current = self._tree.find(inode.ino)
        if current is not None and self.wants(current):
            self._keep(inode, Frozen(generation, path, inode.size))
        else:
            self._staging.thaw(path)

    def set_aside(self, inode: Inode) -> bool:
        """Freeze the staged file of the closed version itself; return whether that worked.

        If it did, the writer has to go on with a new staged file.
        """
        assert inode.staged_gen is not None
        generation = ContentLifecycle.of(inode).frozen()
        try:
            path = self._staging.set_aside(inode.ino, inode.staged_gen, generation)
        except RemotefsError as error:
            self._note_failure(inode, error)
            return False
        self._keep(inode, Frozen(generation, path, inode.size))
        return True

    def thaw(self, ino: int) -> None:
        """Let the frozen version go: it was sent, or will not be. Does nothing when there is none."""
        frozen = self._frozen.pop(ino, None)
        if frozen is not None:
            self._churn.thawed(ino)
            self._staging.thaw(frozen.path)

    def calm(self, ino: int) -> None:
        """Let the frozen version go and forget the course of the file: nothing of it is to be sent any more."""
        self.thaw(ino)
        self._churn.calm(ino)

    def thaw_unwanted(self) -> None:
        """Let the frozen versions go whose upload no intent asks for any more."""
        for ino in list(self._frozen):
            if not self._planner.is_upload_pending(ino):
                self.calm(ino)

    def _note_failure(self, inode: Inode, error: RemotefsError) -> None:
        _log.warning("%s keeps changing, and no version of it can be kept: %s", self._paths.shown(inode), error)
        self._churn.not_frozen(inode.ino)

    def _keep(self, inode: Inode, frozen: Frozen) -> None:
        self._churn.froze(inode.ino, frozen.generation)
        self._frozen[inode.ino] = frozen
