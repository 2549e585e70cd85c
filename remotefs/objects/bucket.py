"""A store in a bucket of S3, Google Cloud Storage or Azure, by obstore's synchronous calls.

No other module imports obstore, and this one is imported only for such a store.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from remotefs.errors import ObjectMissing, ObjectStoreDenied, ObjectStoreError
from remotefs.objects.backend import PAGE_ENTRIES, PART_BYTES, PIECE_BYTES, ObjectEntry, check_key
from remotefs.objects.failures import no_bucket, of_library, status_of
from remotefs.objects.source import Source

_T = TypeVar("_T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Parts of one object that are under way at the same time; with 8 MiB each, the memory that a large put takes.
_PARTS_AT_ONCE = 4
# `timeout` bounds a whole body, and `read_timeout` the silence between two pieces.
_CLIENT = {
    "timeout": timedelta(hours=1),
    "read_timeout": timedelta(seconds=10),
    "connect_timeout": timedelta(seconds=10),
}
_RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
# By the scheme, what obstore reads itself unless it is given any client options.
_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP"}
_FAILURES = (BaseError, OSError, ValueError)
_PAST_THE_END = 416
# Two that make one key at the same moment may both be refused for now.
_CONFLICT = 409
_TRIES = 5


class Bucket:
    """The objects below a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        """Use the credentials of the environment. Raises ObjectStoreDenied if they are incomplete."""
        self.url = url
        allow = os.environ.get(_ALLOW_HTTP[url.partition(":")[0]], "").lower() in {"1", "true", "yes", "on"}
        options: Any = {**_CLIENT, "allow_http": allow}
        retries: Any = _RETRIES
        self._store: Any = _client(url, lambda: from_url(url, client_options=options, retry_config=retries))

    def put(self, key: str, source: Source) -> None:
        """Put an object whole, over any other of that key. Raises what the source raises."""
        check_key(key)
        self._changed(key, lambda: self._send(key, source))
        if (found := self.size_of(key)) != source.size:
            raise ObjectStoreError(f"{self._place(key)}: the shared store has {found} of {source.size} bytes")

    def create(self, key: str, data: bytes) -> bool:
        """Put an object whole if the key is absent; return whether it was.

        False also for one of ours whose reply was lost: compare the bytes.
        """
        check_key(key)
        return self._changed(key, lambda: self._created(key, data))

    def get(self, key: str, start: int, length: int | None) -> bytes:
        """Return at most `length` bytes (None: all) from `start`. Raises ObjectMissing."""
        check_key(key)
        return self._told(key, lambda: self._read(key, start, length))

    def open(self, key: str, start: int, length: int | None, piece_bytes: int = PIECE_BYTES) -> BucketBody:
        """Return the same bytes as a body in pieces of about `piece_bytes`. Raises ObjectMissing."""
        check_key(key)
        reply = self._told(key, lambda: self._reply(key, start, length))
        return BucketBody(iter(reply.stream(piece_bytes)) if reply is not None else iter(()), self._place(key))

    def size_of(self, key: str) -> int | None:
        """Return the bytes of an object, None if it is absent."""
        check_key(key)
        try:
            return self._told(key, lambda: int(obstore.head(self._store, key)["size"]))
        except ObjectMissing:
            return None

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, of which some may be absent."""
        for key in keys:
            check_key(key)
        try:
            self._told("", lambda: obstore.delete(self._store, list(keys)))
        except ObjectMissing:
            # Some stores stop at an absent one.
            for key in keys:
                with contextlib.suppress(ObjectMissing):
                    self._told(key, functools.partial(obstore.delete, self._store, key))

    def copy(self, source: str, target: str) -> None:
        """Put the bytes of one object under another key. Raises ObjectMissing."""
        check_key(source)
        check_key(target)
        self._told(source, lambda: obstore.copy(self._store, source, target))

    def pages(self, prefix: str, after: str) -> Iterator[list[ObjectEntry]]:
        """Return the objects below the folder `prefix` whose keys are greater than `after`, by ascending key."""
        found = self._changed(
            prefix,
            lambda: obstore.list(self._store, prefix or None, offset=after or None, chunk_size=PAGE_ENTRIES),
        )
        while page := self._changed(prefix, lambda: next(found, None)):
            yield [_entry(meta) for meta in page]

    def _send(self, key: str, source: Source) -> None:
        if source.size <= PART_BYTES:
            obstore.put(self._store, key, b"".join(source), use_multipart=False)
        else:
            parts: Any = {"use_multipart": True, "chunk_size": PART_BYTES, "max_concurrency": _PARTS_AT_ONCE}
            obstore.put(self._store, key, iter(source), **parts)

    def _created(self, key: str, data: bytes) -> bool:
        for tries_left in reversed(range(_TRIES)):
            try:
                obstore.put(self._store, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            except BaseError as error:
                if status_of(error) != _CONFLICT or not tries_left:
                    raise
            else:
                return True
        return False

    def _read(self, key: str, start: int, length: int | None) -> bytes:
        reply = self._reply(key, start, length)
        return b"" if reply is None else bytes(reply.bytes())

    def _reply(self, key: str, start: int, length: int | None) -> obstore.GetResult | None:
        """Return the reply with the bytes of a range; None for a range that has none."""
        if length == 0:
            obstore.head(self._store, key)
            return None
        options: Any = {} if length is None and not start else {"range": {"offset": start}}
        if length is not None:
            options = {"range": (start, start + length)}
        try:
            return obstore.get(self._store, key, options=options)
        except BaseError as error:
            if status_of(error) == _PAST_THE_END:
                return None
            raise

    def _changed(self, key: str, call: Callable[[], _T]) -> _T:
        """Do what needs a bucket alone, and no object: so what is absent is the bucket."""
        try:
            return self._told(key, call)
        except ObjectMissing:
            raise no_bucket(self.url) from None

    def _told(self, key: str, call: Callable[[], _T]) -> _T:
        return _told(self._place(key), call)

    def _place(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url


class BucketBody:
    """The bytes of one reply, read by one thread at a time."""

    def __init__(self, pieces: Iterator[Any], place: str) -> None:
        self._pieces = pieces
        self._place = place

    def next(self) -> bytes | None:
        """Return the next piece, None at the end. Raises ObjectStoreError."""
        piece = _told(self._place, lambda: next(self._pieces, None))
        return None if piece is None else bytes(piece)

    def close(self) -> None:
        """Let go of the connection."""
        self._pieces = iter(())


def _entry(meta: obstore.ObjectMeta) -> ObjectEntry:
    modified = meta["last_modified"] - _EPOCH
    return ObjectEntry(meta["path"], meta["size"], modified // timedelta(microseconds=1) * 1000)


def _client(url: str, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except _FAILURES:
        # The library's text may quote a variable.
        failure = ObjectStoreDenied(
            f"{url}: the variables of the shared store's cloud are incomplete or wrong, such as AWS_ACCESS_KEY_ID"
        )
    raise failure


def _told(place: str, call: Callable[[], _T]) -> _T:
    """Call the library. Raises ObjectStoreError for its failures, and what else the call itself raises."""
    try:
        return call()
    except _FAILURES as error:
        failure = of_library(error, place)
    except BaseException as error:
        # A fault of the library, which no `except Exception` takes.
        if type(error).__name__ != "PanicException":
            raise
        failure = of_library(error, place)
    # Outside of the handlers: the library's text, which may quote a signed address, is in no traceback.
    raise failure
