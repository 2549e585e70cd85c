"""`put` and `get` beside a running mount: they go through it, as other programs do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from remotefs.server.queries import ListQuery
from tests.faults import FaultyServer
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, ids, ops, remotefs, stored
from tests.transfers.support import write

_ALL = ListQuery(limit=1000)


def lines(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The files of `--json` by path."""
    return {file["path"]: file for file in map(json.loads, done.stdout.splitlines())}


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {path: file["outcome"] for path, file in lines(done).items()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with files, a link and an empty folder."""
    write(tmp_path / "src/d/a.txt", b"a" * 3000, mode=0o640)
    write(tmp_path / "src/d/e/b.bin", b"\0" * 300_000)
    (tmp_path / "src/d/link").symlink_to("a.txt")
    (tmp_path / "src/d/nothing").mkdir()
    return tmp_path / "src/d"


def test_put_goes_through_the_mount_and_waits_for_the_service(
    mount: Mounted, server: FaultyServer, source: Path
) -> None:
    done = remotefs("put", source, f"{mount.path}/in/", "--json", env=mount.env)
    assert done.returncode == 0, done.stderr
    assert outcomes(done) == dict.fromkeys(["in/d/a.txt", "in/d/e/b.bin"], "sent")
    assert stored(server, "in/d") == {"a.txt": b"a" * 3000, "e/b.bin": b"\0" * 300_000}
    assert ids(server)["in／d／a.txt"] == lines(done)["in/d/a.txt"]["id"]
    there = mount.path / "in/d"
    assert sorted(os.listdir(there)) == ["a.txt", "e", "link", "nothing"]
    assert os.readlink(there / "link") == "a.txt"
    status = (there / "a.txt").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o640, (source / "a.txt").stat().st_mtime_ns)
    # By a path of the tree, from the state folder's mount; nothing is sent again.
    before = len(server.script.requests())
    done = remotefs("put", source, "--to", "in/", "--state-dir", mount.state, env=mount.env)
    assert (done.returncode, done.stderr) == (0, "remotefs: 2 files there already, unchanged, 295.9 KiB\n")
    assert ops(server, before) == []


def test_get_comes_through_the_mount_by_path_id_and_age(
    make_mount: MakeMount, server: FaultyServer, tmp_path: Path
) -> None:
    one = server.store.add("d／one.csv", b"1" * 50_000, downloadable=True).id
    server.store.add("theirs.pdf", b"%PDF", downloadable=False)
    mount = make_mount()
    write(mount.path / "d/mine.txt", b"mine", mode=0o600)
    out = tmp_path / "out"
    done = remotefs("get", mount.path / "d", one, mount.path / "theirs.pdf", out, "--json", env=mount.env)
    assert done.returncode == 1
    assert outcomes(done) == {
        "d/one.csv": "fetched", "d/mine.txt": "fetched", "theirs.pdf": "failed",
    }  # fmt: skip
    assert lines(done)["theirs.pdf"]["reason"].startswith("uploaded elsewhere")
    assert (out / "d/one.csv").read_bytes() == (out / "one.csv").read_bytes() == b"1" * 50_000
    status = (out / "d/mine.txt").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o600, (mount.path / "d/mine.txt").stat().st_mtime_ns)
    before = len(server.script.requests())
    done = remotefs("get", "--generated", "--since", "1d", "--mount", mount.path, out, "--json", env=mount.env)
    assert (done.returncode, outcomes(done)) == (0, {"d/one.csv": "present"})
    assert ops(server, before) == []
    # Put over a generated file: as after an edit the original stays (W8).
    done = remotefs("put", write(tmp_path / "one.csv", b"edited"), mount.path / "d", env=mount.env)
    assert done.returncode == 0, done.stderr
    assert (mount.path / "d/one.csv").read_bytes() == b"edited"
    mount.flush()
    assert {record.id for record in server.store.list(_ALL).records} > {one}
