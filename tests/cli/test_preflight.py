"""What is checked before a mount is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from remotefs.cli.launch.preflight import (
    check_apart,
    check_fuse,
    check_key,
    check_others_allowed,
    ready_mountpoint,
)
from remotefs.config import Secret, ServiceConfig
from remotefs.errors import LocalError, UsageError


def nobody(text: str) -> None:
    raise AssertionError(text)


def test_an_empty_folder_is_a_mountpoint_whatever_way_it_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    (tmp_path / "link").symlink_to("mnt")
    assert ready_mountpoint(tmp_path / "link", nobody) == folder
    assert ready_mountpoint(tmp_path / "mnt" / ".." / "mnt", nobody) == folder


def test_the_first_thing_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"not empty.*thesis\.tex"):
        ready_mountpoint(tmp_path, nobody)
    with pytest.raises(UsageError, match="not a folder"):
        ready_mountpoint(tmp_path / "thesis.tex", nobody)
    with pytest.raises(UsageError, match=r"does not exist.*mkdir"):
        ready_mountpoint(tmp_path / "missing", nobody)


def test_what_is_mounted_already_is_named() -> None:
    with pytest.raises(UsageError, match="already a mountpoint: proc"):
        ready_mountpoint(Path("/proc"), nobody)


def test_a_machine_that_cannot_mount_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="install the package fuse3"):
        check_fuse(helper="fusermount-that-is-not-there")
    with pytest.raises(LocalError, match="modprobe fuse"):
        check_fuse(device=tmp_path / "fuse", helper="sh")
    with pytest.raises(LocalError, match="cannot be opened"):
        check_fuse(device=tmp_path, helper="sh")


def test_letting_others_in_is_the_machines_decision_for_all_but_root(tmp_path: Path) -> None:
    conf = tmp_path / "fuse.conf"
    check_others_allowed(conf, uid=0)
    for content in (None, "# user_allow_other\n", "mount_max = 7\n"):
        if content is not None:
            conf.write_text(content)
        with pytest.raises(UsageError, match=r"fuse\.conf.*user_allow_other"):
            check_others_allowed(conf, uid=1000)
    conf.write_text("mount_max = 7\n  user_allow_other \n")
    check_others_allowed(conf, uid=1000)


def test_either_kind_of_key_is_enough() -> None:
    check_key(ServiceConfig(api_key=Secret("k")))
    check_key(ServiceConfig(auth_token=Secret("t")))
    with pytest.raises(UsageError, match=r"ANTHROPIC_API_KEY.*--local"):
        check_key(ServiceConfig())


@pytest.mark.parametrize("folder", ["mnt", "mnt/state", "."])
def test_a_mount_does_not_keep_its_state_in_itself(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="keep them apart"):
        check_apart(tmp_path / "mnt", tmp_path / folder, "the state folder")


@pytest.mark.parametrize("folder", ["state", "mnt2", "mn"])
def test_neighbours_are_apart(tmp_path: Path, folder: str) -> None:
    check_apart(tmp_path / "mnt", tmp_path / folder, "the state folder")


@pytest.mark.parametrize(("soft", "hard", "then"), [(64, 1000, "1000"), (64, 64, "LocalError"), (256, 256, "256")])
def test_open_files_are_raised_as_far_as_the_machine_allows(soft: int, hard: int, then: str) -> None:
    program = (
        "import resource\nfrom remotefs.cli.launch.preflight import raise_open_files\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "try:\n  raise_open_files(); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == then
    assert then != "LocalError" or "only 64 are allowed here: raise the limit (`ulimit -n" in done.stdout
