"""A local server of the same API; imports nothing of the rest, so the two cannot share a mistake.

`run.serve` is a whole server, `app.make_app` the application alone, `Store` its files, `Root(path).running()` tells
where the server of a folder is.
"""

from remotefs.server.errors import ApiError, RootInUse, ServerError
from remotefs.server.records import FileRecord, Settings
from remotefs.server.root import Root, Running
from remotefs.server.store import Store

__all__ = ["ApiError", "FileRecord", "Root", "RootInUse", "Running", "ServerError", "Settings", "Store"]
