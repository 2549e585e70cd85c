"""The bytes of an object that is put: pieces, their promised number, and why they ended too early."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from remotefs.errors import ObjectStoreError


class Source:
    """The pieces of one put. `failure` is what ended them, so that it gets out of the library that read them."""

    def __init__(
        self, name: str, pieces: Callable[[], Iterable[bytes]], size: int, before: Callable[[int, int], None]
    ) -> None:
        """Read `size` bytes from `pieces`. `name` is for messages.

        Before each piece `before`, which may wait or raise, is called with its bytes and those that went before.
        """
        self.size = size
        self.failure: BaseException | None = None
        self._name = name
        self._pieces = pieces
        self._before = before

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces. Raises ObjectStoreError if they are more or fewer bytes than were promised."""
        try:
            yield from self._counted()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    def _counted(self) -> Iterator[bytes]:
        read = 0
        for piece in self._pieces():
            self._before(len(piece), read)
            read += len(piece)
            if read > self.size:
                break
            yield piece
        if read != self.size:
            much = "more than" if read > self.size else f"{read} of"
            raise ObjectStoreError(f"{self._name}: the file has {much} the {self.size} bytes that were to be put")
