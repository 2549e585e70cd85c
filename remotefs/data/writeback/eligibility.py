"""The question before and during each upload: is there still something to send?

An intent that was read is only what it was until the next await. So it is looked at again after each await that comes
before the attempt is recorded; from then on its row stays until the end of the attempt is known.
"""

from __future__ import annotations

from remotefs.data.files.outgoing import OutgoingBytes
from remotefs.data.intents.intents import Intents
from remotefs.store.records import NEVER_NS, ContentState, Inode, Intent, IntentKind
from remotefs.store.store import Store


class Eligibility:
    """Decides whether an intent's file is to be sent now, and puts an intent right that nothing will come of."""

    def __init__(self, store: Store, intents: Intents, outgoing: OutgoingBytes) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._intents = intents
        self._outgoing = outgoing

    def sendable(self, begun: Intent) -> Inode | None:
        """Return the file to send, as it is now; None if there is nothing to send, or not yet.

        `begun` is the intent as it was when its task began.
        """
        intent = self._journal.find(begun.seq)
        if intent is None or intent.ino is None:
            return None
        inode = self._tree.find(intent.ino)
        if inode is None:
            self._intents.freed_ids.cancel(intent)
        elif inode.nlink == 0:
            # The intent was kept only for the attempt, which is over now.
            self._intents.unlinker.unlinked(inode)
        elif self._intents.paths.is_local(inode) or not self._holds_what_is_asked(inode, intent):
            # Written again: its next close makes it due. Under another name: that asks for something else.
            self._journal.reschedule(intent.seq, due_ns=NEVER_NS)
            self._intents.planner.schedule(inode)
        elif not self._intents.due_times.is_put_off(intent, begun.due_ns):
            return inode
        return None

    def still_matters(self, begun: Intent) -> bool:
        """Return whether the failure of an upload matters: its intent is there, and its file does not stay here.

        Such a file keeps its intent only while an earlier attempt may have brought it to the service.
        """
        intent = self._journal.find(begun.seq)
        inode = self._tree.find(intent.ino) if intent is not None and intent.ino is not None else None
        if intent is not None and intent.attempt is None and (inode is None or self._intents.paths.is_local(inode)):
            self.sendable(begun)
        return self._journal.find(begun.seq) is not None

    def remote_name(self, inode: Inode) -> str | None:
        """Return the remote filename under which a file goes up; None once it is unlinked."""
        return self._intents.paths.remote_name(inode)

    def _holds_what_is_asked(self, inode: Inode, intent: Intent) -> bool:
        if intent.kind is IntentKind.REUPLOAD:
            is_asked = self._intents.upload_options.is_pending(inode.ino) or self._intents.paths.is_alias(inode)
            return inode.state == ContentState.CLEAN and is_asked
        return inode.state == ContentState.CLOSED or self._outgoing.frozen(inode.ino) is not None
