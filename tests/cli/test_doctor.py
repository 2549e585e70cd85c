"""`remotefs doctor`: what is told of each fact, and the whole of it on a machine with trouble."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from remotefs.cli.doctor import machine, network, running, settings_check, state_folder
from remotefs.cli.doctor.blot import Blotter
from remotefs.cli.doctor.findings import Finding, State
from remotefs.cli.doctor.machine import MachineFacts
from remotefs.cli.doctor.network import NetworkFacts, Reply, Step
from remotefs.cli.doctor.state_folder import FolderFacts
from remotefs.config import CacheConfig
from remotefs.control.messages.base import Leftover
from remotefs.control.messages.status import PendingKind, Status, TaskFailed
from remotefs.errors import LocalError
from remotefs.store.database import Database
from remotefs.store.glance import Glance
from tests.faults import KEY, faulty_server
from tests.mount.support import environment

GOOD = MachineFacts(release="6.1.0-13-amd64", helper_version="3.14.0", pyfuse3="3.4.0")
FINE = FolderFacts(path="/s", fstype="ext4", free=100 << 30, reserve=1 << 30, sync_s=0.003, database=Glance(form=5))


def troubles(findings: Any) -> list[tuple[str, str]]:
    """The state and the text of what is not in order; each has to say what to do."""
    found: list[Finding] = list(findings)
    assert all(one.advice for one in found if one.state is not State.OK)
    return [(one.state.value, f"{one.area}: {one.found} {one.advice}") for one in found if one.state is not State.OK]


def replaced(facts: Any, **changes: object) -> Any:
    return replace(facts, **changes) if is_dataclass(facts) else msgspec.structs.replace(facts, **changes)


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({"release": "4.19.0"}, "warning", "Linux 4.19.0"),
        ({"device_errno": errno.ENOENT}, "problem", "modprobe fuse"),
        ({"device_errno": errno.EPERM}, "problem", "--cap-add SYS_ADMIN"),
        ({"device_errno": errno.EACCES}, "problem", "chmod a+rw /dev/fuse"),
        ({"device_errno": errno.ENODEV}, "problem", "modprobe fuse"),
        ({"helper": None}, "problem", "install the package fuse3"),
        ({"helper_is_setuid": False}, "problem", "chmod u+s"),
        ({"mounts": 1000}, "problem", "mount_max"),
        ({"pyfuse3": None}, "problem", "all other commands work"),
        ({"libfuse": "no such file"}, "problem", "libfuse3-3"),
        ({"open_files": 100}, "problem", "ulimit -n"),
        ({"open_files": 300}, "warning", "LimitNOFILE"),
        ({"year": 1970}, "problem", "timedatectl"),
    ],
)
def test_what_is_told_of_a_machine(changes: dict[str, object], state: str, said: str) -> None:
    assert troubles(machine.judge(GOOD)) == []
    [(told, text)] = troubles(machine.judge(replaced(GOOD, **changes)))
    assert (told, said in text) == (state, True), text


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({"trouble": "its disk does not answer"}, "problem", "dmesg"),
        ({"is_ours": False}, "problem", "another user"),
        ({"mode": 0o755}, "warning", "chmod 700 /s"),
        ({"fstype": "nfs4"}, "problem", "cannot be trusted"),
        ({"fstype": "tmpfs"}, "warning", "lost at a restart"),
        ({"free": 1 << 30}, "problem", "ENOSPC"),
        ({"free": 3 << 29}, "warning", "cache trim"),
        ({"sync_s": 0.9}, "warning", "900 ms"),
        ({"damage": "state.db: malformed"}, "problem", "check --repair"),
        ({"database": Glance(form=99)}, "problem", "newer remotefs"),
        ({"database": Glance(form=5, fault="row 7 missing")}, "problem", "row 7 missing"),
    ],
)
def test_what_is_told_of_a_state_folder(changes: dict[str, object], state: str, said: str) -> None:
    assert troubles(state_folder.judge(FINE)) == []
    [(told, text)] = troubles(state_folder.judge(replaced(FINE, **changes)))
    assert (told, said in text) == (state, True), text


def test_what_is_told_of_a_mount() -> None:
    good = Status(mountpoint="/m", state_dir="/s", base_url="https://x", pid=7, online=True, files=3)
    assert troubles(running.judge(Path("/m"), good)) == []
    bad = replaced(
        good,
        online=False,
        trouble="the key was refused",
        unwritable="disk full",
        failed=(Leftover("a.txt", "too large"),),
        damaged=("b.txt",),
        failures=(TaskFailed(task="refresh", count=2, at=1.0, reason="oops"),),
        pending=(PendingKind("upload", 4, None, 7200.0),),
        removals_held=30,
    )
    told = troubles(running.judge(Path("/m"), bad))
    assert [state for state, _ in told] == ["warning", "problem", "warning", "problem", "warning", "warning"]
    text = "\n".join(text for _, text in told)
    for said in ("offline", "4 changes pending, the oldest for 2 h", "the key was refused", "disk full", "a.txt waits",
                 "b.txt is damaged", "refresh failed 2 times", "accept-removals"):  # fmt: skip
        assert said in text
    [(state, text)] = troubles(running.judge(Path("/m"), LocalError("it has lost its process")))
    assert (state, "remotefs umount /m" in text) == ("problem", True)


def test_what_is_told_of_the_network() -> None:
    good = NetworkFacts(steps=[Step("name", 0.01)], reply=Reply(seconds=0.1, shape="ga", organization="o", ahead_s=2.0))
    assert troubles(network.judge(good)) == []
    for step, said in (("name", "resolv.conf"), ("connection", "firewall"), ("TLS", "SSL_CERT_FILE")):
        [(state, text)] = troubles(network.judge(NetworkFacts(steps=[Step(step, error="it failed")])))
        assert (state, said in text) == ("problem", True)
    [(state, text)] = troubles(network.judge(NetworkFacts(reply=Reply(seconds=0.1, shape="ga", ahead_s=-7200.0))))
    assert (state, "7,200 s behind" in text) == ("warning", True)
    assert troubles(network.judge(NetworkFacts(reply=Reply(seconds=3.0, error="401: no"))))[0][0] == "problem"


def test_the_key_and_its_source_are_told_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hush@proxy.example:3128")
    environ = {"ANTHROPIC_API_KEY": "sk-hush", "REMOTEFS_SERVICE_AUTH_TOKEN": "t-hush", "SSL_CERT_FILE": "/missing"}
    found = list(settings_check.judge(settings_check.look(environ, None, None)))
    text = "\n".join(f"{one.area}: {one.found} {one.advice}" for one in found)
    assert "hush" not in text
    assert "a token from REMOTEFS_SERVICE_AUTH_TOKEN (not shown)" in text
    assert "http://proxy.example:3128" in text
    assert "SSL_CERT_FILE=/missing does not exist" in text
    [(state, said)] = troubles(settings_check.judge(settings_check.look({"REMOTEFS_UPLOAD_X": "1"}, None, None)))
    assert (state, "REMOTEFS_UPLOAD_X" in said) == ("problem", True)
    settings = tmp_path / "config.toml"
    settings.write_text('[profile.work.service]\napi_key = "sk-hush"\n')
    settings.chmod(0o600)
    look = settings_check.look({"ANTHROPIC_API_KEY": "sk-other"}, settings, "work")
    assert f"a key from {settings}, line 2 (not shown)" in [one.found for one in settings_check.judge(look)]
    file = tmp_path / "key"
    file.write_text("sk-hush")
    file.chmod(0o644)
    look = settings_check.look({"REMOTEFS_SERVICE_KEY_FILE": str(file)}, None, None)
    [(state, said)] = [one for one in troubles(settings_check.judge(look)) if "key:" in one[1]]
    assert (state, f"chmod 600 {file}" in said, "hush" in said) == ("problem", True, False)
    [(_, said)] = troubles(settings_check.judge(settings_check.look({"ANTHROPIC_API_KEY": "a\nb"}, None, None)))
    assert "no header can carry" in said


async def test_a_look_at_a_state_folder_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    database = Database(folder / "state.db")
    while_open = state_folder.look(folder, CacheConfig(reserve_bytes=0, reserve_fraction=0.0))
    database.close()
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    facts = state_folder.look(folder, CacheConfig(reserve_bytes=0, reserve_fraction=0.0))
    assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir()) == before
    assert while_open.database == facts.database
    assert facts.database is not None
    assert (facts.database.fault, facts.database.whole, facts.mode) == (None, True, 0o755)
    (folder / "state.db").write_bytes(b"no database" * 100)
    assert "check --repair" in troubles(state_folder.judge(state_folder.look(folder, CacheConfig())))[-1][1]
    assert not state_folder.look(tmp_path / "missing", CacheConfig()).is_there


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plans/q3.pdf: the service does not have it", "<{plans}>/<{q3.pdf}>.pdf: the service does not have it"),
        ("failed uploads: the service does not have it", "<{failed uploads}>: the service does not have it"),
        ("the files of status", "the files of status"),
        ("status: the service answered 403", "<{status}>: the service answered 403"),
        ("'status' is not valid", "'<{status}>' is not valid"),
        ("the key sk-ant is wrong", "the key [hidden] is wrong"),
        ("/home/alice/mnt: no such file", "/home/<{alice}>/mnt: no such file"),
        ("2026-11-28 17:00:00,123 INFO remotefs.mount: Müller waits", "2026-11-28 17:00:00,123 INFO remotefs.mount: <{Müller}> waits"),
        ('  File "/x/site-packages/trio/_core.py", line 7, in run', '  File "site-packages/trio/_core.py", line 7, in run'),
        ('{"path": "Müller", "ms": 3}', '{"path":"<{Müller}>","ms":3}'),
    ],
)  # fmt: skip
def test_names_and_keys_are_blotted_out_of_a_line(line: str, shown: str) -> None:
    blotter = Blotter(["sk-ant"], ["failed uploads", "status", "q3.pdf"], b"key")
    names = ["plans", "q3.pdf", "failed uploads", "status", "alice", "Müller"]
    for name in names:
        digest = blotter._digest(name).removesuffix(".pdf").strip("<>")
        shown = shown.replace("{" + name + "}", digest)
    assert blotter.line(line) == shown
    assert Blotter([], [], b"other").line("Müller") != blotter.line("Müller")


# -- the command


def doctor(*arguments: object, env: dict[str, str], home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remotefs", "doctor", *map(str, arguments)],
        env={**env, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def found(done: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, str]]]:
    by_area: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(done.stdout)["findings"]:
        by_area.setdefault(one["area"], []).append(one)
    return by_area


def test_a_service_that_works_is_asked_once(tmp_path: Path) -> None:
    with faulty_server(tmp_path / "server") as server:
        done = doctor("--json", env=environment(KEY, {"ANTHROPIC_BASE_URL": server.url}), home=tmp_path)
        assert len(server.script.requests()) == 1
    told = found(done)
    assert told["request"][0]["state"] == "ok"
    assert told["clock"][0]["found"] == "agrees with the service's"
    assert KEY not in done.stdout + done.stderr


def test_a_key_that_is_refused_is_a_problem_and_exit_1(tmp_path: Path) -> None:
    with faulty_server(tmp_path / "server") as server:
        done = doctor(env=environment("sk-wrong", {"ANTHROPIC_BASE_URL": server.url}), home=tmp_path)
    assert done.returncode == 1
    assert "problem  request" in done.stdout
    assert "sk-wrong" not in done.stdout + done.stderr


@pytest.mark.long
def test_a_service_that_hangs_is_told_after_the_rest(tmp_path: Path) -> None:
    """A socket that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = doctor("--json", env=environment(KEY, {"ANTHROPIC_BASE_URL": url}), home=tmp_path)
    assert "within 3 s" in found(done)["request"][0]["found"]
    assert done.returncode == 1


def test_a_bundle_has_a_name_that_can_be(tmp_path: Path) -> None:
    done = doctor("--bundle", tmp_path / "x.zip", env=environment(), home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert ".tar.gz" in done.stderr
