"""GET /v1/files/{id}/content: the bytes of a file, or a range of them, streamed from a descriptor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from remotefs.server.errors import ApiError
from remotefs.server.ranges import Slice, requested_slice
from remotefs.server.records import FileRecord

# The size of one read by a thread. Larger reads delay the first byte and make the whole no faster.
_CHUNK_BYTES = 1 << 20


def content_reply(request: Request, record: FileRecord, fd: int, *, ranges: bool) -> Response:
    """Return the reply to a download, which closes `fd` at its end. The id is the ETag: its bytes never change.

    Raises ApiError (416) if the range lies outside of the file; `fd` is closed then.
    """
    etag = f'"{record.id}"'
    header = request.headers.get("range") if ranges else None
    part = requested_slice(header, request.headers.get("if-range"), etag, record.size_bytes)
    if part is None:
        os.close(fd)
        raise ApiError(416, "Range lies outside of the file", headers={"content-range": f"bytes */{record.size_bytes}"})
    return FileSlice(fd, part, _headers(record, part, etag, ranges=ranges))


def _headers(record: FileRecord, part: Slice, etag: str, *, ranges: bool) -> dict[str, str]:
    headers = {
        "content-type": record.mime_type,
        "content-length": str(part.length),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(record.filename, safe='')}",
        "etag": etag,
        "accept-ranges": "bytes" if ranges else "none",
    }
    if part.partial:
        headers["content-range"] = part.content_range
    return headers


class FileSlice(Response):
    """Streams a part of a file and closes the descriptor at the end, or as soon as the client disconnects."""

    def __init__(self, fd: int, part: Slice, headers: Mapping[str, str]) -> None:
        self._fd = fd
        self._part = part
        super().__init__(status_code=206 if part.partial else 200, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI's signature
        """Send the reply (the ASGI entry point)."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # `send` need not fail when the client has gone, so a second task waits for the disconnect.
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_on_disconnect, receive, tasks.cancel_scope)
                await self._stream(send)
                tasks.cancel_scope.cancel()
        finally:
            os.close(self._fd)

    async def _stream(self, send: Send) -> None:
        position, end = self._part.start, self._part.start + self._part.length
        while position < end:
            chunk = await to_thread.run_sync(os.pread, self._fd, min(_CHUNK_BYTES, end - position), position)
            if not chunk:
                raise OSError(f"{end - position} bytes of a file are missing on the disk of this server")
            position += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": position < end})
        # The loop has sent nothing for an empty file, and a reply needs a last body message.
        if not self._part.length:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
