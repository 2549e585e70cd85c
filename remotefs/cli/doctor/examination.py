"""The whole examination: all checks in order, each finding as it comes, each check within its own bounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from remotefs.cli.choose_mount import finders_of
from remotefs.cli.doctor import machine, network, running, settings_check, state_folder
from remotefs.cli.doctor.findings import Finding, ok, problem
from remotefs.cli.doctor.network import NetworkFacts
from remotefs.cli.launch.state_dirs import data_dir
from remotefs.config import CacheConfig, Config
from remotefs.control.all_mounts import ask_all
from remotefs.control.apart import ask_all_apart
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.status import STATUS, Status
from remotefs.control.mounts import read_mounts
from remotefs.credentials import has_key
from remotefs.errors import DeadlineExceeded, LocalError, RemotefsError, UsageError

# A mount that lives answers at once, unless the machine is very busy.
MOUNTS_S = 5.0
# State folders that are looked at, the first by name.
_FOLDERS = 16


@dataclass
class Examination:
    """What is examined, and what was learned on the way."""

    mountpoint: Path | None = None
    state_dir: Path | None = None
    config_file: Path | None = None
    profile: str | None = None
    offline: bool = False
    config: Config | None = None
    answers: dict[Path, Status | RemotefsError] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        """Yield each finding as it comes. A check that breaks is a finding itself."""
        for check in (self._machine, self._settings, self._mounts, self._folders_of_state, self._network):
            yield from _guarded(check)

    def _machine(self) -> Iterator[Finding]:
        yield from machine.judge(machine.look(sum(entry.is_fuse for entry in read_mounts())))

    def _settings(self) -> Iterator[Finding]:
        facts = settings_check.look(os.environ, self.config_file, self.profile)
        self.config = facts.config
        yield from settings_check.judge(facts)

    def _mounts(self) -> Iterator[Finding]:
        try:
            finders = finders_of([self.mountpoint] if self.mountpoint is not None else None)
        except UsageError:
            yield ok("mount", "nothing is mounted")
            return
        for path, answer in ask_all(finders, STATUS, lambda _: Nothing(), timeout_s=MOUNTS_S):
            self.answers[path] = answer
            yield from running.judge(path, answer)

    def _folders_of_state(self) -> Iterator[Finding]:
        cache = self.config.cache if self.config else CacheConfig()
        self.folders = list(dict.fromkeys(self._state_folders()))[:_FOLDERS]
        if not self.folders:
            yield from state_folder.judge(state_folder.look(data_dir() / "accounts", cache))
        for folder in self.folders:
            yield from state_folder.judge(state_folder.look(folder, cache))

    def _state_folders(self) -> Iterator[Path]:
        if self.state_dir is not None:
            yield self.state_dir.absolute()
        for answer in self.answers.values():
            if isinstance(answer, Status):
                yield Path(answer.state_dir)
        if self.state_dir is None and self.mountpoint is None:
            accounts = data_dir() / "accounts"
            yield from sorted(accounts.iterdir()) if accounts.is_dir() else ()

    def _network(self) -> Iterator[Finding]:
        if self.offline:
            yield ok("network", "not looked at (--offline)")
            return
        if self.config is None:
            return
        url = self._asked_mount.base_url if self._asked_mount else self.config.service.base_url
        questions: dict[str, Callable[[], NetworkFacts]] = {
            "connection": partial(network.way_to, url, settings_check.proxy_for(url))
        }
        if self._asked_mount:
            yield ok("request", "not sent: the mount tells whether it is online")
        elif asked := self._mount_of_service(self.config):
            yield ok("request", f"not sent: the mount at {asked} is online")
        elif not has_key(self.config.service):
            yield ok("request", "not sent: there is no key")
        else:
            questions["request"] = partial(network.ask, self.config)
        yield from _ask_network(questions)

    @property
    def _asked_mount(self) -> Status | None:
        """Return the state of the mount that the examination is about, where it is about one."""
        answer = self.answers.get(self.mountpoint) if self.mountpoint is not None else None
        return answer if isinstance(answer, Status) else None

    def _mount_of_service(self, config: Config) -> Path | None:
        """Return a mount that is online at the same service: it knows what a request would tell."""
        url = config.service.base_url.rstrip("/")
        for path, answer in self.answers.items():
            if isinstance(answer, Status) and answer.online and answer.base_url.rstrip("/") == url:
                return path
        return None


def _ask_network(questions: dict[str, Callable[[], NetworkFacts]]) -> Iterator[Finding]:
    """Ask all at once, each in a process of its own; yield what is to say of each as it comes."""
    names = list(questions)
    asked = [partial(_encoded, question) for question in questions.values()]
    for number, answer in ask_all_apart(asked, patience_s=network.PATIENCE_S + network.START_S):
        try:
            yield from network.judge(msgspec.json.decode(answer(), type=NetworkFacts))
        except DeadlineExceeded:
            yield network.late(names[number])
        except (LocalError, OSError) as error:
            yield problem("network", f"{names[number]}: {error}")


def _encoded(question: Callable[[], NetworkFacts]) -> bytes:
    return msgspec.json.encode(question())


def _guarded(check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - one check that breaks hides nothing of the others
        area = check.__name__.strip("_").split("_")[0]
        advice = "please report it; the other lines are not concerned"
        yield problem(area, f"this check itself failed: {type(error).__name__}: {error}", advice)
