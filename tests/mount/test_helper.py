"""`mount.fuse.remotefs` on real mounts: by hand, and by mount(8) with a line of fstab."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import KEY, FaultyServer
from tests.mount.support import detach, environment, eventually, is_mounted, is_running, run

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path, server: FaultyServer) -> Path:
    """A settings file with the profile `work`."""
    file = tmp_path / "config.toml"
    file.write_text(
        "[service]\nrequests_per_minute = 0\n[mount]\nsignal_drain_s = 3\n[cache]\nreserve_bytes = 1048576\n"
        f'reserve_fraction = 0.0\n[profile.work.service]\nbase_url = "{server.url}"\napi_key = "{KEY}"\n'
    )
    file.chmod(0o600)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mnt"
    folder.mkdir()
    yield folder
    if is_mounted(folder):
        detach(folder)


def helper(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "remotefs.cli.mount_helper", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=environment() if env is None else env
    )


def ended(state: Path) -> bool:
    return not is_running(int(json.loads((state / "lock").read_text())["pid"]))


def test_h2_it_is_silent_and_shows_its_source(settings: Path, folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    options = f"config={settings},state_dir={state},_netdev,nofail,x-systemd.automount,umask=077"
    # Nothing of an environment, as at boot: neither a search path nor a home.
    bare = {"PYTHONPATH": str(REPOSITORY)}
    done = helper("work", folder, "-o", f"rw,{options}", "-t", "fuse.remotefs", env=bare)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run("findmnt", "-n", "-o", "SOURCE,FSTYPE", folder).stdout.split() == ["work", "fuse.remotefs"]
    (folder / "f").write_text("one")
    assert (folder / "f").stat().st_mode & 0o777 == 0o700
    again = helper("work", folder, "-o", options)
    assert again.returncode == 32
    assert "is already a mountpoint" in again.stderr
    detach(folder)
    eventually(lambda: ended(state))


def test_h2_a_failure_is_told_in_the_words_of_its_process(settings: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a folder")
    done = helper("work", folder, "-o", f"config={settings},state_dir={tmp_path / 'state'}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mount.fuse.remotefs: the state folder")


SCRIPT = """
mount --make-rprivate /
mount --bind {sbin} /usr/sbin
mount --bind {fstab} /etc/fstab
trap 'umount -l {folder} 2>/dev/null || true' EXIT
bare="env -i PATH=/usr/bin:/bin"
$bare mount -a
grep -c ' {folder} ' /proc/self/mounts
$bare mount -a -v
grep -c ' {folder} ' /proc/self/mounts
echo one > {folder}/f
stat -c '%U %a' {folder}/f
$bare mount -o remount,ro {folder}
findmnt -n -o SOURCE,VFS-OPTIONS {folder}
grep -c ' {folder} ' /proc/self/mounts
touch {folder}/g 2>/dev/null || echo refused
$bare mount -o remount,rw,noexec {folder}
touch {folder}/g
findmnt -n -o VFS-OPTIONS {folder}
$bare umount work
grep -c ' {folder} ' /proc/self/mounts || true
$bare mount {folder}
ls {folder}
umount {folder}
$bare mount -t fuse.remotefs -o ro,config={settings},state_dir={state} work {folder}
cat {folder}/f
umount {folder}
$bare mount -t fuse.remotefs -o config={settings},stat_dir={state} work {folder} 2>&1 || echo $?
"""


@pytest.mark.long
@pytest.mark.root("changes the mounts of a namespace")
def test_h2_a_line_of_fstab(settings: Path, folder: Path, tmp_path: Path, server: FaultyServer) -> None:
    sbin, fstab, state = tmp_path / "sbin", tmp_path / "fstab", tmp_path / "state"
    sbin.mkdir()
    program = sbin / "mount.fuse.remotefs"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m remotefs.cli.mount_helper "$@"\n')
    program.chmod(0o755)
    options = f"config={settings},state_dir={state},uid=daemon,umask=027,_netdev,nofail,x-systemd.automount"
    fstab.write_text(f"work {folder} fuse.remotefs {options} 0 0\n")
    script = SCRIPT.format(sbin=sbin, fstab=fstab, folder=folder, settings=settings, state=state)
    lines = run("unshare", "-m", "bash", "-euc", script, env=environment()).stdout.splitlines()
    assert lines[0] == "1"
    assert lines[1].split(":")[1].strip() == "already mounted"
    assert lines[2:4] == ["1", "daemon 750"]
    source, flags = lines[4].split()
    assert source == "work"
    assert {"ro", "nosuid", "nodev"} <= set(flags.split(","))
    assert lines[5:7] == ["1", "refused"]
    assert {"rw", "nosuid", "nodev", "noexec"} <= set(lines[7].split(","))
    assert lines[8:12] == ["0", "f", "g", "one"]
    assert "did you mean state_dir" in lines[12]
    assert lines[13:] == ["1"]
    eventually(lambda: ended(state))
