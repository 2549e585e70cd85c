"""The files whose bytes the shared store has, as far as is known, and where they lie in it.

    <account>/c/<hh>/<file_id>      `account` and `hh` are hashes: accounts never meet in one store, and a folder of a
                                    file system has a 256th of the objects

An id that this machine put is known by its row. Of any other its first read tells; that it is there is true for ever,
that it is not there only for a while: whoever uploaded the file may be about to put it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache

import trio
from cachetools import LRUCache

from remotefs.data.content.index import folder_of
from remotefs.data.share.connection import StoreConnection
from remotefs.data.share.header import header_bytes
from remotefs.data.share.inventory import Page, objects_in
from remotefs.data.share.records import FileRecord, file_key
from remotefs.data.share.shared_records import record_of
from remotefs.errors import NotReadable, ObjectStoreError, ObjectStoreUnreachable, RemotefsError, UsageError
from remotefs.objects.link import Link
from remotefs.store.meta import Facts
from remotefs.store.records import Remote, ShareState
from remotefs.store.store import Store

# So many ids are remembered that were found in the store, and that were not.
_REMEMBERED = 100_000
# An id that is missing is looked for again after as long as it is old, and after these bounds.
_LEAST_AGAIN_S, _MOST_AGAIN_S = 1.0, 300.0
# A file this young that is missing is waited for once, because its bytes are probably on their way.
_YOUNG_S, _WAIT_S = 300.0, 2.0
_NS = 1_000_000_000


class SharedContents:
    """What the shared store has of the files of the tree; without a store (None) nothing.

    `service_now_ns` gives the service's time, which dates the files.
    """

    def __init__(self, store: Store, connection: StoreConnection | None, service_now_ns: Callable[[], int]) -> None:
        self._meta = store.meta
        self._shares = store.shares
        self._remotes = store.remotes
        self._shared_log = store.shared_log
        self._connection = connection
        self._service_now_ns = service_now_ns
        # Whether the store refused what this machine would put: it is a reader, and its changes wait.
        self.may_only_read = False
        self._present: LRUCache[str, None] = LRUCache(_REMEMBERED)
        # By id, until when it counts as missing (trio's time).
        self._missing: LRUCache[str, float] = LRUCache(_REMEMBERED)

    @property
    def is_configured(self) -> bool:
        """Return whether there is a shared store at all."""
        return self._connection is not None

    def check_configured(self) -> None:
        """Raise UsageError, for a command about the store, where there is none."""
        if not self.is_configured:
            raise UsageError("this mount has no shared store: set `shared.store`, and mount again")

    @property
    def is_up(self) -> bool:
        """Return whether there is a store, and it is within reach."""
        return self._connection is not None and self._connection.is_up

    @property
    def connection(self) -> StoreConnection | None:
        """Return the connection to the store, None where there is no store."""
        return self._connection

    @property
    def link(self) -> Link | None:
        """Return what counts the bytes from and to the store, None where there is no store."""
        return self._connection.link if self._connection is not None else None

    def key_of(self, file_id: str) -> str:
        """Return the key of an object. Raises ObjectStoreUnreachable while the account is not known yet."""
        return f"{account_of(self._meta.facts)}/c/{folder_of(file_id)}/{file_id}"

    def digest_of(self, remote: Remote) -> str | None:
        """Return the xxh3-128 of a file's bytes in hex: of its upload from here, or by its record; None: not known."""
        if remote.digest is not None:
            return remote.digest
        row = self._shared_log.find(file_key(remote.file_id))
        record = record_of(row) if row is not None else None
        return record.digest if isinstance(record, FileRecord) and record.size == remote.size else None

    # -- which are there

    def is_known(self, file_id: str) -> bool:
        """Return whether the store certainly has the bytes of an id."""
        return self.is_configured and (file_id in self._present or self._shares.is_stored(file_id))

    def is_asked(self, remote: Remote) -> bool:
        """Return whether a file is read from the store: one that the service gives back only if the store has it."""
        if remote.downloadable and not (self.is_up and self.is_known(remote.file_id)):
            return False
        return remote.size > 0 and self.may_have(remote.file_id)

    def brings(self, file_id: str) -> bool:
        """Return whether the bytes of an id are read from the store, and not from the service."""
        remote = self._remotes.find(file_id) if self.is_configured else None
        return remote is not None and self.is_asked(remote)

    def may_have(self, file_id: str) -> bool:
        """Return whether the store may have the bytes of an id: it is not known that it has not."""
        if not self.is_configured:
            return False
        return self._missing.get(file_id, 0.0) <= trio.current_time() or self.is_known(file_id)

    def is_awaited(self, file_id: str) -> bool:
        """Return whether the bytes of an id are on their way into the store, and nothing keeps them from it (X2)."""
        share = self._shares.find(file_id) if self.is_up else None
        return share is not None and share.state == ShareState.WAITING and share.reason is None

    def missed_count(self) -> int:
        """Return the number of uploads whose bytes are to be in the store and are not yet; 0 without a store."""
        return self._shares.waiting_count() if self.is_configured else 0

    def is_any_awaited(self) -> bool:
        """Return whether any bytes or attributes are on their way into the store, and nothing keeps them from it."""
        return self.are_attributes_awaited() or (self.is_up and self._shares.is_any_on_its_way())

    def are_attributes_awaited(self) -> bool:
        """Return whether any attributes are on their way into the store, and nothing keeps them from it."""
        return self.is_up and not self.may_only_read and self._shared_log.is_any_dirty()

    def is_missed(self, file_id: str) -> bool:
        """Return whether the bytes of an id are to be in the store and are not yet."""
        share = self._shares.find(file_id) if self.is_configured else None
        return share is not None and share.state == ShareState.WAITING

    async def look_for(self, remote: Remote, begin: Callable[[], Awaitable[object]]) -> None:
        """Find out whether the store has the bytes of a file; of a young one that is missing after a short wait.

        `begin` begins to read them: no request is sent that brings none. A store that is out of reach may have them:
        reading them says what is wrong.
        """
        if self.is_known(remote.file_id) or not self.may_have(remote.file_id):
            return
        with suppress(RemotefsError):
            try:
                await begin()
            except NotReadable:
                if self._age_s(remote) < _YOUNG_S:
                    await trio.sleep(_WAIT_S)
                    self._missing.pop(remote.file_id, None)
                    await begin()

    async def ask(self, remote: Remote) -> bool:
        """Ask the store whether it has the bytes of a file, all of them; note the answer. Raises ObjectStoreError."""
        connection, key = self._watched(), self.key_of(remote.file_id)
        size = await connection.watch(lambda objects: objects.size_of(key))
        if size == header_bytes(remote.size) + remote.size:
            self.is_there(remote.file_id)
            return True
        await connection.check_marker()
        self.is_missing(remote)
        return False

    async def still_has(self, file_id: str) -> bool:
        """Return whether the store shows the bytes of an id that it is known to have; False if it cannot be asked."""
        remote = self._remotes.find(file_id)
        if remote is None or not self.is_up or not self.is_known(file_id):
            return False
        with suppress(ObjectStoreError):
            return await self.ask(remote)
        return False

    def is_there(self, file_id: str) -> None:
        """Note that the store has the bytes of an id."""
        self._present[file_id] = None
        self._missing.pop(file_id, None)

    def is_missing(self, remote: Remote) -> None:
        """Note that the store, which has just shown its marker, has no bytes of a file."""
        again_s = min(max(self._age_s(remote), _LEAST_AGAIN_S), _MOST_AGAIN_S)
        self._present.pop(remote.file_id, None)
        self._missing[remote.file_id] = trio.current_time() + again_s

    def _age_s(self, remote: Remote) -> float:
        return max(0.0, (self._service_now_ns() - remote.created_ns) / _NS)

    # -- bytes in

    def may_write(self) -> None:
        """Note that the store takes what this machine puts; what it refused before is tried again."""
        if self.may_only_read:
            self.may_only_read = False
            self._shares.hurry()

    async def put(self, file_id: str, pieces: Callable[[], Iterable[bytes]], size: int) -> None:
        """Put the object of an id, of `size` bytes with its header; see `ObjectStore.put`. Raises ObjectStoreError."""
        key = self.key_of(file_id)
        await self._watched().change(lambda objects: objects.put(key, pieces, size))
        self.is_there(file_id)

    # -- objects of files that are gone

    @property
    def account(self) -> str:
        """Return the name of the account in the store. Raises ObjectStoreUnreachable while it is not known yet."""
        return account_of(self._meta.facts)

    def objects(self) -> AsyncIterator[Page]:
        """Yield all objects with the bytes of files, in pages; see `objects_in`. Raises ObjectStoreError."""
        return objects_in(self._watched(), self.account)

    async def delete(self, file_ids: Sequence[str]) -> None:
        """Delete the objects of some ids for good; some may be absent. Raises ObjectStoreError."""
        keys = [self.key_of(file_id) for file_id in file_ids]
        try:
            await self._watched().change(lambda objects: objects.delete(keys))
        finally:
            # After a failure some of them may be gone.
            for file_id in file_ids:
                self._present.pop(file_id, None)

    async def check_marker(self) -> None:
        """Return once the store has just shown its marker; see `StoreConnection`. Raises ObjectStoreError."""
        await self._watched().check_marker()

    def _watched(self) -> StoreConnection:
        assert self._connection is not None
        return self._connection


def account_of(facts: Facts) -> str:
    """Return the name of the account in the store. Raises ObjectStoreUnreachable while no reply has named it."""
    if facts.shared_account is not None:
        return facts.shared_account
    if facts.organization is None and facts.workspace is None:
        if facts.base_url is None:
            raise ObjectStoreUnreachable("the shared store waits: no reply of the service has named the account yet")
        name = facts.base_url
    else:
        name = f"{facts.organization or ''}|{facts.workspace or ''}"
    return _folder_of_account(name)


@lru_cache(maxsize=8)
def _folder_of_account(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
