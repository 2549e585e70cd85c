"""The end of an upload that the service has confirmed: the inode is bound to the new id (W4, W5, W8)."""

from __future__ import annotations

from remotefs.config import WritebackConfig
from remotefs.data.intents.freed_ids import FreedIds
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.intents.unlinker import Unlinker
from remotefs.data.intents.upload_options import UploadOptions
from remotefs.store.records import IntentKind, Origin, Remote
from remotefs.store.store import Store


class Binder:
    """Binds confirmed uploads, and frees the ids that they replace."""

    def __init__(
        self,
        store: Store,
        planner: IntentPlanner,
        unlinker: Unlinker,
        freed_ids: FreedIds,
        options: UploadOptions,
        config: WritebackConfig,
        *,
        shares_uploads: bool,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._shares = store.shares
        self._planner = planner
        self._unlinker = unlinker
        self._freed_ids = freed_ids
        self._options = options
        self._config = config
        self._shares_uploads = shares_uploads

    def bind(self, ino: int, remote: Remote, generation: int) -> None:
        """Bind the inode to an id: the service has confirmed its bytes as they were at `generation`.

        One transaction; the ids that the upload replaces are freed in it.
        """
        with self._db.transaction():
            self._remotes.add(remote)
            inode, intent = self._tree.find(ino), self._journal.of_inode(ino)
            if inode is None or intent is None:
                self._freed_ids.free([remote.file_id])
                return
            before = inode.file_id
            life = ContentLifecycle.of(inode).confirmed(generation)
            inode = self._tree.update(ino, file_id=remote.file_id, **life._asdict())
            self._remotes.show(remote.file_id, ino)
            # Another type is an edit (M1); another name alone is none.
            is_edit = intent.kind is not IntentKind.REUPLOAD or self._options.is_pending(ino)
            freed = [*intent.replaces, *self._superseded(before, is_edit=is_edit)]
            if self._shares_uploads and remote.size:
                self._share(remote.file_id, freed)
            self._journal.remove(intent.seq)
            self._options.confirmed(ino)
            self._freed_ids.free(freed, confirmed=ino)
            if inode.nlink == 0:
                self._unlinker.unlinked(inode)
            else:
                self._planner.schedule(inode)

    def _share(self, file_id: str, replaced: list[str]) -> None:
        """Have the bytes put into the shared store, unless the user took a former version of the file out of it."""
        if any(map(self._shares.is_withheld, replaced)):
            self._shares.withhold(file_id)
        else:
            self._shares.add(file_id)

    def _superseded(self, file_id: str | None, *, is_edit: bool) -> list[str]:
        """Return the id whose place an upload takes; none where W8 keeps a foreign original beside an edit of it.

        The original stays in any case where replies gave less than was listed: the edit may be one of an error's text.
        """
        remote = self._remotes.find(file_id) if file_id else None
        if remote is None:
            return []
        is_edited_original = is_edit and remote.origin == Origin.FOREIGN and remote.downloadable
        if is_edited_original and (not self._config.replace_downloadable or remote.size < remote.size_as_listed):
            self._remotes.show(remote.file_id, None)
            return []
        return [remote.file_id]
