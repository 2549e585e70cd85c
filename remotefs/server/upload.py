"""POST /v1/files: a form streamed to the disk.

At most `_FLUSH_BYTES` of the body and one piece from the network are in memory, however large the file is.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import ExitStack

from anyio import to_thread

from remotefs.server.blobs import Arrival
from remotefs.server.errors import ApiError, bad_request
from remotefs.server.multipart import FormEnd, FormReader, PartBegin, PartData
from remotefs.server.names import accepted_name, guessed_type
from remotefs.server.records import FileRecord, Settings
from remotefs.server.store import Store

# The bytes that are handed to a writing thread at once. A smaller hand-over costs more than the write itself.
_FLUSH_BYTES = 1 << 20
# A field other than the file is a short number: more of it is not kept.
_FIELD_BYTES = 64
_EXPIRY_RANGE_S = range(3600, 7776000 + 1)
_MIME_LENGTH = 255


class Upload:
    """A form on its way in: a context manager that removes the file at its end, unless it was committed."""

    def __init__(self, store: Store, settings: Settings, *, type_required: bool) -> None:
        self._store = store
        self._settings = settings
        self._type_required = type_required
        self._cleanup = ExitStack()
        self._arrival: Arrival | None = None
        self._head = PartBegin(None, None, None)
        self._current: str | None = None
        self._pending: list[memoryview] = []
        self._pending_bytes = 0
        self._expiry = bytearray()
        self._complete = False

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._cleanup.close()

    async def receive(self, content_type: str, body: AsyncIterable[bytes]) -> None:
        """Read the whole body and write the file's bytes to the disk. Raises ApiError (400, 413)."""
        reader = FormReader(content_type)
        async for piece in body:
            for event in reader.feed(piece):
                self._take(event)
            if self._pending_bytes >= _FLUSH_BYTES:
                await to_thread.run_sync(self._flush)

    async def commit(self) -> FileRecord:
        """Make the file visible and return its record. Raises ApiError (400) if the form or the file is refused."""
        if not self._complete:
            raise bad_request("The multipart body ends before its closing boundary")
        if self._arrival is None:
            raise bad_request("file: Field required")
        return await to_thread.run_sync(self._finish, self._arrival)

    def _take(self, event: PartBegin | PartData | FormEnd) -> None:
        if isinstance(event, PartData):
            self._take_data(event.data)
        elif isinstance(event, PartBegin):
            self._begin_part(event)
        else:
            self._complete = True

    def _begin_part(self, part: PartBegin) -> None:
        self._current = part.name
        if part.name == "file":
            if self._arrival is not None:
                raise bad_request("file: given twice")
            self._check_head(part)
            self._head = part
            self._arrival = self._cleanup.enter_context(self._store.begin())

    def _check_head(self, part: PartBegin) -> None:
        if self._type_required and part.content_type is None:
            raise bad_request("file: the part needs a Content-Type")
        kind = part.content_type or guessed_type(part.filename)
        if len(kind) > _MIME_LENGTH or not (kind.isascii() and kind.isprintable()):
            raise bad_request(f"mime_type: at most {_MIME_LENGTH} printable ASCII characters")
        # A name that cannot be is refused before the bytes are read. `_finish` takes it.
        self._name_of(part)

    def _take_data(self, data: memoryview) -> None:
        if self._current == "file":
            self._pending.append(data)
            self._pending_bytes += len(data)
            if self._size() > self._settings.max_file_bytes:
                raise ApiError(413, f"The file is larger than {self._settings.max_file_bytes} bytes")
        elif self._current == "expires_in_seconds":
            self._expiry += data[: _FIELD_BYTES - len(self._expiry)]

    def _size(self) -> int:
        assert self._arrival is not None
        return self._arrival.size_bytes + self._pending_bytes

    def _flush(self) -> None:
        assert self._arrival is not None
        self._arrival.write(self._pending)
        self._pending, self._pending_bytes = [], 0

    def _finish(self, arrival: Arrival) -> FileRecord:
        self._flush()
        if not arrival.size_bytes and not self._settings.empty_files:
            raise bad_request("file: empty files are not accepted")
        name, mime_type = self._name_of(self._head)
        return self._store.commit(
            arrival,
            name,
            mime_type,
            downloadable=self._settings.uploads_downloadable,
            expires_in_s=self._expires_in_s(),
            quota_bytes=self._settings.quota_bytes,
        )

    def _name_of(self, part: PartBegin) -> tuple[str, str]:
        mime_type = part.content_type or guessed_type(part.filename)
        return accepted_name(part.filename, mime_type, self._settings.name_unit), mime_type

    def _expires_in_s(self) -> int | None:
        text = bytes(self._expiry)
        if not text:
            return None
        if not text.isdigit() or int(text) not in _EXPIRY_RANGE_S:
            raise bad_request(
                f"expires_in_seconds: a whole number from {_EXPIRY_RANGE_S.start} to {_EXPIRY_RANGE_S.stop - 1}"
            )
        return int(text)
