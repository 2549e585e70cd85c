"""The intents that are started next, as many as there are workers."""

from __future__ import annotations

from collections.abc import Mapping

from remotefs.config import WritebackConfig
from remotefs.data.intents.churn import Churn
from remotefs.data.kernel import Usage
from remotefs.data.writeback.agenda import Agenda
from remotefs.data.writeback.waiters import Waiters
from remotefs.store.records import Intent, IntentKind
from remotefs.store.store import Store

_DELETE_WORKERS = 4


class Selection:
    """Chooses from the intents that are due; `running` are, by number, those whose task runs."""

    def __init__(
        self, store: Store, agenda: Agenda, waiters: Waiters, churn: Churn, usage: Usage, config: WritebackConfig
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._renames = store.renames
        self._agenda = agenda
        self._waiters = waiters
        self._churn = churn
        self._usage = usage
        self._config = config

    @property
    def is_empty(self) -> bool:
        """Return whether nothing waits for the service, now or later."""
        return not self._journal.is_longer_than(0)

    def uploads(self, running: Mapping[int, Intent]) -> list[Intent]:
        """Return the uploads to start: those that a caller waits for first, then the longest due.

        A file whose upload is not over yet has to wait, even if the intent of that upload is gone.
        """
        uploading = {intent.ino for intent in running.values() if intent.kind is not IntentKind.DELETE}
        room = self._config.upload_workers - len(uploading)
        waited = filter(self._agenda.is_due, filter(None, map(self._journal.of_inode, self._waiters.inos)))
        due = self._agenda.due_uploads(room + len(uploading), running) if room > 0 else []
        chosen = dict.fromkeys(intent for intent in [*waited, *due] if intent.ino not in uploading)
        return [i for i in chosen if not self._is_superseded(i) and not self._is_premature(i)][: max(room, 0)]

    def deletes(self, running: Mapping[int, Intent]) -> list[Intent]:
        """Return the DELETEs to start, the longest due first; none while a rename is followed (W5)."""
        if self._renames.first() is not None:
            return []
        deleting = sum(intent.kind is IntentKind.DELETE for intent in running.values())
        return self._agenda.due_deletes(_DELETE_WORKERS - deleting, running)

    def next_due_s(self) -> float:
        """Return the seconds until another intent becomes due, a minute at most."""
        return self._agenda.next_due_s()

    def _is_superseded(self, intent: Intent) -> bool:
        """Return whether a rename that is still followed may decide otherwise: whether to upload a file again (W7)."""
        return intent.kind is IntentKind.REUPLOAD and self._renames.first() is not None

    def _is_premature(self, intent: Intent) -> bool:
        """Put off an empty file that is still open for writing, as its bytes are to come (W10); return whether so."""
        inode = self._tree.find(intent.ino) if intent.ino is not None else None
        if inode is None or inode.size > 0 or not self._usage.is_open_for_write(inode.ino) or inode.nlink == 0:
            return False
        if self._churn.is_frozen(inode.ino):  # the frozen version is sent, not the empty file
            return False
        self._agenda.delay(intent, self._config.empty_grace_s)
        return True
