"""chmod and chown: who may, and what happens to set-uid, set-gid and sticky bits."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable

import pytest

from tests.posix.support import (
    ALICE,
    BOB,
    CAROL,
    GUESTS,
    STAFF,
    age,
    mode_of,
    moved,
    opened,
    outcome,
    times,
    write_file,
)

pytestmark = pytest.mark.usefixtures("place")


def _alices(path: str = "f", mode: int = 0o644, gid: int = ALICE.gid) -> None:
    write_file(path, mode=mode)
    os.chown(path, ALICE.uid, gid)
    os.chmod(path, mode)


@pytest.mark.root("what root alone may do")
@pytest.mark.parametrize("mode", [0, 0o644, 0o777, 0o1777, 0o2755, 0o4755, 0o7777])
@pytest.mark.parametrize("kind", ["file", "folder", "fifo"])
def test_root_sets_any_mode(kind: str, mode: int) -> None:
    make: dict[str, Callable[[str], object]] = {"file": os.mknod, "folder": os.mkdir, "fifo": os.mkfifo}
    make[kind]("x")
    age("x")
    before = times("x")
    os.chmod("x", mode)

    assert (mode_of("x"), moved("x", before)) == (mode, "c")
    with opened("x", os.O_RDONLY | os.O_NONBLOCK) as fd:
        os.fchmod(fd, 0o640)
    assert mode_of("x") == 0o640


@pytest.mark.root("calls as several users")
def test_only_the_owner_changes_a_mode() -> None:
    _alices(mode=0o666)
    with BOB:
        assert outcome(os.chmod, "f", 0o600) == "EPERM"
    with ALICE:
        os.chmod("f", 0o600)
    assert mode_of("f") == 0o600


@pytest.mark.root("calls as several users")
def test_set_gid_is_not_for_who_is_not_of_the_group() -> None:
    _alices(gid=GUESTS)
    _alices("g", gid=STAFF)
    with ALICE:
        os.chmod("f", 0o2755)
        os.chmod("g", 0o2755)
    assert (mode_of("f"), mode_of("g")) == (0o755, 0o2755)


@pytest.mark.root("calls as several users")
def test_who_may_give_a_file_away() -> None:
    _alices()
    with ALICE:
        told = {
            "own": outcome(os.chown, "f", ALICE.uid, ALICE.gid),
            "supplementary": outcome(os.chown, "f", -1, STAFF),
            "group of others": outcome(os.chown, "f", -1, GUESTS),
            "another owner": outcome(os.chown, "f", BOB.uid, -1),
        }
    assert told == {"own": "ok", "supplementary": "ok", "group of others": "EPERM", "another owner": "EPERM"}
    with BOB:
        assert outcome(os.chown, "f", -1, STAFF) == "EPERM"
    assert (os.stat("f").st_uid, os.stat("f").st_gid) == (ALICE.uid, STAFF)


@pytest.mark.root("gives files to others")
def test_chown_sets_what_it_is_told_and_ctime() -> None:
    write_file("f")
    age("f")
    before = times("f")
    os.chown("f", 77, -1)
    os.chown("f", -1, 88)
    with opened("f", os.O_RDONLY) as fd:
        os.fchown(fd, 99, -1)
    assert (os.stat("f").st_uid, os.stat("f").st_gid, moved("f", before)) == (99, 88, "c")


# Set-gid without execution by the group stands for mandatory locking, and stays.
_KEPT = {0o4777: 0o777, 0o2777: 0o777, 0o6777: 0o777, 0o2767: 0o2767, 0o4666: 0o666, 0o1666: 0o1666}


@pytest.mark.root("calls as several users")
@pytest.mark.parametrize("mode", _KEPT)
@pytest.mark.parametrize("way", ["chown", "write", "append", "truncate", "ftruncate", "O_TRUNC"])
def test_set_uid_and_set_gid_go_with_the_old_owner_or_bytes(mode: int, way: str) -> None:
    _alices(mode=mode, gid=STAFF)
    if way == "chown":
        os.chown("f", -1, GUESTS)
    else:
        with BOB:
            _change(way)
    assert oct(mode_of("f")) == oct(_KEPT[mode])


def _change(way: str) -> None:
    if way == "truncate":
        os.truncate("f", 3)
    elif way == "O_TRUNC":
        os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))
    else:
        with opened("f", os.O_WRONLY | (os.O_APPEND if way == "append" else 0)) as fd:
            os.ftruncate(fd, 3) if way == "ftruncate" else os.write(fd, b"x")


@pytest.mark.root("calls as several users")
def test_folders_keep_their_bits_at_chown() -> None:
    os.mkdir("d")
    os.chmod("d", 0o7755)
    os.chown("d", ALICE.uid, STAFF)
    assert mode_of("d") == 0o7755


@pytest.mark.root("what root alone may do")
def test_by_root_a_write_keeps_the_bits() -> None:
    write_file("f", mode=0o6755)
    with opened("f", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"more")
    os.truncate("f", 2)
    os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))
    assert mode_of("f") == 0o6755


@pytest.mark.root("calls as several users")
def test_in_a_set_gid_folder_the_group_is_the_folders() -> None:
    os.mkdir("d")
    os.chown("d", ALICE.uid, STAFF)
    os.chmod("d", 0o2777)
    with CAROL:
        os.close(os.open("d/file", os.O_CREAT | os.O_WRONLY))
        os.mkdir("d/folder")
        os.mkdir("d/folder/deeper")
        os.mkfifo("d/fifo")
        os.symlink("x", "d/link")
    assert {os.lstat(f"d/{name}").st_gid for name in ("file", "folder", "folder/deeper", "fifo", "link")} == {STAFF}
    assert {mode_of(f"d/{name}") & stat.S_ISGID for name in ("folder", "folder/deeper")} == {stat.S_ISGID}
    assert mode_of("d/file") & stat.S_ISGID == 0


@pytest.mark.root("calls as several users")
def test_in_a_set_gid_folder_nobody_smuggles_in_a_set_gid_program() -> None:
    os.mkdir("d")
    os.chown("d", ALICE.uid, STAFF)
    os.chmod("d", 0o2777)
    os.umask(0)
    with CAROL:
        os.close(os.open("d/foreign", os.O_CREAT | os.O_WRONLY, 0o2775))
    with BOB:
        os.close(os.open("d/member", os.O_CREAT | os.O_WRONLY, 0o2775))
    assert (mode_of("d/foreign"), mode_of("d/member")) == (0o775, 0o2775)


@pytest.mark.root("calls as several users")
def test_a_set_uid_program_runs_as_its_owner() -> None:
    """The mount of these tests has `-o suid`."""
    shutil.copy("/usr/bin/id", "whoami")
    os.chown("whoami", ALICE.uid, ALICE.gid)
    os.chmod("whoami", 0o6755)
    done = subprocess.run(
        ["./whoami", "-u"], capture_output=True, check=True, user=CAROL.uid, group=CAROL.gid, extra_groups=[]
    )
    assert int(done.stdout) == ALICE.uid


@pytest.mark.root("calls as several users")
def test_removing_needs_the_folder_not_the_file() -> None:
    os.mkdir("d")
    os.chown("d", ALICE.uid, ALICE.gid)
    write_file("d/roots", mode=0o600)
    with ALICE:
        os.unlink("d/roots")
    assert os.listdir("d") == []


@pytest.mark.root("calls as several users")
def test_access_asks_for_the_real_user() -> None:
    """access(2) judges by the real ids: here root's, whoever the file system takes the thread for."""
    write_file("f", mode=0)
    assert os.access("f", os.R_OK | os.W_OK)
    assert not os.access("f", os.X_OK)
    os.chmod("f", 0o100)
    assert os.access("f", os.X_OK)
