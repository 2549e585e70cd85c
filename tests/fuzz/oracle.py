"""What must be so after any trouble: the ledger of what a user may rely on, and the judgement of a mount.

    ledger = Ledger()
    theirs = ledger.others_file(server.store.add_generated("theirs.txt", b"theirs"), b"theirs")
    with watched() as log:
        ...                                  # the life of a mount, and its trouble; `ledger` is told of each call
        await recovered(host)                # the trouble is over
        assert await complaints(host, ledger, log) == []

A complaint is a sentence for people. None means: nothing acknowledged is lost, nothing was deleted that nobody gave up,
the mount lives, no task spins, and `check` finds nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from remotefs.errors import NotFound, RemotefsError
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.server.records import FileRecord
from remotefs.store.records import ContentState
from tests.parts import Host

T = TypeVar("T")

# The virtual time in which a mount that has nothing to do is watched, and what it may cost then: a poll each 6 s while
# in use, walks, one probe now and then.
QUIET_S = 600.0
MOST_REQUESTS = 120
MOST_STEPS = 15_000
# A file that became known only now is not missed yet, for so many seconds.
_KNOWN_S = 40.0
# What an error in the log means that nobody wrote for people.
_UNFORESEEN = ("nobody foresaw", "internal error", "Traceback")


@dataclass(frozen=True)
class Theirs:
    """A file of others."""

    filename: str
    data: bytes
    downloadable: bool


@dataclass
class Ledger:
    """What a user may rely on, by what the calls returned.

    A path may have several contents after a call that failed: it did its work, or did not.
    """

    # By path; None among them: it may be gone.
    promised: dict[str, set[bytes | None]] = field(default_factory=dict)
    # By id.
    others: dict[str, Theirs] = field(default_factory=dict)
    # Ids of others that the user unlinked or replaced here: these alone may be deleted.
    given_up: set[str] = field(default_factory=set)
    # Paths whose bytes stay on this machine (N6), or that the service refuses for good.
    stay_here: set[str] = field(default_factory=set)

    def wrote(self, path: str, data: bytes) -> None:
        """A close of the file returned: it has that content."""
        self.promised[path] = {data}

    def may_have_written(self, path: str, data: bytes) -> None:
        """An open with O_TRUNC, a write or a close failed: the file has that content, the one before, or a part."""
        before = self.promised.get(path, {None})
        self.promised[path] = before | {data, b""}

    def removed(self, path: str) -> None:
        """The unlink returned."""
        self.promised.pop(path, None)

    def may_have_removed(self, path: str) -> None:
        """The unlink failed."""
        if path in self.promised:
            self.promised[path] |= {None}

    def renamed(self, old: str, new: str) -> None:
        """The rename returned."""
        self.promised[new] = self.promised.pop(old)

    def may_have_renamed(self, old: str, new: str) -> None:
        """The rename failed."""
        moved = self.promised[old]
        self.promised[new] = self.promised.get(new, {None}) | moved
        self.promised[old] = moved | {None}

    def others_file(self, record: FileRecord, data: bytes) -> FileRecord:
        """Others have put a file there."""
        self.others[record.id] = Theirs(record.filename, data, record.downloadable)
        return record

    def others_deleted(self, file_id: str) -> None:
        """Others have deleted a file of theirs."""
        self.others.pop(file_id, None)

    def give_up(self, file_id: str | None) -> None:
        """The user is about to unlink or to replace the file that is bound to this id; before the call."""
        if file_id is not None:
            self.given_up.add(file_id)


class Log(logging.Handler):
    """The records of a mount's log from WARNING on, while `watched` is open."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("remotefs.server"):
            self.records.append(record)

    def unforeseen(self) -> list[str]:
        """Return what nobody foresaw: tracebacks, and messages that say so."""
        plain = logging.Formatter()
        told = [(record, plain.format(record)) for record in self.records]
        return [text for record, text in told if record.exc_info or any(word in text for word in _UNFORESEEN)]


