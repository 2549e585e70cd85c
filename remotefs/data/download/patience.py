"""How long a reader waits for a service that sends nothing (R7).

A file browser freezes while it waits in read(2), and a process that reads past the page cache cannot even be killed. So
a reader waits `silence_s` without a byte. The next read of the same bytes does not wait at all: most likely it comes
from the kernel, which asks twice. The request goes on, and its bytes are here for the next try. A request that has not
gone out yet, because of the request limit or because too many downloads run, says nothing about the service; a reader
waits `TURN_S` for it.

A service may hang with contents only, and go on to list. A file browser that looks into each file of a folder would
then be frozen for `silence_s` times their number. So each file that was waited for in vain cuts the waits for other
files to a quarter, until a byte of any file comes.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import trio

from remotefs.api.budget import Priority, Ticket
from remotefs.api.connectivity import Connectivity
from remotefs.data.download.fetch import Fetch
from remotefs.data.download.read_request import ReadRequest
from remotefs.errors import DeadlineExceeded, NotAsked, SilentService, Unreachable
from remotefs.waits import listening, waiting_for

T = TypeVar("T")

# The longest that a reader waits for its request to go out (A1).
TURN_S = 60.0
# How much shorter the wait is after each file that was waited for in vain, and the shortest wait.
_SHORTER = 4
_SHORTEST_S = 0.1
# After this time a wait in vain says nothing about the service any more.
_REMEMBERED_S = 60.0


class Question(Ticket):
    """A request that ends when nothing comes for `silence_s`, or when it is held back here for `TURN_S`."""

    __slots__ = ("_silence_s", "scope", "was_held")

    def __init__(self, silence_s: float) -> None:
        super().__init__(Priority.INTERACTIVE_READ)
        self._silence_s = silence_s
        self.scope = trio.CancelScope()
        # Whether it is held back on this side, or was when it ended.
        self.was_held = False
        self.heard()

    def heard(self) -> None:
        """Note progress: a byte came, or the request went out."""
        self.fresh_at = trio.current_time()
        self.scope.deadline = self.fresh_at + self._silence_s

    @contextmanager
    def waiting(self, clock: Callable[[], float] = trio.current_time) -> Iterator[None]:
        """See Ticket."""
        self.scope.deadline, self.was_held = trio.current_time() + TURN_S, True
        with super().waiting(clock):
            yield
        self.was_held = False
        self.heard()


class Patience:
    """Ends waits with DeadlineExceeded, and reports to `connectivity` if nothing at all was heard meanwhile.

    `is_elsewhere` says of an id whether another source brings it, so that it says nothing about the service.
    """

    def __init__(
        self,
        silence_s: float = math.inf,
        connectivity: Connectivity | None = None,
        is_elsewhere: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._silence_s = silence_s
        self._is_elsewhere = is_elsewhere
        self._connectivity = connectivity or Connectivity()
        # By file id, when a reader last waited for it in vain (trio's time).
        self._in_vain: dict[str, float] = {}

    @property
    def is_lost(self) -> bool:
        """Return whether the service is out of reach, so that no request is worth sending."""
        return self._connectivity.lost is not None

    @property
    def times_lost(self) -> int:
        """Return how many times the service has got out of reach so far."""
        return self._connectivity.times_lost

    async def changed(self) -> None:
        """Return when the service may have got out of reach, or back."""
        await self._connectivity.changed()

    def check(self, fetch: Fetch, request: ReadRequest) -> None:
        """Raise NotAsked or SilentService if other readers have found that waiting is in vain."""
        lost = self._connectivity.lost
        if lost is not None and self._is_elsewhere(fetch.file_id):
            lost = None
        if isinstance(lost, Unreachable):
            raise NotAsked(f"{fetch.file_id}: the service is out of reach: {lost}")
        if lost is not None:
            raise SilentService(f"{fetch.file_id}: the service is out of reach: {lost}")
        if request.is_urgent and fetch.is_given_up(request):
            raise SilentService(f"{fetch.file_id}: the service still sends nothing")

    @asynccontextmanager
    async def turn(self, limit: trio.CapacityLimiter) -> AsyncIterator[None]:
        """Wait for a place among the reads that may wait for the network. Raises DeadlineExceeded."""
        with waiting_for("turn"), trio.move_on_after(TURN_S) as waiting:
            await limit.acquire()
        if waiting.cancelled_caught:
            raise DeadlineExceeded(f"{limit.borrowed_tokens} other reads have waited for the network for {TURN_S:g} s")
        try:
            yield
        finally:
            limit.release()

    async def ask(self, subject: str, request: Callable[[Question], Awaitable[T]]) -> T:
        """Return the result of a request that ends when its caller stops waiting: no other reader can use it.

        Raises DeadlineExceeded, and the errors of the request.
        """
        question = Question(self._silence_s)
        with question.scope, noting_wait(lambda: [question]):
            return await request(question)
        raise _held(subject) if question.was_held else self._silent(subject, question.fresh_at)

    def begin_wait(self, fetch: Fetch, request: ReadRequest, *, heard_at: float = -math.inf) -> ReadWait:
        """Return the wait of a reader that begins now; `heard_at` is when a byte of any file last came."""
        silence_s = self._silence_s if request.is_urgent else math.inf
        first_s = max(silence_s / _SHORTER ** self._others_in_vain(fetch.file_id, heard_at), _SHORTEST_S)
        return ReadWait(fetch, request, silence_s, min(silence_s, first_s), self._silent)

    def _others_in_vain(self, file_id: str, heard_at: float) -> int:
        """Return for how many other files readers have waited in vain since a byte of any file came."""
        since = max(heard_at, trio.current_time() - _REMEMBERED_S)
        self._in_vain = {other: at for other, at in self._in_vain.items() if at > since}
        return len(self._in_vain.keys() - {file_id})

    def _silent(self, subject: str, since: float) -> DeadlineExceeded:
        now, is_elsewhere = trio.current_time(), self._is_elsewhere(subject)
        source = "the shared store" if is_elsewhere else "the service"
        error = DeadlineExceeded(f"{subject}: {source} has sent nothing for {round(now - since, 1):g} s")
        if not is_elsewhere:
            # A wait that was cut short is no proof that the service is gone.
            self._connectivity.unheard(error, since=min(since, now - self._silence_s))
        self._in_vain[subject] = now
        if self.is_lost:
            # Nobody waits from now on, and once the service is back everybody waits as usual.
            self._in_vain.clear()
        return error


class ReadWait:
    """The wait of one reader. At `check_at` (trio's time) its owner calls `check`, which ends a vain wait."""

    def __init__(
        self,
        fetch: Fetch,
        request: ReadRequest,
        silence_s: float,
        first_s: float,
        silent: Callable[[str, float], DeadlineExceeded],
    ) -> None:
        self._fetch = fetch
        self._request = request
        self._silence_s = silence_s
        self._first_s = first_s
        self._silent = silent
        self._began = trio.current_time()
        self.check_at = self._began + first_s

    def check(self) -> None:
        """Return to go on waiting until the next `check_at`. Raises DeadlineExceeded, or the failure of the request."""
        now, fresh_at = trio.current_time(), max(self._began, self._fetch.fresh_at(self._request))
        is_held = self._fetch.is_held(self._request)
        silence_s = self._silence_s if self._fetch.was_heard_since(self._began) else self._first_s
        due = fresh_at + (TURN_S if is_held else silence_s)
        if self._request.has_news:
            self._request.take_news()  # it came at the same moment
        elif now < due:
            # Check again before that: if the request goes out meanwhile, the shorter limit applies to it.
            self.check_at = min(due, now + silence_s)
        else:
            self._give_up(now, fresh_at, is_held=is_held)

    def _give_up(self, now: float, fresh_at: float, *, is_held: bool) -> None:
        if is_held:
            raise _held(self._fetch.file_id)
        self._fetch.give_up(self._request, now)
        raise self._silent(self._fetch.file_id, fresh_at)


@contextmanager
def noting_wait(tickets: Callable[[], Sequence[Ticket]]) -> Iterator[None]:
    """Note that the block waits for what these tickets bring: for their turn as long as they are held back here."""
    waits = listening()
    if waits is None:
        yield
        return
    began = trio.current_time()
    held = [(ticket, ticket.held_s(began)) for ticket in tickets()]
    try:
        yield
    finally:
        now = trio.current_time()
        turn_s = max((ticket.held_s(now) - before for ticket, before in held), default=0.0)
        waits.add("turn", turn_s)
        waits.add("service", now - began - turn_s)


def _held(subject: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"{subject}: its request has waited {TURN_S:g} s for its turn; see the request limit")
