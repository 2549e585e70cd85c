"""`-o` on real mounts."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from tests.faults import FaultyServer
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, remotefs, run


def shown(path: Path, column: str) -> str:
    return run("findmnt", "-n", "-o", column, path).stdout.strip()


def test_df_shows_the_source_that_was_given(make_mount: MakeMount) -> None:
    mount = make_mount("-o", "fsname=claude files")
    assert run("df", "--output=source", mount.path).stdout.splitlines()[1] == "claude files"
    assert (shown(mount.path, "SOURCE"), shown(mount.path, "FSTYPE")) == ("claude files", "fuse.remotefs")
    # It is found and ended as any other.
    assert remotefs("status", mount.path, env=mount.env).returncode == 0


@pytest.mark.parametrize(("option", "moves"), [("rw", True), ("noatime", False), ("ro", False)])
def test_reading_moves_the_access_time_unless_the_mount_says_otherwise(
    server: FaultyServer, make_mount: MakeMount, option: str, moves: bool
) -> None:
    server.store.add_generated("program", Path("/bin/true").read_bytes())
    mount = make_mount("-o", option)
    file = mount.path / "program"
    before = file.stat().st_atime_ns
    file.read_bytes()
    assert (file.stat().st_atime_ns > before) is moves


def test_running_a_program_leaves_its_access_time_with_noatime(make_mount: MakeMount) -> None:
    mount = make_mount("-o", "noatime")
    program = mount.path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o700)
    os.utime(program, ns=(1, 1))
    subprocess.run([program], check=True)
    assert program.stat().st_atime_ns == 1


@pytest.mark.root("remounts")
class TestRemount:
    def test_read_only_and_back(self, mount: Mounted) -> None:
        (mount.path / "f").write_text("one")
        for how in (["mount", "-i", "-o"], ["remotefs", "-o"]):
            self.remount(mount, how, "remount,ro")
            assert "ro" in shown(mount.path, "OPTIONS").split(",")
            with pytest.raises(OSError) as caught:
                (mount.path / "f").write_text("two")
            assert caught.value.errno == errno.EROFS
            assert (mount.path / "f").read_text() == "one"
            self.remount(mount, how, "remount,rw,noexec")
            assert {"nosuid", "nodev"} <= set(shown(mount.path, "OPTIONS").split(","))
            assert {"rw", "noexec"} <= set(shown(mount.path, "OPTIONS").split(","))
        (mount.path / "f").write_text("two")
        mount.flush()

    def test_not_while_a_file_is_open_for_writing(self, mount: Mounted) -> None:
        with (mount.path / "f").open("w"):
            done = remotefs("mount", mount.path, "-o", "remount,ro", env=mount.env)
            assert done.returncode != 0
            assert f"{mount.path} cannot be remounted" in done.stderr
            assert "busy" in done.stderr
        assert "rw" in shown(mount.path, "OPTIONS").split(",")

    def test_only_a_mount_of_remotefs(self, tmp_path: Path) -> None:
        done = remotefs("mount", tmp_path, "-o", "remount,ro")
        assert done.returncode != 0
        assert f"{tmp_path} is not a mount of remotefs" in done.stderr

    @staticmethod
    def remount(mount: Mounted, how: list[str], option: str) -> None:
        if how[0] == "mount":
            run(*how, option, mount.path)
        else:
            done = remotefs("mount", mount.path, "-o", option, env=mount.env)
            assert (done.returncode, done.stdout + done.stderr) == (0, "")
