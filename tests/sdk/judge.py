"""Runs under one of the vendor's SDKs, in that SDK's own environment, and prints as JSON what it saw.

The servers to judge come as JSON on standard input: {name: {"url": …, "key": …}}.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import anthropic

SERVERS = json.load(sys.stdin)


def connect(server: str, **options: Any) -> Any:
    """The files resource of a client: `client.files`, or `client.beta.files` in the SDKs of the beta."""
    place = SERVERS[server]
    client = anthropic.Anthropic(base_url=place["url"], api_key=options.pop("key", place["key"]), **options)
    return client.files if hasattr(client, "files") else client.beta.files


def refusal(call: Any) -> dict[str, Any]:
    """The typed error that `call` raises."""
    try:
        call()
    except anthropic.APIStatusError as error:
        return {
            "is": [kind.__name__ for kind in type(error).__mro__],
            "status": error.status_code,
            "type": error.body["error"]["type"],
            "details": error.body["error"].get("details"),
            "request_id_matches": error.request_id == error.body["request_id"],
            "retry_after": error.response.headers.get("retry-after"),
        }
    return {"is": []}


def round_trip(files: Any, file: Any) -> dict[str, Any]:
    made = files.upload(file=file)
    again = files.retrieve_metadata(made.id)
    content = files.download(made.id).read()
    return {
        "filename": made.filename,
        "mime_type": made.mime_type,
        "size_bytes": made.size_bytes,
        "downloadable": made.downloadable,
        "metadata_is_equal": made.to_dict() == again.to_dict(),
        "content": content.decode("latin-1"),
    }


def uploads() -> dict[str, Any]:
    files = connect("own")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "données (1).txt"
        path.write_bytes(b"from a path")
        return {
            "path": round_trip(files, path),
            "bytes": round_trip(files, b"from bytes"),
            "stream": round_trip(files, io.BytesIO(b"from a stream")),
            "tuple": round_trip(files, ("a.json", b"{}", "application/json")),
            "large": round_trip(files, ("big.bin", bytes(900_000)))["size_bytes"],
        }


def listing() -> dict[str, Any]:
    files = connect("many")
    first = files.list(limit=10)
    return {
        "default_page": len(files.list().data),
        "first_page": len(first.data),
        "has_next": first.has_next_page(),
        "all": [each.id for each in files.list(limit=100)],
    }


def deleted() -> dict[str, Any]:
    files = connect("own")
    made = files.upload(file=("gone.txt", b"x"))
    reply = files.delete(made.id)
    return {
        "id_is_equal": reply.id == made.id,
        "type": reply.type,
        "after": refusal(lambda: files.retrieve_metadata(made.id)),
        "twice": refusal(lambda: files.delete(made.id)),
    }


def not_downloadable() -> dict[str, Any]:
    files = connect("faithful")
    made = files.upload(file=("mine.txt", b"x"))
    generated = next(each for each in files.list() if each.downloadable)
    return {
        "downloadable": made.downloadable,
        "error": refusal(lambda: files.download(made.id)),
        "generated": files.download(generated.id).read().decode(),
    }


def rate_limited() -> dict[str, Any]:
    files = connect("limited", max_retries=0)
    for _ in range(20):
        seen = refusal(files.list)
        if seen["is"]:
            return seen
    return {"is": []}


def expiring() -> dict[str, Any]:
    made = connect("own").upload(file=("x.txt", b"x"), expires_in_seconds=3600)
    return {"seconds": (made.expires_at - made.created_at).total_seconds()}


def by_ids() -> list[str]:
    return [each.id for each in connect("many").list(ids=["file_seed0000007", "file_no", "file_seed0000009"])]


def main() -> None:
    ga = hasattr(anthropic.Anthropic(api_key="unused"), "files")
    seen = {
        "version": anthropic.__version__,
        "ga": ga,
        "uploads": uploads(),
        "listing": listing(),
        "deleted": deleted(),
        "not_downloadable": not_downloadable(),
        "wrong_key": refusal(connect("own", key="wrong").list),
        "too_large": refusal(lambda: connect("own", max_retries=0).upload(file=("big.bin", bytes(1_000_001)))),
        "bad_name": refusal(lambda: connect("own").upload(file=("a<b.txt", b"x"))),
        "rate_limited": rate_limited(),
    }
    if ga:
        seen |= {"expiring": expiring(), "by_ids": by_ids()}
    json.dump(seen, sys.stdout)


main()
