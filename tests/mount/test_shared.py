"""Two machines and a store that they share: what one writes, the other reads (X1, X2, X5)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.faults import FaultyServer, faulty_server
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, eventually, remotefs, shell

# All that `cp -a` keeps, a line each.
LOOKS = "find . -mindepth 1 -printf '%P %M %U %G %T@ %l %n\n' | sed -E '/ d/s/ [0-9]+$//' | sort"
OWN = {"notes.txt": b"my own words\n", "deep/er/data.bin": random.Random(1).randbytes(2_700_000), "empty": b""}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder that both machines have mounted."""
    folder = tmp_path / "nas"
    folder.mkdir()
    return folder


Machine = Callable[[], Mounted]


@pytest.fixture
def machine(make_mount: MakeMount, store: Path) -> Machine:
    """Another machine with the store."""
    return lambda: make_mount(settings={"REMOTEFS_SHARED_STORE": f"file://{store}"})


def write_all(folder: Path) -> None:
    for name, content in OWN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_one_machine_reads_all_that_another_wrote(machine: Machine, tmp_path: Path) -> None:
    one, two = machine(), machine()
    write_all(tmp_path / "source")
    shell(
        "mkdir none; ln -s ../notes.txt deep/link; ln notes.txt deep/hard; mkfifo deep/pipe; chmod 600 notes.txt;"
        "chmod 711 deep/er; touch -d '2001-02-03 04:05:06.7' notes.txt none deep/er deep",
        tmp_path / "source",
    )
    shell(f"cp -a {tmp_path}/source {one.path}/tree", tmp_path)
    one.flush()
    wanted = shell(LOOKS, tmp_path / "source")
    eventually(lambda: (two.path / "tree").is_dir() and shell(LOOKS, two.path / "tree") == wanted)
    for name, content in OWN.items():
        assert (two.path / "tree" / name).read_bytes() == content
    shared = one.status().shared
    assert shared is not None
    assert (shared.stored_files, shared.waiting_files, shared.trouble) == (len(OWN) - 1, 0, None)


def test_what_was_acknowledged_is_readable_elsewhere_after_a_kill_and_the_loss_of_the_disk(
    machine: Machine, tmp_path: Path
) -> None:
    one = machine()
    write_all(one.path)
    one.kill()
    shell("rm -rf content staging state.db*", one.state)
    two = machine()
    for name, content in list(OWN.items())[:2]:
        assert (two.path / name).read_bytes() == content


@pytest.mark.long
def test_a_command_brings_all_back_without_a_mount(
    machine: Machine, server: FaultyServer, store: Path, tmp_path: Path
) -> None:
    one = machine()
    write_all(one.path)
    shell("chmod 600 notes.txt; ln -s deep link; mkdir none; touch -d '2001-02-03 04:05:06.7' none", one.path)
    one.flush()
    wanted = shell(LOOKS, one.path).splitlines()
    one.kill()
    [damaged] = [path for path in store.glob("*/c/*/*") if path.stat().st_size < 200]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    done = recovered(one, server, tmp_path / "out")
    assert (done.returncode, "notes.txt" in done.stderr, "damaged" in done.stderr) == (3, True, True), done.stderr
    found = shell(LOOKS, tmp_path / "out").splitlines()
    assert found == [line for line in wanted if not line.startswith("notes.txt ")]
    assert (tmp_path / "out/deep/er/data.bin").read_bytes() == OWN["deep/er/data.bin"]


def recovered(machine: Mounted, server: FaultyServer, to: Path) -> CompletedProcess[str]:
    """Run the command with the key and the store of a machine."""
    env = machine.env | {"XDG_DATA_HOME": str(to.with_name("data"))}
    return remotefs("recover", "--base-url", server.url, "--to", to, env=env)


@pytest.mark.long
def test_what_was_uploaded_before_goes_there_by_a_command(make_mount: MakeMount, machine: Machine, store: Path) -> None:
    one = make_mount()
    write_all(one.path)
    one.flush()
    refused = remotefs("share", one.path)
    assert (refused.returncode, "no shared store" in refused.stderr) == (2, True)
    one.umount()
    one.env["REMOTEFS_SHARED_STORE"] = f"file://{store}"
    one.started()
    done = remotefs("share", one.path)
    assert "2 files, 2.6 MiB put into the shared store" in done.stderr
    two = machine()
    assert (two.path / "deep/er/data.bin").read_bytes() == OWN["deep/er/data.bin"]


@pytest.mark.long
def test_flush_and_umount_say_what_the_store_does_not_have(machine: Machine, store: Path) -> None:
    one = machine()
    (one.path / "before").write_bytes(b"before")
    store.rename(store.with_name("unplugged"))
    (one.path / "during").write_bytes(b"during")
    flushed = remotefs("flush", "--timeout", "2s", one.path)
    assert flushed.returncode == 3
    assert "during: not in the shared store yet" in flushed.stderr
    shared = one.status().shared
    assert shared is not None
    assert (shared.waiting_files, shared.trouble is not None) == (1, True)
    begun = time.monotonic()
    assert one.umount().returncode == 3
    # It does not wait a minute for a store that is out of reach.
    assert time.monotonic() - begun < 30
    store.with_name("unplugged").rename(store)
    one.started()
    remotefs("flush", one.path)
    assert one.umount().returncode == 0


@pytest.mark.long
def test_uploads_that_the_store_has_may_be_evicted_by_command(machine: Machine) -> None:
    one = machine()
    for name in ("a", "b", "c"):
        (one.path / name).write_bytes(name.encode() * 1_000_000)
    one.flush()
    pinned = remotefs("pin", one.path / "b")
    assert "1 files are pinned" in pinned.stderr
    info = remotefs("cache", "info", "--mount", one.path).stdout
    assert "of these uploads" in info
    assert "in 2 files; only when the disk is short" in info
    trimmed = remotefs("cache", "trim", "--mount", one.path)
    assert "2 files evicted" in trimmed.stderr
    checked = remotefs("check", one.path)
    assert (checked.returncode, checked.stderr) == (0, "remotefs: clean\n")
    # Nobody is asked, because the store has it.
    assert "1 files unpinned" in remotefs("unpin", one.path / "b").stderr
    assert "1 files evicted" in remotefs("cache", "trim", "--mount", one.path).stderr
    for name in ("a", "b", "c"):
        assert (one.path / name).read_bytes() == name.encode() * 1_000_000
