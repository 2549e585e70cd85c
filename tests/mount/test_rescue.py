"""A damaged state folder: what was acknowledged comes back, by mounting where that can be, else by check and export."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import FaultyServer, Reply, faulty_server
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, is_mounted, remotefs, stored
from tests.sampling import each_once

NAMES = sorted(f"d/f{number}" for number in range(12))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    """As the service: what was uploaded cannot be read back."""
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


@pytest.fixture
def killed(make_mount: MakeMount, server: FaultyServer) -> Mounted:
    """Twelve files were written while nothing could be uploaded, then the process was killed."""
    mount = make_mount("--durability", "local", settings={"REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "3600"})
    (mount.path / "d").mkdir()
    for name in NAMES:
        (mount.path / name).write_bytes(name.encode() * 100)
    mount.kill()
    return mount


def flip(state: Path) -> None:
    log = bytearray((state / "state.db-wal").read_bytes())
    log[len(log) // 2] ^= 0x10
    (state / "state.db-wal").write_bytes(log)


def without_log(state: Path) -> None:
    (state / "state.db-wal").unlink()


def without_database(state: Path) -> None:
    for file in state.glob("state.db*"):
        file.unlink()


@pytest.mark.parametrize(
    "damage",
    [*(pytest.param(harm, marks=pytest.mark.long) for harm in (flip, without_log)), without_database],
    ids=lambda damage: damage.__name__,
)
def test_files_whose_rows_are_lost_are_back_at_the_next_mount(
    killed: Mounted, server: FaultyServer, damage: Callable[[Path], None]
) -> None:
    damage(killed.state)
    killed.env["REMOTEFS_WRITEBACK_UPLOAD_DELAY_S"] = "0.1"
    begun = killed.start()
    assert (begun.returncode, "records were lost are back" in begun.stderr) == (0, True), begun.stderr
    assert {name: (killed.path / name).read_bytes() for name in NAMES} == {name: name.encode() * 100 for name in NAMES}
    killed.flush()
    assert sorted(stored(server)) == NAMES
    checked = remotefs("check", killed.path)
    assert checked.returncode == 0, checked.stderr


def overwritten(database: Path) -> None:
    with database.open("r+b") as file:
        file.write(os.urandom(100))


def truncated(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def flipped(database: Path) -> None:
    data = bytearray(database.read_bytes())
    chance = random.Random(7)
    for _ in range(3):
        data[chance.randrange(100, len(data))] ^= 1 << chance.randrange(8)
    database.write_bytes(data)


@pytest.mark.parametrize(
    "spoil",
    [overwritten, *(pytest.param(spoil, marks=pytest.mark.long) for spoil in (truncated, flipped))],
    ids=lambda spoil: spoil.__name__,
)
@pytest.mark.long
def test_with_a_damaged_database_export_saves_the_bytes_and_repair_the_folder(
    killed: Mounted, server: FaultyServer, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """The log was taken in before, so that the damage is to all there is."""
    assert remotefs("check", "--state-dir", killed.state).returncode == 0
    spoil(killed.state / "state.db")
    saved = remotefs("export", "--state-dir", killed.state, ".", tmp_path / "saved")
    assert "Traceback" not in saved.stderr
    assert {name: (tmp_path / "saved" / name).read_bytes() for name in NAMES} == {n: n.encode() * 100 for n in NAMES}
    told = remotefs("check", "--state-dir", killed.state)
    assert (told.returncode, "--repair" in told.stderr) in {(1, True), (0, False)}, told.stderr
    repaired = remotefs("check", "--repair", "--state-dir", killed.state)
    assert repaired.returncode == 0, repaired.stderr
    killed.env["REMOTEFS_WRITEBACK_UPLOAD_DELAY_S"] = "0.1"
    killed.started()
    found = {path.name: path.read_bytes() for path in killed.path.rglob("f*") if path.is_file()}
    assert found == {name.removeprefix("d/"): name.encode() * 100 for name in NAMES}
    killed.flush()
    assert len(stored(server)) == len(NAMES)


def test_a_database_that_is_damaged_is_not_mounted_and_says_what_to_do(killed: Mounted) -> None:
    assert remotefs("check", "--state-dir", killed.state).returncode == 0  # takes the log in
    overwritten(killed.state / "state.db")
    refused = killed.start()
    assert refused.returncode == 1
    assert "remotefs check --repair --state-dir" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not is_mounted(killed.path)


@pytest.mark.long
def test_what_was_uploaded_is_readable_after_its_rows_are_gone(
    make_mount: MakeMount, server: FaultyServer, tmp_path: Path
) -> None:
    """The service gives no upload back: the pinned bytes are all there is, and the listing says what they are."""
    mount = make_mount()
    (mount.path / "d").mkdir()
    (mount.path / "d" / "f").write_bytes(b"only here")
    mount.flush()
    assert mount.umount().returncode == 0
    without_database(mount.state)
    shutil.rmtree(mount.state / "copies")
    saved = remotefs("export", "--state-dir", mount.state, ".", tmp_path / "saved")
    assert (tmp_path / "saved" / "d" / "f").read_bytes() == b"only here", saved.stderr
    mount.started()
    assert (mount.path / "d" / "f").read_bytes() == b"only here"
    assert sorted(stored(server)) == ["d/f"]


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(("repair", "lose"), each_once([True, False], [missing, empty]))
def test_a_clean_end_leaves_a_copy_from_which_the_tree_is_made_again(
    make_mount: MakeMount, lose: Callable[[Path], None], *, repair: bool
) -> None:
    """What only this machine knows of, an empty folder and a link, is in no listing."""
    mount = make_mount()
    (mount.path / "empty").mkdir()
    (mount.path / "link").symlink_to("empty")
    (mount.path / "f").write_bytes(b"bytes")
    mount.flush()
    assert mount.umount().returncode == 0
    lose(mount.state / "state.db")
    if repair:
        assert remotefs("check", "--repair", "--state-dir", mount.state).returncode == 0
    begun = mount.start()
    assert begun.returncode == 0, begun.stderr
    assert sorted(os.listdir(mount.path)) == ["empty", "f", "link"]
    assert os.readlink(mount.path / "link") == "empty"
    assert (mount.path / "f").read_bytes() == b"bytes"


def test_a_backup_of_a_working_mount_can_be_mounted(
    make_mount: MakeMount, server: FaultyServer, tmp_path: Path
) -> None:
    mount = make_mount("--durability", "local", settings={"REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "3600"})
    (mount.path / "sent").write_text("sent")
    mount.flush()
    (mount.path / "waits").write_text("waits")
    with (mount.path / "writing").open("w") as file:
        file.write("half")
        file.flush()
        made = remotefs("backup", tmp_path / "copy", mount.path)
        assert (made.returncode, "4 files" in made.stderr) == (0, True), made.stderr
        again = remotefs("backup", tmp_path / "copy", mount.path)
        assert (again.returncode, "not empty" in again.stderr) == (1, True)
        inside = remotefs("backup", mount.path / "copy", mount.path)
        assert (inside.returncode, "in the mount itself" in inside.stderr) == (1, True)
    # What the mount sent after the backup would be a file of others to the copy.
    server.script.add(Reply(503), op="upload", times=None)
    mount.umount(0)
    server.script.clear()
    mount.state = tmp_path / "copy"
    mount.started()
    assert {file.name: file.read_text() for file in mount.path.iterdir() if file.is_file()} == {
        "sent": "sent",
        "waits": "waits",
        "writing": "half",
    }
    checked = remotefs("check", mount.path)
    assert checked.returncode == 0, checked.stderr
