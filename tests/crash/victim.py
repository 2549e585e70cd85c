"""The processes that are killed, and those that come after them.

    python -m tests.crash.victim

reads one `Job` a line, forks a process for each, which runs a mount's parts on a state folder as `remotefs mount` does,
and answers with a line when that process is gone. The fork is what makes hundreds of them affordable: nothing is
imported twice. No thread runs and no database is open in this process itself.

A process kills itself by SIGKILL in a handler of the logger `remotefs.crashpoints`, in whatever thread the step was reached.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio
import trio.testing

from remotefs.api.budget import Priority
from remotefs.config import Config
from tests.crash import load
from tests.crash.operations import Arm, Scene
from tests.crash.report import Report, look
from tests.crash.scenarios import SCENARIOS
from tests.faults import Script
from tests.parts import CALM_S, Host, running

# A process that does not end by itself is a failure, and must not hold up the others.
PATIENCE_S = 60


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a process does, and where it ends.

    `folder` holds `state/`; `acks`, `steps`, `report` and `log` are written there.
    """

    folder: str
    url: str
    # Where the state is, when it is not in `folder`.
    state: str = "state"
    # A scenario's name; None: recover only, bring everything to the service and write the report.
    scenario: str | None = None
    # The seed of a load of writers, which goes on until the process is killed.
    load: int | None = None
    # Kill at the nth time that this step is reached; at the nth of all steps where it is None.
    step: str | None = None
    nth: int = 0
    # Kill after so many seconds, wherever it is.
    after_s: float = 0.0
    # Write down what is reached.
    traced: bool = False


class End(msgspec.Struct, frozen=True):
    """How a process ended: its wait status."""

    status: int

    @property
    def was_killed(self) -> bool:
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL

    @property
    def was_fine(self) -> bool:
        return self.status == 0


class Executioner(logging.Handler):
    """Counts steps once it is armed, and ends the process at the one that was asked for."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job
        self._counts: Counter[str] = Counter()
        self._trace = open(Path(job.folder, "steps"), "w") if job.traced else None  # noqa: SIM115 - until the end
        self.is_armed = job.scenario is None

    def emit(self, record: logging.LogRecord) -> None:
        if not self.is_armed:
            return
        step = str(record.args[0]) if isinstance(record.args, tuple) else ""
        self._counts[step] += 1
        if self._trace is not None:
            self._trace.write(f"{step}\n")
            self._trace.flush()
        count = self._counts.total() if self._job.step is None else self._counts[step]
        if self._job.nth and self._job.step in (None, step) and count == self._job.nth:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    for line in sys.stdin.buffer:
        job = msgspec.json.decode(line, type=Job)
        child = os.fork()
        if child == 0:
            _be_the_victim(job)
        _kill_after(child, job.after_s)
        _, status = os.waitpid(child, 0)
        _kill_after(child, 0)
        sys.stdout.buffer.write(msgspec.json.encode(End(status)) + b"\n")
        sys.stdout.buffer.flush()


def _kill_after(child: int, seconds: float) -> None:
    """0: not any more. The child is not waited for yet, so its number is its own."""
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _be_the_victim(job: Job) -> None:
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_S)
        log = os.open(Path(job.folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        logging.basicConfig(level=logging.INFO, force=True, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)
        executioner = Executioner(job)
        steps = logging.getLogger("remotefs.crashpoints")
        steps.setLevel(logging.DEBUG)
        steps.propagate = False
        steps.addHandler(executioner)
        trio.run(_run, job, executioner, clock=trio.testing.MockClock(autojump_threshold=CALM_S))
        status = 0
    except BaseException:  # noqa: BLE001 - this process ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


async def _run(job: Job, executioner: Executioner) -> None:
    if job.scenario is not None:
        await _act(job, executioner)
    elif job.load is not None:
        async with _mount(job, "local") as host:
            found = await look(host)
            _publish(job, found)
            await load.run(host, Path(job.folder), job.load, found)
    else:
        await _survive(job)


async def _act(job: Job, executioner: Executioner) -> None:
    scenario = SCENARIOS[job.scenario or ""]
    acks = os.open(Path(job.folder, "acks"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if scenario.operations[0] == Arm():
        # What a first mount does belongs to it.
        executioner.is_armed = True
    async with _mount(job, scenario.durability) as host:
        scene = Scene(host, job.url)
        for operation in scenario.operations:
            os.write(acks, b"b")
            await operation.do(scene)
            executioner.is_armed = executioner.is_armed or operation == Arm()
            os.write(acks, b"d")


async def _survive(job: Job) -> None:
    """What the next mount does, and what two listings and an empty journal leave."""
    async with _mount(job, "remote") as host:
        await host.settled()
        await host.walk()
        await host.walk()
        await host.settled()
        # What is confirmed is settled, and what was given up is removed, by tasks that nobody waits for.
        for _ in range(5):
            await host.parts.database.durable()
            await trio.testing.wait_all_tasks_blocked(CALM_S * 0.8)
        _publish(job, await look(host))


def _publish(job: Job, report: Report) -> None:
    """Whole or not at all."""
    new = Path(job.folder, "report.new")
    new.write_bytes(msgspec.json.encode(report))
    new.replace(Path(job.folder, "report"))


@asynccontextmanager
async def _mount(job: Job, durability: str) -> AsyncIterator[Host]:
    async with running(
        Path(job.folder),
        _Service(job.url),
        state=job.state,
        working=False,
        change=_believing_at_once,
        durability=durability,
    ) as host:
        await _greet(host)
        await host.start_working(greeting=False)
        yield host


async def _greet(host: Host) -> None:
    """List where nothing is known yet, as a mount does; of a scenario it is an operation of its own."""
    client = host.parts.client
    await host.parts.connectivity.watch(lambda: client.list_page(None, priority=Priority.FIRST_LISTING, limit=1))


def _believing_at_once(config: Config) -> Config:
    return msgspec.structs.replace(config, refresh=msgspec.structs.replace(config.refresh, removal_min_age_s=0.0))


class _Service:
    """What of a server is known in another process: not when it is at work."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.script = Script()


__all__ = ["End", "Job", "Report"]

if __name__ == "__main__":
    main()
