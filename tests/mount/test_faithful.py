"""A server that gives no upload back, as the service is: what can be read, what cannot, and what it says (R1, R2)."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import FaultyServer, faulty_server
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, eventually, ops, remote, run, shell, stored

# Content of others goes from the disk beyond this; what only this machine has must not.
CROWDED = {"REMOTEFS_CACHE_EVICTABLE_BYTES": str(1 << 20)}
OWN = {"notes.txt": b"my own words\n", "deep/er/data.bin": random.Random(1).randbytes(700_000)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


@pytest.fixture
def writer(make_mount: MakeMount) -> Mounted:
    """The machine that the uploads come from."""
    mount = make_mount(settings=CROWDED)
    for name, content in OWN.items():
        (mount.path / name).parent.mkdir(parents=True, exist_ok=True)
        (mount.path / name).write_bytes(content)
    return mount


def test_elsewhere_the_tree_is_seen_and_uploads_are_refused_with_the_reason(
    writer: Mounted, make_mount: MakeMount
) -> None:
    other = make_mount()

    assert shell("find . -type f -printf '%P %s\\n' | sort", other.path).split("\n")[:-1] == [
        f"{name} {len(content)}" for name, content in sorted(OWN.items())
    ]
    done = run("cat", other.path / "notes.txt", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Permission denied" in done.stderr
    assert other.xattr("notes.txt", "readable").startswith("no: ")
    assert other.xattr("notes.txt", "downloadable") == "false"
    assert other.xattr("notes.txt", "id") == writer.xattr("notes.txt", "id")


def test_every_open_that_needs_the_bytes_is_refused(writer: Mounted, make_mount: MakeMount) -> None:
    other = make_mount()

    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_APPEND):
        with pytest.raises(PermissionError):
            os.open(other.path / "notes.txt", flags)
    with pytest.raises(PermissionError):
        os.truncate(other.path / "notes.txt", 5)
    assert (other.path / "notes.txt").stat().st_size == len(OWN["notes.txt"])


def test_a_file_that_cannot_be_read_can_be_replaced_moved_and_removed(
    server: FaultyServer, writer: Mounted, make_mount: MakeMount
) -> None:
    other = make_mount()

    (other.path / "notes.txt").write_bytes(b"replaced over there\n")
    (other.path / "deep" / "er" / "data.bin").rename(other.path / "moved.bin")

    assert (other.path / "notes.txt").read_bytes() == b"replaced over there\n"
    other.flush()
    # Its bytes are not here, so the service keeps it under its name, and the new path is an alias (W7).
    assert other.xattr("moved.bin", "state") == "alias"
    assert stored(server) == {"notes.txt": b"replaced over there\n", "deep/er/data.bin": OWN["deep/er/data.bin"]}
    (other.path / "moved.bin").unlink()
    other.flush()
    assert stored(server) == {"notes.txt": b"replaced over there\n"}


def test_a_generated_file_is_read_byte_for_byte_with_one_request(server: FaultyServer, make_mount: MakeMount) -> None:
    chart = random.Random(2).randbytes(3_000_001)
    server.store.add_generated("chart.png", chart)
    mount = make_mount()

    assert mount.xattr("chart.png", "readable") == "yes"
    assert (mount.path / "chart.png").read_bytes() == chart
    assert (mount.path / "chart.png").read_bytes() == chart
    assert ops(server) == ["content"]


def test_a_generated_file_shows_up_while_the_mount_is_up(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount()
    assert os.listdir(mount.path) == []
    assert not (mount.path / "out").exists()

    server.store.add_generated(remote("out/late.csv"), b"1,2\n")

    eventually(lambda: (mount.path / "out").exists())
    assert (mount.path / "out" / "late.csv").read_bytes() == b"1,2\n"
    assert os.listdir(mount.path) == ["out"]


def test_editing_a_generated_file_keeps_the_original_beside_it(server: FaultyServer, make_mount: MakeMount) -> None:
    made = server.store.add_generated("report.txt", b"generated\n")
    mount = make_mount()

    shell("echo edited >> report.txt", mount.path)

    assert (mount.path / "report.txt").read_bytes() == b"generated\nedited\n"
    mount.flush()
    assert server.store.get(made.id).filename == "report.txt"
    eventually(lambda: sorted(os.listdir(mount.path)) == [f"report [{made.id}].txt", "report.txt"])
    assert (mount.path / f"report [{made.id}].txt").read_bytes() == b"generated\n"


def test_own_uploads_stay_readable_after_cache_pressure_and_a_remount(
    server: FaultyServer, writer: Mounted, make_mount: MakeMount
) -> None:
    for number in range(4):
        server.store.add_generated(f"big{number}", random.Random(number).randbytes(1 << 20))
    eventually(lambda: len(os.listdir(writer.path)) == 6)
    for number in range(4):
        assert (writer.path / f"big{number}").read_bytes() == random.Random(number).randbytes(1 << 20)

    assert writer.status().content.evictable_bytes <= 1 << 20
    writer.flush()
    writer.remount()

    shell("mv notes.txt renamed.txt", writer.path)
    for name, content in (OWN | {"renamed.txt": OWN["notes.txt"]}).items():
        if name != "notes.txt":
            assert (writer.path / name).read_bytes() == content
            assert writer.xattr(name, "readable") == "yes"
    assert writer.status().content.pinned_bytes == sum(map(len, OWN.values()))
    # Evicted content of others is fetched again.
    assert (writer.path / "big0").read_bytes() == random.Random(0).randbytes(1 << 20)


def test_a_file_that_goes_while_it_is_read_is_stale(server: FaultyServer, make_mount: MakeMount) -> None:
    content = random.Random(3).randbytes(40 << 20)
    made = server.store.add_generated("video.mp4", content)
    mount = make_mount(settings={"REMOTEFS_CACHE_READAHEAD_BYTES": str(1 << 20)})
    with (mount.path / "video.mp4").open("rb", buffering=0) as file:
        assert file.read(1000) == content[:1000]
        server.store.delete(made.id)
        assert os.pread(file.fileno(), 1000, 0) == content[:1000]
        # The stream under way has the file open at the server; far from it a request of its own is needed.
        with pytest.raises(OSError) as caught:
            os.pread(file.fileno(), 1000, 35 << 20)
    assert caught.value.errno == errno.ESTALE


def test_an_expired_file_is_not_shown(server: FaultyServer, make_mount: MakeMount) -> None:
    server.store.add("gone.txt", b"x", downloadable=True, expires_in_s=-60)
    server.store.add("stays.txt", b"x", downloadable=True, expires_in_s=4000)
    mount = make_mount()

    assert os.listdir(mount.path) == ["stays.txt"]
    assert mount.xattr("stays.txt", "expires_at").endswith("Z")


def test_the_only_copy_damaged_is_an_error_and_status_names_it(writer: Mounted) -> None:
    writer.flush()
    writer.end()
    file_id = ids_of(writer)["data.bin"]
    [path] = [path for path in (writer.state / "content").rglob(file_id) if path.is_file()]
    with path.open("r+b") as file:
        file.seek(400_000)
        file.write(b"\0\0\0\0")
    writer.started()

    with pytest.raises(OSError) as caught:
        (writer.path / "deep" / "er" / "data.bin").read_bytes()
    assert caught.value.errno == errno.EIO
    assert len(writer.status().damaged) == 1
    assert (writer.path / "notes.txt").read_bytes() == OWN["notes.txt"]
    writer.may_log_tracebacks = True


def ids_of(mount: Mounted) -> dict[str, str]:
    """The file id of each name, as the database of a mount that has ended has it."""
    rows = run("sqlite3", mount.state / "state.db", "select name, file_id from dentry join inode using (ino)").stdout
    return dict(row.split("|") for row in rows.splitlines())
