"""The way back that docs/upgrading.md describes, walked with the version that wrote format 3.

That version comes out of the history of the repository, and runs with the packages of today.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.test_formats import version
from tests.faults import faulty_server
from tests.mount.support import environment, eventually, is_mounted, shell

REPOSITORY = Path(__file__).parents[2]
# The last commit whose databases have format 3.
OLD_COMMIT = "2510e2cc"
STEPS = re.search(r"```\ncd STATE\n(.*?)```", (REPOSITORY / "docs" / "upgrading.md").read_text(), re.DOTALL)


def the_old_version(folder: Path) -> Path:
    """Unpack it. A checkout without history, and an archive of the sources, have none."""
    packed = subprocess.run(
        ["git", "-C", REPOSITORY, "archive", OLD_COMMIT, "remotefs"], capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip("the history of the repository is not here")
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
    return folder


class Version:
    """One version of remotefs at work on one mountpoint and state folder."""

    def __init__(self, sources: Path, place: Path, url: str, key: str) -> None:
        self.mnt, self.state = place / "mnt", place / "state"
        self._url = url
        self._env = environment(key) | {"PYTHONPATH": str(sources)}

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "remotefs", *map(str, arguments)]
        return subprocess.run(command, env=self._env, cwd="/", capture_output=True, text=True, check=False, timeout=60)

    def mount(self) -> subprocess.CompletedProcess[str]:
        return self("mount", self.mnt, "--state-dir", self.state, "--base-url", self._url)

    def works(self, *arguments: object) -> str:
        done = self(*arguments) if arguments else self.mount()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    def end(self) -> None:
        if is_mounted(self.mnt):
            self.works("umount", self.mnt)


@pytest.mark.mount
@pytest.mark.long
def test_the_older_version_goes_on_with_the_copy_from_before_the_upgrade(tmp_path: Path) -> None:
    sources = the_old_version(tmp_path / "old")
    (tmp_path / "mnt").mkdir()
    assert STEPS is not None
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as server:
        old, new = (Version(place, tmp_path, server.url, server.key) for place in (sources, REPOSITORY))
        mnt = tmp_path / "mnt"
        try:
            old.works()
            shell(
                "echo one > one; mkdir d; echo two > d/two; ln one hard; ln -s one sym; setfattr -n user.note -v kept one",
                mnt,
            )
            old.works("umount", mnt)
            assert version(old.state) == 3

            said = new.works()
            assert f"{new.state}/copies/format-3.db is the database from before, for 30 days" in said
            assert shell("cat one d/two hard; getfattr --only-values -n user.note one", mnt) == "one\ntwo\none\nkept"
            shell("echo changed > d/two; echo added > new; rm hard; ln -s new later", mnt)
            new.works("umount", mnt)

            refused = old.mount()
            assert refused.returncode != 0
            assert "newer remotefs" in refused.stderr
            shell(STEPS[1].replace("format-5.db", "format-3.db"), old.state)
            assert version(old.state) == 3

            old.works()
            eventually(lambda: (mnt / "new").exists())
            assert shell("cat one d/two new hard; readlink sym; getfattr --only-values -n user.note one", mnt) == (
                "one\nchanged\nadded\none\none\nkept"
            )
            old.works("check", mnt)
            shell("echo again > one", mnt)
            old.works("umount", mnt)

            # And forward again, with what the older version did meanwhile.
            new.works()
            assert shell("cat one d/two new", mnt) == "again\nchanged\nadded\n"
            new.works("check", mnt)
        finally:
            new.end()
    assert os.listdir(mnt) == []
