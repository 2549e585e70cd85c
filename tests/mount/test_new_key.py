"""A key that changes under a running mount (A6, S1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import Mounted, environment, eventually, mounted, remotefs, stored

OLD, NEW, FOREIGN = "sk-old-0123456789", "sk-new-0123456789", "sk-foreign-0123456789"


@dataclass
class Keys:
    """Knows keys and the organization of each; what comes with another is refused by the server behind."""

    app: ASGIApp
    organizations: dict[str, str] = field(default_factory=lambda: {OLD: "org-1", NEW: "org-1", FOREIGN: "org-2"})
    asked: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        key = headers.get(b"x-api-key", b"").decode()
        self.asked.append(key)
        organization = self.organizations.get(key)
        if organization is None:
            await self.app(scope, receive, send)
            return

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = {name.lower(): value for name, value in message["headers"]}
                told[b"anthropic-organization-id"] = organization.encode()
                message = message | {"headers": list(told.items())}
            await send(message)

        passed = headers | {b"x-api-key": KEY.encode()}
        await self.app(scope | {"headers": list(passed.items())}, receive, named)


@contextmanager
def mount_with(tmp_path: Path, setting: str, value: object) -> Iterator[tuple[FaultyServer, Keys, Mounted]]:
    """A mount whose key comes from the place that a setting names."""
    doors: list[Keys] = []

    def front(app: ASGIApp) -> ASGIApp:
        doors.append(Keys(app))
        return doors[0]

    with faulty_server(tmp_path / "server", front=front) as server:
        # Only a key that is known shows whose it is.
        server.script.hidden = frozenset({"anthropic-organization-id", "anthropic-workspace-id"})
        environ = {f"REMOTEFS_SERVICE_{setting}": str(value)}
        with mounted(tmp_path / "m", server.url, "", settings=environ) as mount:
            yield server, doors[0], mount


def private(path: Path, key: str) -> Path:
    path.touch(0o600)
    path.write_text(f"{key}\n")
    return path


@pytest.mark.long
def test_a_new_key_in_its_file_is_used_without_a_remount_and_pending_uploads_go_on(tmp_path: Path) -> None:
    file = private(tmp_path / "key", OLD)
    with mount_with(tmp_path, "KEY_FILE", file) as (server, keys, mount):
        (mount.path / "before").write_text("1")
        mount.flush()
        del keys.organizations[OLD]
        # Refused, unless a poll has met the refusal before: then it waits, as for a service that is away.
        with suppress(PermissionError):
            (mount.path / "meanwhile").write_text("2")
        eventually(lambda: not mount.status().online)
        reason = mount.status().trouble or ""
        assert f"the service answered 401 (invalid x-api-key); check the key in {file}" in reason
        pid = mount.pid
        private(file, NEW)
        mount.flush()
        (mount.path / "after").write_text("3")
        mount.flush()
        assert stored(server) == {"before": b"1", "meanwhile": b"2", "after": b"3"}
        assert mount.pid == pid
        assert f"the service takes a new key, from {file}" in mount.log()
        everything = mount.log() + str(mount.status())
        assert not any(key in everything for key in (OLD, NEW))


@pytest.mark.long
def test_s1_a_new_key_of_another_account_changes_nothing_there(tmp_path: Path) -> None:
    file = private(tmp_path / "key", OLD)
    with mount_with(tmp_path, "KEY_FILE", file) as (server, keys, mount):
        (mount.path / "ours").write_text("1")
        mount.flush()
        private(file, FOREIGN)
        del keys.organizations[OLD]
        with suppress(PermissionError):
            (mount.path / "mine").write_text("2")
        (mount.path / "ours").unlink()
        eventually(lambda: "organization org-2" in (mount.status().trouble or ""))
        assert (mount.path / "mine").read_text() == "2"
        requests = server.script.requests()
        assert not any(request.op in {"upload", "delete"} for request in requests[1 + keys.asked.index(FOREIGN) :])
        # The files wait for a key of their own account.
        private(file, NEW)
        mount.end()
        mount.started()
        mount.flush()
        assert stored(server) == {"mine": b"2"}


def test_a_command_gives_the_key_and_the_next_one(tmp_path: Path) -> None:
    file = private(tmp_path / "store", OLD)
    with mount_with(tmp_path, "KEY_COMMAND", f"cat {file}") as (server, keys, mount):
        private(file, NEW)
        del keys.organizations[OLD]
        (mount.path / "f").write_text("1")
        mount.flush()
        assert stored(server) == {"f": b"1"}
        assert "from the output of cat (key_command)" in mount.log()


@pytest.mark.long
def test_a_mount_whose_command_gives_no_key_says_why(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    with faulty_server(tmp_path / "server") as server:
        environ = {"REMOTEFS_SERVICE_KEY_COMMAND": "sh -c 'echo locked >&2; exit 3'"}
        env = environment(settings=environ)
        mount = Mounted(tmp_path / "mnt", tmp_path / "state", env, ("--base-url", server.url))
        done = mount.start()
        assert done.returncode == 1
        assert "key_command: sh ended with 3: locked" in done.stderr


def test_a_mount_whose_key_file_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    file = private(tmp_path / "key", OLD)
    file.chmod(0o644)
    environ = environment() | {"REMOTEFS_SERVICE_KEY_FILE": str(file)}
    done = remotefs("mount", tmp_path / "mnt", env=environ)
    assert done.returncode == 2
    assert f"chmod 600 {file}" in done.stderr
