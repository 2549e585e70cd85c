"""A stand-in for the Messages API that checks content blocks against the files of a server, as the documents state it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from remotefs.server import Store

DOCUMENTS = {"application/pdf", "text/plain"}
IMAGES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
REPLY = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "…"}], "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


def refusal(block: dict[str, Any], store: Store, files: Path) -> str | None:
    """Why the service does not take a block; None where it does."""
    kind = block["type"]
    if kind == "text":
        return None
    source = block if kind == "container_upload" else block["source"]
    record = store.get(source["file_id"])
    if kind == "container_upload":
        return None
    essence, data = record.mime_type.partition(";")[0], (files / record.id).read_bytes()
    if kind == "document" and essence not in DOCUMENTS:
        return "Only PDF and plaintext documents are supported"
    if kind == "image" and essence not in IMAGES:
        return "Only JPEG, PNG, GIF and WebP images are supported"
    if essence == "application/pdf" and b"/Encrypt" in data:
        return "The PDF is encrypted"
    if essence == "image/png" and max(struct.unpack_from(">II", data, 16)) > 8000:
        return "The image has more than 8000 pixels on a side"
    return None if kind in {"document", "image"} else f"unknown block {kind}"


@contextmanager
def messages_stub(store: Store, files: Path) -> Iterator[str]:
    """The address of a stand-in that knows the files of `store`, whose bytes lie in `files`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            refusals = [refusal(block, store, files) for message in request["messages"] for block in message["content"]]
            said = next(filter(None, refusals), None)
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": said}}
            body = json.dumps(error if said else REPLY).encode()
            self.send_response(400 if said else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
