"""A local server of the Files API: for trying remotefs without an account, as a store of one's own, and for the tests.

The five requests of the API go in (upload, list, metadata, content, delete). Replies come out, in the shape that the
request's `anthropic-beta` header asks for, with the service's rules for names, sizes, expiry, cursors and errors. One
rule is different by default: uploads can be downloaded again. The files lie in one folder, the *root*.

    client                             ROOT/server.lock  server.json  api-key
      │ HTTP                             ▲
    ┌─▼──────────────────────────────────┴───────┐
    │ run       lock, listen, drain (uvicorn)    │
    │ connection, door  who may stay connected   │
    │ gate      key, request limit, error reply, │──► ROOT/requests.jsonl
    │           access log                       │
    │ app       one handler an operation         │
    │   upload  multipart form ► bytes on disk   │
    │   download  bytes on disk ► slices         │
    │   queries, shapes  listing in and out      │
    └─┬──────────────────────────────────────────┘
    ┌─▼──────────────────────────────────────────┐
    │ store     the order in which both change   │
    │   catalog  rows      │   blobs  bytes      │
    └─────┬────────────────┴─────┬───────────────┘
     ROOT/files.db          ROOT/incoming/ ──rename──► ROOT/files/

Who runs at the same time: one asyncio loop with a task for each request; threads that write uploads, read downloads and
delete; a thread that frees leftovers every hour. Other processes may have the store open too: `remotefs generate` adds
files to it while the server runs. SQLite's transactions keep the rows consistent between them, a file lock tells the
bytes of a running upload from leftovers (`blobs`).

Decisions:

* The package imports nothing from the rest of remotefs, not even its rules for filenames. The tests compare the client
  with this server, and a mistake in shared code would hide in both.
* A row is committed after its bytes are on the disk, and removed before they are freed. So `kill -9` at any moment
  leaves at most bytes without a row, which nobody sees and the next sweep frees.
* Uploads stream to the disk: memory holds about 1 MiB of a file, whatever its size.
* Anybody can connect, and only the key tells a guest from a stranger. A stranger's share is bounded: the bytes and the
  time of a request's head, a body without the key, and connections (the stranger who waited longest makes room).
* uvicorn with httptools runs the application; docs/adr/0001-asgi-server.md has the comparison. The handlers use anyio
  alone, so another ASGI server would change `run` only.

`run.serve` is the whole server and `app.make_app` the application alone. `Store` is its files, and
`Root(path).running()` returns the address of the server that runs on a folder.
"""

from remotefs.server.errors import ApiError, RootInUse, ServerError
from remotefs.server.records import FileRecord, Settings
from remotefs.server.root import Root, Running
from remotefs.server.store import Store

__all__ = ["ApiError", "FileRecord", "Root", "RootInUse", "Running", "ServerError", "Settings", "Store"]