@contextmanager
def watched() -> Iterator[Log]:
    """Collect what the mount logs."""
    log, root = Log(), logging.getLogger("remotefs")
    root.addHandler(log)
    try:
        yield log
    finally:
        root.removeHandler(log)


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks; beyond `most` it cancels `scope`, because a task that spins never lets time pass."""

    def __init__(self, most: int, scope: trio.CancelScope) -> None:
        self.count = 0
        self.by_task: dict[str, int] = {}
        self._most = most
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        self.by_task[task.name] = self.by_task.get(task.name, 0) + 1
        if self.count > self._most:
            self._scope.cancel()

    def busiest(self) -> str:
        """Return the tasks that took most of the steps."""
        most = sorted(self.by_task.items(), key=lambda pair: -pair[1])[:4]
        return ", ".join(f"{name.rpartition('.')[2]} {count}" for name, count in most)


@contextmanager
def counted(most: int) -> Iterator[Steps]:
    """Count the steps of all tasks, and end the block when there are more than `most`."""
    with trio.CancelScope() as scope:
        steps = Steps(most, scope)
        trio.lowlevel.add_instrument(steps)
        try:
            yield steps
        finally:
            trio.lowlevel.remove_instrument(steps)


# -- the end of the trouble


async def recovered(host: Host, *, walks: int = 2) -> None:
    """Let an honest service, or a healthy disk, bring everything in order; what waits for a person is done.

    Raises AssertionError when the journal does not become empty.
    """
    await host.until(lambda: host.parts.connectivity.is_up, tries=300)
    # A reply may have asked for a pause.
    await trio.sleep(host.parts.budget.statistics().paused_s)
    await host.parts.drainer.retry(None)
    await host.settled()
    for _ in range(walks):
        await host.walk()
        await trio.sleep(_KNOWN_S)
    if (facts := host.parts.meta.facts).removals_held or facts.expiries_held:
        await host.parts.refresh.accept_removals()
    await host.settled()


# -- the judgement


async def complaints(
    host: Host, ledger: Ledger, log: Log, *, service: bool = True, anywhere: bool = False
) -> list[str]:
    """Return what is not as it has to be; `service` asks it too.

    `anywhere`: an answer said that a file is gone, or another has its name. Its bytes may be under another path then, or
    in the trash (S2, N3).
    """
    found = [*await lost(host, ledger, anywhere=anywhere), *destroyed(host, ledger), *await hidden(host, ledger)]
    found += [*await untrue(host, service=service), *await stuck(host), *await restless(host)]
    return found + ended(log)


async def lost(host: Host, ledger: Ledger, *, anywhere: bool = False) -> list[str]:
    """Bytes that were acknowledged and are not there: in the mount, and at the service."""
    found = []
    elsewhere = await _all_bytes(host) if anywhere else set()
    for path, contents in ledger.promised.items():
        data = await _read(host, path)
        if elsewhere & contents:
            continue
        if isinstance(data, Exception):
            if None not in contents:
                found.append(f"lost: {path} cannot be read: {data!r}")
        elif data not in contents:
            found.append(f"lost: {path} has {_short(data)}, not {' or '.join(map(_short, contents))}")
        elif path not in ledger.stay_here and data and (complaint := _unsent(host, path, data)):
            found.append(complaint)
    return found


async def _all_bytes(host: Host) -> set[bytes | None]:
    """Return the contents of all files that can be read, and of the trash."""
    contents = [await _read(host, path) for path in _paths(host)]
    trash = host.parts.trash
    contents += [trash.bytes_of(entry.number).read_bytes() for entry in trash.entries()]
    return {data for data in contents if isinstance(data, bytes)}


def _unsent(host: Host, path: str, data: bytes) -> str | None:
    inode = host.stat(path)
    if inode.state != ContentState.CLEAN:
        return f"lost: {path} is not sent: state {inode.state}, intent {host.intent(path)}"
    if inode.file_id not in host.remote_ids():
        return f"lost: {path} is bound to {inode.file_id}, which the service does not have"
    blob = host.state_dir.with_name("server") / "files" / inode.file_id
    stored = blob.read_bytes()
    return None if stored == data else f"lost: the service has {_short(stored)} of {path}, not {_short(data)}"


def destroyed(host: Host, ledger: Ledger) -> list[str]:
    """Files of others that nobody gave up and that the service does not have any more."""
    kept = host.remote_ids()
    found = [
        f"destroyed: {theirs.filename} ({file_id}) of others is deleted, and nobody gave it up"
        for file_id, theirs in ledger.others.items()
        if file_id not in kept | ledger.given_up
    ]
    asked = [request.path.rpartition("/")[2] for request in host.server.script.requests("delete")]
    wrongly = [file_id for file_id in asked if file_id in ledger.others and file_id not in ledger.given_up]
    return found + [f"destroyed: a DELETE of {file_id} of others was sent" for file_id in dict.fromkeys(wrongly)]


async def hidden(host: Host, ledger: Ledger) -> list[str]:
    """Files of others that the service has and the mount does not show, or shows with other bytes."""
    found = []
    for file_id, theirs in ledger.others.items():
        if file_id in ledger.given_up or file_id not in host.remote_ids():
            continue
        holders = list(host.parts.tree.holders(file_id))
        paths = [path for path in _paths(host) if host.stat(path).file_id == file_id]
        if not holders or not paths:
            found.append(f"hidden: {theirs.filename} ({file_id}) of others is not shown")
        elif theirs.downloadable:
            data = await _read_again(host, file_id, theirs.data)
            if data != theirs.data:
                what = repr(data) if isinstance(data, Exception) else _short(data)
                found.append(f"hidden: {paths[0]} of others reads as {what}, not {_short(theirs.data)}")
    return found


def ended(log: Log) -> list[str]:
    """Tasks that failed in a way that nobody foresaw, and tracebacks in the log."""
    return [f"broken: {text}" for text in log.unforeseen()]


async def stuck(host: Host, name: str = "probe-of-life") -> list[str]:
    """Later operations that do not work; `name` is of no other file."""
    probe, other = f"{name}.txt", f"{name}-2.txt"
    try:
        with trio.fail_after(600.0):
            await host.write(probe, b"alive")
            host.rename(probe, other)
            assert await host.read(other) == b"alive"
            await host.settled()
            assert host.remote_bytes(other) or host.remote_bytes(probe), "it did not get to the service"
            host.unlink(other)
            await host.settled()
            assert not host.remote_bytes(other), "it was not deleted"
    except (Exception, trio.TooSlowError) as error:  # noqa: BLE001 - whatever it is, it is told
        return [f"stuck: a new file cannot live: {error!r}"]
    return []


async def untrue(host: Host, *, service: bool) -> list[str]:
    """What `check` finds though all is well."""
    found = await check_state(host.parts, Scope(working=True, service=service))
    return [f"check: {finding.kind}: {finding.path}: {finding.what}" for finding in found]


async def restless(host: Host, mounts: int = 1, quiet_s: float = QUIET_S) -> list[str]:
    """What a mount that has nothing to do for so many seconds does all the same, or so many mounts of one service."""
    before, part = host.server.script.count(), mounts * quiet_s / QUIET_S
    with counted(int(MOST_STEPS * part)) as steps:
        await trio.sleep(quiet_s)
    requests = host.server.script.requests()[before:]
    found = []
    if steps.count > MOST_STEPS * part:
        found.append(f"spins: {steps.count} steps in {quiet_s:.0f} s of quiet: {steps.busiest()}")
    if len(requests) > MOST_REQUESTS * part:
        found.append(f"spins: {len(requests)} requests in {quiet_s:.0f} s of quiet")
    if changes := [f"{r.op} {r.path}" for r in requests if r.op in {"upload", "delete"}]:
        found.append(f"spins: {len(changes)} changes are sent in quiet: {changes[:3]}")
    return found


async def tried(call: Callable[[], Awaitable[T] | T]) -> T | Exception:
    """Make a call that may fail in a way that a program has to expect; return its error."""
    try:
        result = call()
        return await result if isinstance(result, Awaitable) else result
    except (RemotefsError, OSError) as error:
        return error


async def _read(host: Host, path: str) -> bytes | Exception:
    try:
        return await host.read(path)
    except (RemotefsError, OSError, AssertionError) as error:
        return error


async def _read_again(host: Host, file_id: str, wanted: bytes) -> bytes | Exception:
    """Read a file as a program that tries again: a wrong length gives it another inode, silence takes a while (R6, R7)."""
    data: bytes | Exception = NotFound(f"{file_id} is not shown")
    for _ in range(4):
        for path in [path for path in _paths(host) if host.stat(path).file_id == file_id][:1]:
            data = await _read(host, path)
        if data == wanted:
            break
        await trio.sleep(20.0)
    return data


def _paths(host: Host, folder: str = "") -> list[str]:
    found = []
    for name in host.ls(folder):
        path = os.path.join(folder, name)
        found += _paths(host, path) if host.stat(path).is_dir else [path]
    return found


def _short(data: bytes | None) -> str:
    if data is None:
        return "nothing"
    return repr(data) if len(data) <= 24 else f"{data[:16]!r}… of {len(data)} bytes"
