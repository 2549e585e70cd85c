"""`--json` of the commands that ask a mount: the facts that a person gets, as objects."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.mount.support import Mounted, remotefs


def objects(*words: object, env: dict[str, str], status: int = 0) -> list[Any]:
    done = remotefs(*words, "--json", env=env)
    assert done.returncode == status
    assert status or done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_facts_are_printed_as_objects(mount: Mounted) -> None:
    file = mount.path / "a.txt"
    file.write_text("some text")
    assert objects("check", mount.path, "--offline", env=mount.env) == [{"count": 0, "repaired": 0, "findings": []}]
    file_id = os.getxattr(file, "user.remotefs.id").decode()
    found = objects("path", file_id, "file_011CNvxoj286tYUAZFiZMf1U", "--mount", mount.path, env=mount.env, status=1)
    assert found == [
        {"id": file_id, "path": str(file)},
        {"id": "file_011CNvxoj286tYUAZFiZMf1U", "path": None},
    ]
    [examined] = objects("doctor", mount.path, "--offline", env=mount.env)
    assert examined["problems"] == 0
    assert f"{mount.path}: online, 1 file, nothing pending" in [one["found"] for one in examined["findings"]]


@pytest.mark.long
def test_so_are_those_of_the_other_commands(mount: Mounted) -> None:
    file = mount.path / "a.txt"
    file.write_text("some text")
    assert objects("flush", mount.path, env=mount.env) == [{"left": 0, "leftovers": [], "errors": []}]
    assert objects("retry", mount.path, env=mount.env) == [{"count": 0, "errors": []}]
    assert objects("trash", "list", "--mount", mount.path, env=mount.env) == []
    [cached] = objects("cache", "info", "--mount", mount.path, env=mount.env)
    assert cached["pinned_files"] + cached["evictable_files"] == 1
    [warmed] = objects("warm", file, env=mount.env)
    assert (warmed["path"], warmed["files"], warmed["failed"]) == (str(file), 1, [])
    assert objects("sync", mount.path, env=mount.env)[0]["files"] == 0
    assert objects("retype", mount.path, env=mount.env)[0]["files"] == 0
    assert objects("dedupe", mount.path, "--dry-run", env=mount.env)[0]["copies"] == []
    [copied] = objects("export", file, mount.state.parent / "out.txt", env=mount.env)
    assert (copied["files"], copied["bytes"], copied["failed"]) == (1, 9, [])
