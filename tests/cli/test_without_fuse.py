"""A machine without pyfuse3: all but `mount` works, and `mount` says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.check.test_export import populate
from tests.faults import KEY, faulty_server
from tests.mount.support import environment
from tests.parts import clock, running
from tests.server_process import running_server

__all__ = ["clock"]
# Python reads this module at its start, in every process that a command starts too.
ABSENT = "import sys; sys.modules['pyfuse3'] = None"
BROKEN = "raise ImportError('libfuse3.so.3: cannot open shared object file', name=__name__)"


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """The environment of a command that finds no pyfuse3."""
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "sitecustomize.py").write_text(ABSENT)
    return environment(KEY, {"PYTHONPATH": str(tmp_path / "absent"), "XDG_DATA_HOME": str(tmp_path / "data")})


def command(*arguments: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "remotefs", *map(str, arguments)],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_it_is_told_of_mounts_and_helped(without: dict[str, str]) -> None:
    assert command("--help", env=without).returncode == 0
    assert "pyfuse3" not in command("status", env=without).stderr


def test_a_server_runs(tmp_path: Path, without: dict[str, str]) -> None:
    with running_server(tmp_path / "root", env=without) as server:
        assert httpx.get(server.url + "/v1/files", headers=server.headers).status_code == 200


def test_a_service_is_probed(tmp_path: Path, without: dict[str, str]) -> None:
    with faulty_server(tmp_path / "server") as server:
        done = command("probe", "--base-url", server.url, env=without)
    assert done.returncode == 0, done.stderr


async def test_a_state_folder_is_exported_and_checked(tmp_path: Path, clock: object, without: dict[str, str]) -> None:
    with faulty_server(tmp_path / "server") as server:
        async with running(tmp_path, server, durability="local") as host:
            await populate(host)
    out = tmp_path / "out"
    done = command("export", "--state-dir", host.state_dir, "d", out, env=without)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(out)) == ["empty", "link", "ours"]
    done = command("check", "--state-dir", host.state_dir, env=without)
    assert (done.returncode, done.stderr) == (0, "remotefs: clean\n")


def test_files_are_put_and_fetched(tmp_path: Path, without: dict[str, str]) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.txt").write_bytes(b"a")
    with running_server(tmp_path / "root", env=without) as server:
        env = {**without, "ANTHROPIC_API_KEY": server.key, "ANTHROPIC_BASE_URL": server.url}
        done = command("put", tmp_path / "src", "in/", env=env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "remotefs: 1 file sent, 1 bytes\n")
        done = command("get", "in", tmp_path / "out", env=env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "remotefs: 1 file fetched, 1 bytes\n")
    assert (tmp_path / "out" / "in" / "src" / "a.txt").read_bytes() == b"a"


@pytest.mark.mount
def test_mount_says_that_it_is_missing_and_how_to_get_it(tmp_path: Path, without: dict[str, str]) -> None:
    (tmp_path / "mnt").mkdir()
    done = command("mount", "--local", tmp_path / "mnt", env=without)
    assert done.returncode == 1
    assert done.stderr.startswith("remotefs: mounting needs the Python package pyfuse3, which is not installed: ")
    assert done.stderr.endswith("pip install pyfuse3\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.mount
@pytest.mark.parametrize("how", [(), ("--foreground",)])
def test_mount_says_that_it_cannot_be_loaded(tmp_path: Path, without: dict[str, str], how: tuple[str, ...]) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pyfuse3.py").write_text(BROKEN)
    done = command("mount", "--local", *how, tmp_path / "mnt", env={**without, "PYTHONPATH": str(tmp_path / "broken")})
    assert done.returncode == 1
    assert done.stderr == (
        "remotefs: mounting needs the Python package pyfuse3, which cannot be loaded: "
        "libfuse3.so.3: cannot open shared object file; install the package libfuse3-3\n"
    )
    assert not (tmp_path / "data").exists()
