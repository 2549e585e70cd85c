"""S1 as people meet it: the same state folder, and a service at another address."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.faults import KEY, faulty_server
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, is_mounted, ops, remotefs, stored

NAMES = frozenset({"anthropic-organization-id", "anthropic-workspace-id"})


def at(mount: Mounted, url: str) -> subprocess.CompletedProcess[str]:
    """Mount the same state folder on a service elsewhere."""
    mount.arguments = ("--base-url", url)
    return mount.start()


def accept(mount: Mounted, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return remotefs("accept-account", "--state-dir", mount.state, "--base-url", url, *arguments, env=mount.env)


@pytest.mark.long
def test_a_service_that_names_no_account_may_move_only_when_a_person_says_so(
    tmp_path: Path, make_mount: MakeMount
) -> None:
    with faulty_server(tmp_path / "nameless") as first, faulty_server(tmp_path / "another") as another:
        first.script.hidden = another.script.hidden = NAMES
        mount = make_mount(of=first)
        (mount.path / "f").write_text("precious")
        mount.flush()
        busy = accept(mount, another.url, "--yes")
        assert (busy.returncode, "in use by" in busy.stderr) == (1, True)
        mount.end()

        refused = at(mount, another.url)
        assert refused.returncode != 0
        assert first.url in refused.stderr
        assert another.url in refused.stderr
        assert "accept-account" in refused.stderr
        assert not is_mounted(mount.path)
        assert (another.script.count(), ops(another)) == (0, [])
    with faulty_server(tmp_path / "nameless") as moved:
        moved.script.hidden = NAMES
        asked = accept(mount, moved.url)
        assert asked.returncode == 1
        assert at(mount, moved.url).returncode != 0, "nobody said yes"
        accepted = accept(mount, moved.url, "--yes")
        assert accepted.returncode == 0, accepted.stderr
        assert first.url in accepted.stderr
        assert moved.url in accepted.stderr
        assert at(mount, moved.url).returncode == 0
        assert (mount.path / "f").read_text() == "precious"
        assert stored(moved) == {"f": b"precious"}
        mount.end()
        again = accept(mount, moved.url)
        assert (again.returncode, "already" in again.stderr) == (0, True)


def test_a_named_account_is_never_exchanged_for_another(tmp_path: Path, mount: Mounted) -> None:
    mount.end()
    with faulty_server(tmp_path / "another") as another:
        done = accept(mount, another.url, "--yes")
        assert done.returncode == 1
        assert "is another account" in done.stderr
        assert at(mount, another.url).returncode != 0


def test_a_folder_that_is_none_is_said_to_be(tmp_path: Path, mount: Mounted) -> None:
    done = remotefs("accept-account", "--state-dir", tmp_path, "--yes", env=mount.env | {"ANTHROPIC_API_KEY": KEY})
    assert (done.returncode, "not a state folder" in done.stderr) == (1, True)
