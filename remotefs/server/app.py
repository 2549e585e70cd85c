"""The five operations of the Files API as an ASGI application."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from remotefs.server.access_log import AccessLog
from remotefs.server.download import content_reply
from remotefs.server.gate import Gate
from remotefs.server.limits import Bucket
from remotefs.server.queries import parsed_query
from remotefs.server.records import Settings
from remotefs.server.shapes import Shape, cursor_of, deleted_object, file_object, list_object, shape_of
from remotefs.server.store import Store
from remotefs.server.upload import Upload


def make_app(store: Store, settings: Settings, *, key: str, log: AccessLog | None = None) -> Gate:
    """Return the ASGI application, which runs on asyncio and on trio. The caller closes `store` and `log`."""
    limit = settings.requests_per_minute
    return Gate(
        Router(Operations(store, settings).routes(), redirect_slashes=False, default=_unknown_path),
        key=key,
        organization_id=store.organization_id,
        bucket=None if limit is None else Bucket(limit, time.time()),
        log=log,
    )


class Operations:
    """The handlers of the five operations: request in, reply out. A refusal is an ApiError."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return the routes. Their names are the `op` of the access log."""
        one = "/v1/files/{file_id}"
        return [
            Route("/v1/files", self.upload, methods=["POST"], name="upload"),
            _get("/v1/files", self.list, "list"),
            _get(one, self.metadata, "metadata"),
            _get(one + "/content", self.content, "content"),
            Route(one, self.delete, methods=["DELETE"], name="delete"),
        ]

    async def upload(self, request: Request) -> Response:
        """Answer POST /v1/files with the metadata of the new file."""
        shape = _shape(request)
        with Upload(self._store, self._settings, type_required=shape is Shape.BETA) as upload:
            await upload.receive(request.headers.get("content-type", ""), request.stream())
            record = await upload.commit()
        request.scope["remotefs.file_id"] = record.id
        return _json(file_object(record, shape))

    async def list(self, request: Request) -> Response:
        """Answer GET /v1/files with a page of the listing."""
        shape = _shape(request)
        query = parsed_query(
            request.query_params.multi_items(), ids_as_cursor=shape.takes_ids_as_cursor, pages=shape.takes_pages
        )
        page = None if query.page is None else cursor_of(query.page)
        return _json(list_object(self._store.list(query, page), shape))

    async def metadata(self, request: Request) -> Response:
        """Answer GET /v1/files/{id} with the metadata of the file."""
        return _json(file_object(self._store.get(request.path_params["file_id"]), _shape(request)))

    async def content(self, request: Request) -> Response:
        """Answer GET /v1/files/{id}/content with bytes of the file."""
        record, fd = self._store.open_content(request.path_params["file_id"])
        return content_reply(request, record, fd, ranges=self._settings.ranges)

    async def delete(self, request: Request) -> Response:
        """Answer DELETE /v1/files/{id} after the file is removed."""
        file_id = request.path_params["file_id"]
        await to_thread.run_sync(self._store.delete, file_id)
        return _json(deleted_object(file_id))


def _get(path: str, endpoint: Any, name: str) -> Route:
    route = Route(path, endpoint, methods=["GET"], name=name)
    # The API has no HEAD; starlette adds one to every GET.
    route.methods = {"GET"}
    return route


def _shape(request: Request) -> Shape:
    return shape_of(request.headers.getlist("anthropic-beta"))


def _json(content: Mapping[str, Any]) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


async def _unknown_path(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 -- the ASGI signature
    raise HTTPException(404, f"Not found: {scope['path']}")
