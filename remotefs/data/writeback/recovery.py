"""Recovery at the start of a mount: puts right what a crash left between two steps (W3, W9).

It runs before the kernel asks for anything, so no file is open and no inode is looked up.
"""

from __future__ import annotations

import logging

from remotefs import crashpoints
from remotefs.data.content.chunks import Sums
from remotefs.data.content.store import ContentStore
from remotefs.data.content.trash import Trash
from remotefs.data.files.integrity import Evidence, Verdict, judge
from remotefs.data.files.promotion import Promotion
from remotefs.data.files.staged_sums import damage_of, matches
from remotefs.data.files.staging import StagedName, Staging
from remotefs.data.files.sweeper import Sweeper
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.data.writeback.last_run import LastRun
from remotefs.data.writeback.orphans import Orphans, Rescued
from remotefs.errors import CorruptionError, LocalError
from remotefs.store.records import NEVER_NS, Attempt, ContentState, Inode, IntentKind
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


class Recovery:
    """Recovers once, at the start of a mount."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        content: ContentStore,
        staging: Staging,
        promotion: Promotion,
        sweeper: Sweeper,
        trash: Trash,
        last_run: LastRun,
    ) -> None:
        self._store = store
        self._intents = intents
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._paths = intents.paths
        self._due_times = intents.due_times
        self._planner = intents.planner
        self._unlinker = intents.unlinker
        self._content = content
        self._staging = staging
        self._promotion = promotion
        self._sweeper = sweeper
        self._trash = trash
        self._sums = staging.sums
        self._last_run = last_run
        # The staged files that the last run found and no row named.
        self.rescued = Rescued()

    async def run(self) -> None:
        """Bring rows, staged files and intents in line."""
        crashpoints.reached("recovery begins")
        self.rescued = self._rescue_orphans()
        self._release_unlinked()
        # After a power cut no row may ask for bytes that are removed below, so all rows are on the disk first; `sweep`
        # waits for that even if nothing is to be swept.
        await self._sweeper.sweep()
        staged = {(entry.inode, entry.generation): entry for entry in self._staging.scan()}
        for inode in self._tree.staged():
            entry = staged.get((inode.ino, inode.staged_gen or 0))
            if entry is None:
                self._staged_file_is_gone(inode)
            else:
                self._put_in_line(inode, entry, await self._look_at(inode, entry))
            self._planner.label(self._tree.get(inode.ino))
        self._schedule_sleeping()
        if self._last_run.is_old:
            self._expect_later_life()
        for inode in self._tree.staged():
            if (entry := staged.get((inode.ino, inode.staged_gen or 0))) is not None:
                await self._promote(inode, entry)
        self._sums.prune((inode.ino, inode.content_gen) for inode in self._tree.staged())
        self._sweep_content()
        crashpoints.reached("recovery is done")

    def _rescue_orphans(self) -> Rescued:
        """Rescue staged files that no row names, before anything else: they may be the only copies."""
        named = {(inode.ino, inode.staged_gen) for inode in self._tree.staged()}
        loose = [file for file in self._staging.scan() if (file.inode, file.generation) not in named]
        return Orphans(self._store, self._intents, self._staging, self._trash, self._last_run).rescue(loose)

    def _release_unlinked(self) -> None:
        for inode in self._tree.unlinked():
            self._unlinker.release(inode)

    async def _look_at(self, inode: Inode, entry: StagedName) -> Verdict:
        """Return what a staged file is. Its bytes are read only where its size or its time is not that of its row."""
        evidence = self._evidence(inode, entry)
        has_size = entry.size == inode.size
        if inode.state == ContentState.CLEAN:
            # `_promote` compares its bytes with those that were uploaded.
            return Verdict.WHOLE if has_size else judge(await self._with_head(inode, evidence._replace(matches=False)))
        if evidence.is_dirty or (has_size and not evidence.is_later and not evidence.was_damaged):
            return judge(evidence)
        path = self._staging.place(entry.inode, entry.generation)
        sums = self._sums.find(inode.ino, inode.content_gen)
        later = [await matches(path, other) for other in self._sums.later(inode.ino, inode.content_gen)]
        is_right = await matches(path, sums) if sums is not None else None
        evidence = evidence._replace(matches=is_right, matches_later_version=any(later))
        return judge(await self._with_head(inode, evidence))

    async def _with_head(self, inode: Inode, evidence: Evidence) -> Evidence:
        """Return the evidence with a look at the bytes up to the recorded size, where there are more."""
        sums = self._known_sums(inode)
        if sums is None or evidence.found_size <= evidence.recorded_size or evidence.is_later:
            return evidence
        path = self._staging.place(inode.ino, inode.staged_gen or 0)
        return evidence._replace(has_whole_head=await matches(path, sums, may_go_on=True))

    def _known_sums(self, inode: Inode) -> Sums | None:
        """Return the sums of an inode's version; of one that went up at least its digest."""
        sums = self._sums.find(inode.ino, inode.content_gen)
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if sums is not None or inode.state != ContentState.CLEAN or remote is None or remote.digest is None:
            return sums
        return Sums(self._sums.layout(inode.size), digest=remote.digest)

    def _evidence(self, inode: Inode, entry: StagedName) -> Evidence:
        return Evidence(
            is_dirty=inode.state == ContentState.DIRTY,
            recorded_size=inode.size,
            found_size=entry.size,
            is_later=entry.mtime_ns > inode.closed_ns,
            matches=None,
            was_damaged=self._sums.is_damaged(inode),
            was_restarted=self._last_run.was_restarted,
        )

    def _put_in_line(self, inode: Inode, entry: StagedName, verdict: Verdict) -> None:
        if verdict is Verdict.WRITTEN:
            self._close_what_was_open(inode, entry)
        elif verdict is Verdict.DAMAGED:
            self._keep_from_harm(inode)
        elif verdict is Verdict.OVERLONG:
            self._cut_off(inode)
        elif inode.state != ContentState.CLEAN:
            self._sums.heal(inode.ino, inode.content_gen)

    async def _promote(self, inode: Inode, entry: StagedName) -> None:
        evidence = self._evidence(inode, entry)
        try:
            await self._promotion.promote_to_content(inode.ino)
        except CorruptionError:
            # Not the bytes that the service has.
            self._put_in_line(inode, entry, judge(evidence._replace(matches=False)))
        except LocalError as error:
            _log.warning("%s stays in staging: %s", self._paths.shown(inode), error)

    def _close_what_was_open(self, inode: Inode, entry: StagedName) -> None:
        """Close a file that was written and never closed: it is uploaded as it is (W3)."""
        _log.warning("%s was being written when the mount ended: it is kept as it was", self._paths.shown(inode))
        with self._db.transaction():
            life = ContentLifecycle.of(inode).found_written()
            self._tree.update(inode.ino, size=entry.size, mtime_ns=entry.mtime_ns, **life._asdict())
            self._planner.closed(inode.ino)

    def _keep_from_harm(self, inode: Inode) -> None:
        """Keep damaged bytes from the service and from readers (R3); where it gives them back, fetch them again."""
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        assert inode.staged_gen is not None
        if inode.state == ContentState.CLEAN and remote is not None and remote.downloadable:
            _log.warning("%s: its bytes on this disk are damaged, and are fetched again", self._paths.shown(inode))
            self._tree.update(inode.ino, size=remote.size, **ContentLifecycle.of(inode).promoted()._asdict())
            self._staging.discard(inode.ino, inode.staged_gen)
            return
        error = damage_of(self._staging.place(inode.ino, inode.staged_gen))
        _log.error("%s is not sent: %s", self._paths.shown(inode), error)
        self._sums.note_damage(inode.ino, inode.content_gen)
        self._hold_back(inode, error)

    def _cut_off(self, inode: Inode) -> None:
        """Cut off what lies behind the end of a closed file whose bytes are whole."""
        assert inode.staged_gen is not None
        staged = self._staging.open(inode.ino, inode.staged_gen)
        _log.warning("%s: bytes that nobody wrote lie behind its end: they are cut off", self._paths.shown(inode))
        staged.truncate(inode.size)
        staged.close()
        self._sums.heal(inode.ino, inode.content_gen)

    def _hold_back(self, inode: Inode, error: CorruptionError) -> None:
        """Let an upload whose bytes are damaged be looked at rarely, with its reason."""
        intent = self._journal.of_inode(inode.ino)
        if intent is not None:
            self._journal.failed(intent.seq, str(error), due_ns=self._due_times.after_damage())

    def _staged_file_is_gone(self, inode: Inode) -> None:
        """Correct the row of a file whose staged file is missing.

        The staged file became content before the crash, or a power cut took it before its close: then its bytes were
        never acknowledged. A closed one is damaged: another version in its place would be taken for it (R3).
        """
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if inode.nlink == 0 or (inode.state == ContentState.CLEAN and remote is not None):
            # An unlinked inode is only kept until the end of its upload is known (W9).
            self._tree.update(inode.ino, staged_gen=None)
            return
        assert inode.staged_gen is not None
        if inode.state == ContentState.CLOSED and inode.size == 0:
            self._staging.create(inode.ino, inode.staged_gen)
            return
        _log.error("%s: what was last written to it is missing from the state folder", self._paths.shown(inode))
        if inode.state == ContentState.CLOSED:
            path = self._staging.place(inode.ino, inode.staged_gen)
            self._hold_back(inode, self._sums.note_missing(inode, path))
            return
        with self._db.transaction():
            size = remote.size if remote is not None else 0
            self._tree.update(inode.ino, size=size, **ContentLifecycle.of(inode).lost()._asdict())
            intent = self._journal.of_inode(inode.ino)
            if intent is not None:
                self._journal.remove(intent.seq)
                for file_id in intent.replaces:
                    # Nothing takes their place any more: they are the only copies, and are shown again.
                    self._remotes.restore(file_id)
            if remote is None:
                # It is a new, empty file again, which goes up as any other (W2).
                self._planner.closed(inode.ino)

    def _schedule_sleeping(self) -> None:
        """Schedule intents that waited for a close: no file is open for writing now."""
        with self._db.transaction():
            self._due_times.adopt(self._journal)
            for intent in self._journal.pending():
                inode = self._tree.find(intent.ino) if intent.ino is not None and intent.file_id is None else None
                if intent.due_ns == NEVER_NS and inode is not None:
                    self._planner.schedule(inode)
            closed = [inode for inode in self._tree.staged() if inode.state == ContentState.CLOSED]
            for inode in [*closed, *self._intents.upload_options.pending()]:
                if self._journal.of_inode(inode.ino) is None:
                    self._planner.schedule(inode)  # its intent is lost, as in a database that was rebuilt

    def _expect_later_life(self) -> None:
        """Let the listing be asked for each pending upload before it is sent: a later life may have sent it (W6)."""
        with self._db.transaction():
            for intent in self._journal.pending():
                inode = self._tree.find(intent.ino) if intent.ino is not None else None
                if inode is None or intent.kind is not IntentKind.UPLOAD or intent.attempt is not None:
                    continue
                name = self._paths.remote_name(inode)
                if name is not None and inode.state == ContentState.CLOSED and not self._sums.is_damaged(inode):
                    attempt = Attempt(name, inode.size, inode.closed_ns, self._last_run.service_ns, inode.content_gen)
                    self._journal.begin_attempt(intent.seq, attempt)

    def _sweep_content(self) -> None:
        """Remove the content of ids that were freed before the crash."""
        for remote in self._remotes.tombstoned():
            self._content.remove(remote.file_id)
        for entry in self._trash.entries():
            if not entry.file_id or self._tree.holders(entry.file_id):
                continue
            content = self._content.path_of(entry.file_id)
            if content is None or content.samefile(self._trash.bytes_of(entry.number)):
                self._content.remove(entry.file_id)
