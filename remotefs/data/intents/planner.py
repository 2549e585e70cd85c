"""The uploads that a change of a file asks for: planned in the transaction of the change, so that both commit together.

* The bytes of a closed file go up under the name that its path has when they are sent (W2, W7).
* A file that is written again is not sent until its next close (W4).
* A file of ours whose path asks for another remote filename is uploaded again under that name (REUPLOAD, W7).
* So is a file for which another type or expiry was chosen (M1, M3).
"""

from __future__ import annotations

import time

from remotefs.data.intents.due_times import DueTimes
from remotefs.data.intents.freed_ids import FreedIds, pending_upload
from remotefs.data.intents.garbage import Labelling
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.data.intents.paths import InodePaths
from remotefs.data.intents.reuploads import ReuploadRule
from remotefs.store.records import NEVER_NS, ContentState, Inode, Intent, IntentKind
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup


class IntentPlanner:
    """Plans the UPLOAD or REUPLOAD of each inode; `wakeup` wakes the dispatcher."""

    def __init__(
        self,
        store: Store,
        paths: InodePaths,
        due_times: DueTimes,
        freed_ids: FreedIds,
        reupload_rule: ReuploadRule,
        in_flight: UploadsInFlight,
        labels: Labelling,
        wakeup: Wakeup,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._renames = store.renames
        self._paths = paths
        self._due_times = due_times
        self._freed_ids = freed_ids
        self._reupload_rule = reupload_rule
        self._in_flight = in_flight
        self._labels = labels
        self._wakeup = wakeup

    # -- looking

    def may_be_rebound(self, ino: int) -> bool:
        """Return whether an upload was begun whose end is not known: it may bind the inode to an older version (W6)."""
        intent = self._journal.of_inode(ino)
        return intent is not None and intent.attempt is not None

    def is_upload_pending(self, ino: int) -> bool:
        """Return whether an UPLOAD of the inode is pending."""
        intent = self._journal.of_inode(ino)
        return intent is not None and intent.kind is IntentKind.UPLOAD

    # -- planning

    def closed(self, ino: int) -> Inode:
        """Plan the upload of newly closed content; return the inode with its row of now."""
        with self._db.transaction():
            life = ContentLifecycle.of(self._tree.get(ino)).closed()
            inode = self._tree.update(ino, closed_ns=time.time_ns(), **life._asdict())
            self.schedule(inode)
        return inode

    def dirtied(self, ino: int) -> None:
        """Put off the upload of a file that is being written: its next close makes it due."""
        self.label(self._tree.get(ino))
        intent = self._journal.of_inode(ino)
        if intent is None:
            self.schedule(self._tree.get(ino))
            return
        due_ns = self._due_times.after_write(intent)
        if due_ns != intent.due_ns:
            self._journal.reschedule(intent.seq, due_ns=due_ns)
            if due_ns != NEVER_NS:
                self._wakeup.set()

    def schedule(self, inode: Inode, *, reupload: bool | None = None) -> None:
        """Bring the inode's intent in line with its state and names, after a close, a rename, a link or an unlink.

        `reupload` says whether the rename that it is part of may upload it again; None: look at this file alone.
        """
        self._renames.note_followed(inode.ino)
        self.follow(inode, reupload=reupload)

    def follow(self, inode: Inode, *, reupload: bool | None) -> None:
        """Do what `schedule` does, for a rename above it that was before the last change of the file itself."""
        if not inode.is_file or inode.nlink == 0:
            return
        self.label(inode)
        intent = self._journal.of_inode(inode.ino)
        if self._paths.is_local(inode):
            # An upload of which the last byte has not gone out is cut: the file stays here.
            self._in_flight.cancel(inode.ino)
            self._cancel(intent)
        elif inode.state == ContentState.CLOSED:
            if not self._due_times.is_retrying(intent):
                self._journal.put(IntentKind.UPLOAD, inode.ino, due_ns=self._due_times.of_upload(inode))
        elif inode.state == ContentState.CLEAN:
            if self._reupload_rule.is_asked(inode):
                self._journal.put(IntentKind.REUPLOAD, inode.ino, due_ns=self._due_times.now())
            elif self._is_reuploaded(inode, reupload):
                self._journal.put(IntentKind.REUPLOAD, inode.ino, due_ns=self._due_times.of_reupload())
            else:
                self._cancel(intent)
        else:
            # Its next close makes it due; until then the row says that something is left to do.
            pending_upload(self._journal, inode)
        self._freed_ids.put_behind_upload_of(inode)
        self._wakeup.set()

    def reupload(self, ino: int) -> None:
        """Upload a renamed file again under its new name whatever it costs, as the user asked (`remotefs sync`, W7).

        Bytes that are to be uploaded anyway go up under the new name without this.
        """
        inode = self._tree.find(ino)
        if inode is not None and inode.state == ContentState.CLEAN and inode.nlink > 0 and self._paths.is_alias(inode):
            self._renames.note_followed(ino)
            self._journal.put(IntentKind.REUPLOAD, ino, due_ns=self._due_times.now())
            self._wakeup.set()

    def label(self, inode: Inode) -> None:
        """Bring the label that lies with the bytes of an inode in line with its path."""
        path = self._paths.path(inode)
        if path is not None:
            self._labels.write(inode, path)

    def _is_reuploaded(self, inode: Inode, reupload: bool | None) -> bool:
        if not self._reupload_rule.applies(inode):
            return False
        return self._reupload_rule.is_within_limits([inode]) if reupload is None else reupload

    def _cancel(self, intent: Intent | None) -> None:
        """Cancel an upload that is not to be sent; one that was begun stays until its end is known."""
        if intent is not None and intent.attempt is None:
            self._freed_ids.cancel(intent)
