"""The tasks that carry intents out, one for each; no intent has two at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType

import trio

from remotefs.data.writeback.agenda import Agenda
from remotefs.data.writeback.deleter import RemoteDeleter
from remotefs.data.writeback.failures import Failures
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.uploader import Uploader
from remotefs.data.writeback.waiters import Waiters
from remotefs.errors import RemotefsError
from remotefs.store.records import Intent, IntentKind
from remotefs.supervision import Supervisor


class Workers:
    """Starts a task for an intent, and sees to what follows from its end."""

    def __init__(
        self,
        uploader: Uploader,
        deleter: RemoteDeleter,
        promoter: Promoter,
        agenda: Agenda,
        failures: Failures,
        waiters: Waiters,
        supervisor: Supervisor,
    ) -> None:
        self._uploader = uploader
        self._deleter = deleter
        self._promoter = promoter
        self._agenda = agenda
        self._failures = failures
        self._waiters = waiters
        self._supervisor = supervisor
        # Invariant: holds the seq of exactly the intents whose task runs.
        self._running: dict[int, Intent] = {}

    @property
    def running(self) -> Mapping[int, Intent]:
        """Return by number the intents whose task runs."""
        return MappingProxyType(self._running)

    @property
    def refused_count(self) -> int:
        """Return the number of files that the service refused."""
        return self._failures.refused_count

    def start_upload(self, nursery: trio.Nursery, intent: Intent) -> None:
        """Start the task of an UPLOAD or REUPLOAD."""
        ticket = self._waiters.begin(intent)
        self._start(nursery, intent, partial(self._uploader.carry_out, intent, ticket))

    def start_delete(self, nursery: trio.Nursery, intent: Intent) -> None:
        """Start the task of a DELETE."""
        self._start(nursery, intent, partial(self._deleter.carry_out, intent))

    def _start(self, nursery: trio.Nursery, intent: Intent, work: Callable[[], Awaitable[None]]) -> None:
        self._running[intent.seq] = intent
        self._agenda.begun(intent)
        nursery.start_soon(self._carry_out, intent, work)

    async def _carry_out(self, intent: Intent, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._failures.clear(intent)
        except (RemotefsError, OSError) as error:
            # Invariant: no await before this. Who waits for the upload sees the refusal together with its effect on the
            # connection.
            self._failures.put_off(intent, error)
            if intent.kind is not IntentKind.DELETE:
                # The disk that failed the upload may fail this, too.
                await self._supervisor.guard("keeping the sums of staged bytes", partial(self._uploader.failed, intent))
        except Exception as error:  # noqa: BLE001 - a mistake of ours with one file must not end the mount
            self._supervisor.note(f"{intent.kind} of {intent.file_id or intent.ino}", error)
            self._failures.put_off(intent, error)
        finally:
            del self._running[intent.seq]
            self._waiters.end(intent)
        if intent.ino is not None and intent.kind is not IntentKind.DELETE:
            self._promoter.request(intent.ino)
