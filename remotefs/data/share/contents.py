"""The files whose bytes the shared store has, as far as is known, and where they lie in it.

    <account>/l/<writer>/<sequence> the log of a machine: its segments
    <account>/c/<hh>/<file_id>      `account` and `hh` are hashes: accounts never meet in one store, and a folder of a
                                    file system has a 256th of the objects

An id that this machine put is known by its row. Of any other one HEAD request tells; that it is there is true for ever,
that it is not there only for a while: whoever uploaded the file may be about to put it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import trio
from cachetools import LRUCache

from remotefs.data.content.index import folder_of
from remotefs.data.share.connection import StoreConnection
from remotefs.data.share.header import header_bytes
from remotefs.data.share.segments import MOST_UNPACKED_BYTES, segment_name
from remotefs.errors import ObjectStoreError, ObjectStoreUnreachable
from remotefs.objects.store import ObjectStore
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

    @property
    def is_up(self) -> bool:
        """Return whether there is a store, and it is within reach."""
        return self._connection is not None and self._connection.is_up

    @property
    def connection(self) -> StoreConnection | None:
        """Return the connection to the store, None where there is no store."""
        return self._connection

    def key_of(self, file_id: str) -> str:
        """Return the key of an object. Raises ObjectStoreUnreachable while the account is not known yet."""
        return f"{account_of(self._meta.facts)}/c/{folder_of(file_id)}/{file_id}"

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
        is_attribute = self._shared_log.is_any_dirty() and not self.may_only_read
        return self.is_up and (self._shares.is_any_on_its_way() or is_attribute)

    def is_missed(self, file_id: str) -> bool:
        """Return whether the bytes of an id are to be in the store and are not yet."""
        share = self._shares.find(file_id) if self.is_configured else None
        return share is not None and share.state == ShareState.WAITING

    async def look_for(self, remote: Remote) -> None:
        """Find out whether the store has the bytes of a file; of a young one that is missing after a short wait.

        A store that is out of reach may have them: reading them says what is wrong.
        """
        if self.is_known(remote.file_id) or not self.may_have(remote.file_id):
            return
        with suppress(ObjectStoreError):
            if not await self.ask(remote) and self._age_s(remote) < _YOUNG_S:
                await trio.sleep(_WAIT_S)
                await self.ask(remote)

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

    # -- the logs of machines

    async def create_segment(self, writer: str, sequence: int, data: bytes) -> bool:
        """Put a segment if there is none of that number; return whether there was none. Raises ObjectStoreError."""
        key = self._key_of_segment(writer, sequence)
        return await self._watched().change(lambda objects: objects.create(key, data))

    async def segment(self, writer: str, sequence: int) -> bytes:
        """Return the bytes of a segment. Raises ObjectMissing, ObjectStoreError."""
        key = self._key_of_segment(writer, sequence)
        return await self._watched().watch(lambda objects: objects.get(key, length=MOST_UNPACKED_BYTES))

    async def writers(self) -> list[str]:
        """Return the machines that have a log. Raises ObjectStoreError."""
        found: list[str] = []
        while (writer := await self._watched().watch(partial(self._writer_after, found))) is not None:
            found.append(writer)
        return found

    async def _writer_after(self, found: list[str], objects: ObjectStore) -> str | None:
        """Return the first machine after those that were found: one page is read, whatever they have written."""
        folder = self._logs()
        # Greater than any name in the folder of a machine.
        after = f"{folder}/{found[-1]}/~" if found else ""
        async for page in objects.list(folder, after=after):
            return page[0].key.removeprefix(f"{folder}/").partition("/")[0] if page else None
        return None

    def _key_of_segment(self, writer: str, sequence: int) -> str:
        return f"{self._logs()}/{writer}/{segment_name(sequence)}"

    def _logs(self) -> str:
        return f"{account_of(self._meta.facts)}/l"

    def _watched(self) -> StoreConnection:
        assert self._connection is not None
        return self._connection


def account_of(facts: Facts) -> str:
    """Return the name of the account in the store. Raises ObjectStoreUnreachable while no reply has named it."""
    if facts.organization is None and facts.workspace is None:
        if facts.base_url is None:
            raise ObjectStoreUnreachable("the shared store waits: no reply of the service has named the account yet")
        name = facts.base_url
    else:
        name = f"{facts.organization or ''}|{facts.workspace or ''}"
    return hashlib.sha256(name.encode()).hexdigest()[:16]
