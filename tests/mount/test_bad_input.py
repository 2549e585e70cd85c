"""What goes wrong at people's desks: each with a clear message, a non-zero exit, and nothing lost."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remotefs.server.records import FileRecord
from remotefs.server.shapes import page_token
from tests.faults import (
    KEY,
    CutBody,
    EditJson,
    FaultyServer,
    HalfBody,
    Raw,
    Reply,
    faulty_server,
    html_too_large,
    repeated_cursor,
)
from tests.mount.conftest import MakeMount, Scene
from tests.mount.support import (
    Mounted,
    detach,
    environment,
    eventually,
    is_mounted,
    is_running,
    mounted,
    ops,
    remote,
    remotefs,
    run,
    shell,
    stored,
)
from tests.server_process import running_server, seed_rows


def refusal(path: Path, *arguments: object, key: str | None = KEY, **settings: str) -> str:
    """What `remotefs mount` says when it does not mount; it leaves no mount and no process behind."""
    state = path.with_name(f"{path.name}-state")
    done = remotefs("mount", path, "--state-dir", state, *arguments, env=environment(key, settings))
    try:
        assert done.returncode != 0, done.stdout + done.stderr
        assert not is_mounted(path)
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("remotefs: ")
        if key:
            assert key not in done.stdout + done.stderr
    finally:
        detach(path)
    return done.stderr


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mnt"
    path.mkdir()
    return path


def closed_port() -> str:
    """An address where nobody listens."""
    return "http://127.0.0.1:9"


class TestTheMountCommand:
    def test_no_key(self, mountpoint: Path) -> None:
        said = refusal(mountpoint, key=None)
        assert "ANTHROPIC_API_KEY" in said
        assert "--local" in said

    def test_a_wrong_key(self, server: FaultyServer, mountpoint: Path) -> None:
        said = refusal(mountpoint, "--base-url", server.url, key="sk-not-this-one")
        assert "401" in said
        assert "key" in said.lower()

    def test_a_key_that_may_not(self, server: FaultyServer, mountpoint: Path) -> None:
        server.script.add(Reply(403), times=None)
        assert "403" in refusal(mountpoint, "--base-url", server.url)

    def test_a_server_that_is_down_at_the_first_mount(self, mountpoint: Path) -> None:
        said = refusal(mountpoint, "--base-url", closed_port(), REMOTEFS_SERVICE_REQUEST_DEADLINE_S="3")
        assert "connect to 127.0.0.1:9 failed" in said

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(HalfBody(), id="half"),
            pytest.param(Raw(b"not even HTTP"), id="raw", marks=pytest.mark.long),
            pytest.param(Reply(200, b"<html>proxy</html>"), id="html", marks=pytest.mark.long),
            pytest.param(Reply(200, {"data": [{"id": 7}]}), id="odd"),
        ],
    )
    def test_a_listing_that_cannot_be(
        self, server: FaultyServer, mountpoint: Path, fault: HalfBody | Raw | Reply
    ) -> None:
        server.store.add_generated("f", b"x")
        server.script.add(fault, op="list", times=None)
        said = refusal(mountpoint, "--base-url", server.url, REMOTEFS_SERVICE_REQUEST_DEADLINE_S="3")
        assert "list" in said

    def test_a_listing_whose_cursor_repeats(self, server: FaultyServer, mountpoint: Path, tmp_path: Path) -> None:
        seed_rows(tmp_path / "server", 1100)
        server.script.add(repeated_cursor(), op="list", times=None)
        said = refusal(mountpoint, "--base-url", server.url)
        assert "repeats its cursors" in said

    def test_a_mountpoint_that_is_missing(self, server: FaultyServer, tmp_path: Path) -> None:
        assert "does not exist" in refusal(tmp_path / "nowhere", "--base-url", server.url)

    def test_a_mountpoint_that_is_not_empty(self, server: FaultyServer, mountpoint: Path) -> None:
        (mountpoint / "precious").write_text("x")
        said = refusal(mountpoint, "--base-url", server.url)
        assert "not empty" in said
        assert "precious" in said
        assert (mountpoint / "precious").read_text() == "x"

    def test_a_mountpoint_that_is_a_file(self, server: FaultyServer, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        assert "not a folder" in refusal(tmp_path / "file", "--base-url", server.url)
        assert (tmp_path / "file").read_text() == "x"

    def test_a_mountpoint_that_is_in_use(self, mount: Mounted) -> None:
        done = mount.start()
        assert done.returncode != 0
        assert "already" in done.stderr
        assert f"process {mount.pid}" in done.stderr
        (mount.path / "still").write_text("here")

    def test_a_state_folder_that_is_in_use(self, mount: Mounted, mountpoint: Path) -> None:
        done = remotefs("mount", mountpoint, *mount.arguments, "--state-dir", mount.state,
                        env=mount.env | {"REMOTEFS_MOUNT_TAKEOVER_WAIT_S": "0.2"})  # fmt: skip
        detach(mountpoint)
        assert done.returncode != 0
        assert str(mount.path) in done.stderr
        (mount.path / "still").write_text("here")

    def test_a_setting_that_is_none(self, mountpoint: Path) -> None:
        said = refusal(mountpoint, "--local", REMOTEFS_CACHE_MEMORY_BYTES="lots")
        assert "memory_bytes" in said.lower()

    def test_state_within_the_mountpoint(self, server: FaultyServer, mountpoint: Path) -> None:
        done = remotefs(
            "mount", mountpoint, "--base-url", server.url, "--state-dir", mountpoint / "state", env=environment(KEY)
        )
        assert done.returncode != 0
        assert "lie in one another" in done.stderr
        assert os.listdir(mountpoint) == []


def test_another_accounts_state_folder_is_refused(server: FaultyServer, mount: Mounted, tmp_path: Path) -> None:
    (mount.path / "f").write_text("x")
    mount.end()
    with faulty_server(tmp_path / "other") as other:
        done = remotefs("mount", mount.path, "--state-dir", mount.state, "--base-url", other.url, env=mount.env)
        assert done.returncode != 0
        assert "account" in done.stderr
        assert not is_mounted(mount.path)
        assert ops(other) == []
    assert stored(server) == {"f": b"x"}


class TestTheServerGoesAway:
    def test_a_mount_that_was_listed_once_starts_and_works_without_it(
        self, tmp_path: Path, make_mount: MakeMount
    ) -> None:
        with faulty_server(tmp_path / "gone") as gone:
            gone.store.add_generated("theirs.txt", b"never read here")
            mount = make_mount(of=gone, settings={
                "REMOTEFS_SERVICE_REQUEST_DEADLINE_S": "1", "REMOTEFS_MOUNT_SIGNAL_DRAIN_S": "0.2",
            })  # fmt: skip
            (mount.path / "mine.txt").write_text("mine")
            mount.end()
        done = mount.start()

        assert done.returncode == 0, done.stderr
        assert sorted(os.listdir(mount.path)) == ["mine.txt", "theirs.txt"]
        assert (mount.path / "mine.txt").read_text() == "mine"
        with pytest.raises(OSError):
            (mount.path / "theirs.txt").read_bytes()
        (mount.path / "new.txt").write_text("written offline")
        assert (mount.path / "new.txt").read_text() == "written offline"
        (mount.path / "mine.txt").rename(mount.path / "ours.txt")
        status = mount.status()
        assert not status.online
        assert status.trouble

    def test_during_a_copy_the_copy_goes_on_and_all_arrives_when_it_is_back(self, tmp_path: Path) -> None:
        root, source = tmp_path / "root", tmp_path / "source"
        source.mkdir()
        for number in range(60):
            (source / f"f{number}").write_bytes(str(number).encode() * 1000)
        with (
            running_server(root) as server,
            mounted(tmp_path, server.url, server.key, settings={"REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "2"}) as mount,
        ):
            copy = subprocess.Popen(["cp", "-r", source, mount.path / "copy"], stderr=subprocess.PIPE, text=True)
            eventually(lambda: (mount.path / "copy" / "f7").exists() or copy.poll() is not None)
            server.stop(signal.SIGKILL)
            _, complaints = copy.communicate(timeout=60)
            assert (copy.returncode, complaints) == (0, "")

            run("diff", "-r", source, mount.path / "copy")
            left = mount.umount(1)
            assert left.returncode == 3
            assert "nothing is lost" in left.stderr
            assert "copy/" in left.stderr
            with running_server(root, "--port", server.url.rpartition(":")[2]):
                mount.started()
                run("diff", "-r", source, mount.path / "copy")
                mount.flush()
        names = run("sqlite3", root / "files.db", "select filename from files").stdout.split()
        assert sorted(names) == sorted(remote(f"copy/f{number}") for number in range(60))


class TestAnswers:
    def test_a_name_that_the_service_refuses(self, scene: Scene) -> None:
        refuse = Reply(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "filename: no"}})
        scene.server.script.add(refuse, op="upload", times=None)
        done = run("cp", "/etc/hostname", scene.folder / "odd name", check=False)

        assert done.returncode == 1
        assert "Invalid argument" in done.stderr
        assert (scene.folder / "odd name").read_bytes() == Path("/etc/hostname").read_bytes()
        assert "filename: no" in scene.state("odd name")
        (scene.folder / "odd name").unlink()

    @pytest.mark.parametrize(("name", "number"), [("x" * 256, errno.ENAMETOOLONG), (b"\xff\xfe", errno.EILSEQ)])
    def test_names_that_cannot_be(self, scene: Scene, name: str | bytes, number: int) -> None:
        with pytest.raises(OSError) as caught:
            os.open(os.path.join(os.fsencode(scene.folder), os.fsencode(name)), os.O_CREAT | os.O_WRONLY)
        assert caught.value.errno == number

    def test_413_with_html_from_a_proxy(self, scene: Scene) -> None:
        scene.server.script.add(html_too_large(), op="upload", times=None)
        done = run("cp", "/etc/services", scene.folder, check=False)

        assert done.returncode == 1
        assert "File too large" in done.stderr
        run("cmp", "/etc/services", scene.folder / "services")
        assert "413" in scene.state("services")

    def test_a_download_cut_half_way_is_taken_up_again(self, scene: Scene) -> None:
        content = bytes(range(256)) * 8192
        scene.server.store.add_generated("cut.bin", content)
        eventually((scene.mount.path / "cut.bin").exists)
        scene.server.script.add(CutBody(300_000), op="content", times=2)

        assert (scene.mount.path / "cut.bin").read_bytes() == content

    @pytest.mark.long  # it is tried again for half a minute
    def test_a_download_that_is_always_cut_is_an_error_and_never_wrong_bytes(self, scene: Scene) -> None:
        content = bytes(range(256)) * 8192
        scene.server.store.add_generated("always.bin", content)
        eventually((scene.mount.path / "always.bin").exists)
        scene.server.script.add(CutBody(0), op="content", times=None)

        done = run("cat", scene.mount.path / "always.bin", check=False)
        assert done.returncode == 1
        assert "error" in done.stderr.lower()
        scene.server.script.clear()
        assert (scene.mount.path / "always.bin").read_bytes() == content


def test_a_broken_page_in_the_middle_of_a_run_removes_nothing(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount(settings={"REMOTEFS_SERVICE_REQUEST_DEADLINE_S": "0.5"})
    (mount.path / "f").write_text("x")
    for fault in (HalfBody(), EditJson(lambda page: page | {"data": 7})):
        rule = server.script.add(fault, op="list", times=None)
        # The second comes when the first was judged.
        eventually(lambda rule=rule: rule.hits >= 2)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert os.listdir(mount.path) == ["f"]
        assert (mount.path / "f").read_text() == "x"
        server.script.clear()
    (mount.path / "g").write_text("y")
    mount.flush()
    assert stored(server) == {"f": b"x", "g": b"y"}
    assert mount.status().online


def test_a_file_over_the_limit_is_refused_where_it_is_written(tmp_path: Path, make_mount: MakeMount) -> None:
    limit = 1 << 20
    with faulty_server(tmp_path / "small", max_file_bytes=limit) as small:
        told = make_mount(of=small, settings={"REMOTEFS_SERVICE_MAX_FILE_BYTES": str(limit)})
        done = run("dd", "if=/dev/zero", f"of={told.path}/f", "bs=64k", "count=17", check=False)
        assert done.returncode == 1
        assert "File too large" in done.stderr
        with pytest.raises(OSError) as caught:
            os.truncate(told.path / "f", limit + 1)
        assert caught.value.errno == errno.EFBIG
        # What was taken is there, and it fits.
        assert (told.path / "f").stat().st_size == limit
        told.flush()
        assert stored(small) == {"f": bytes(limit)}

        # A client that believes in more learns it from the service.
        untold = make_mount(of=small)
        with pytest.raises(OSError) as caught:
            (untold.path / "g").write_bytes(bytes(limit + 1))
        assert caught.value.errno == errno.EFBIG
        assert (untold.path / "g").stat().st_size == limit + 1
        assert "413" in untold.xattr("g", "state")


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", path)
    try:
        yield path
    finally:
        run("umount", "-l", path)


@pytest.mark.root("mounts of small disks")
def test_a_full_disk_under_the_state_folder(server: FaultyServer, make_mount: MakeMount, tmp_path: Path) -> None:
    server.store.add_generated("theirs.bin", os.urandom(1 << 20))
    theirs = stored(server)["theirs.bin"]
    with small_disk(tmp_path / "m1", "24m") as disk:
        mount = make_mount(settings={"REMOTEFS_CACHE_RESERVE_BYTES": str(4 << 20)})
        assert mount.state.parent == disk
        (mount.path / "first").write_bytes(os.urandom(1 << 20))
        # Else its bytes, which the service gives back, may have to make room, and it keeps its old name there (W7).
        remotefs("pin", mount.path / "first")

        done = run("dd", "if=/dev/urandom", f"of={mount.path}/big", "bs=128k", "count=400", check=False)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        # Reading works without a cache, and so do all names; what was acknowledged is there.
        assert (mount.path / "theirs.bin").read_bytes() == theirs
        assert len((mount.path / "first").read_bytes()) == 1 << 20
        (mount.path / "first").rename(mount.path / "second")
        (mount.path / "folder").mkdir()
        kept = (mount.path / "big").stat().st_size
        assert len((mount.path / "big").read_bytes()) == kept > 0
        (mount.path / "big").unlink()
        eventually(
            lambda: (
                run("dd", "if=/dev/urandom", f"of={mount.path}/again", "bs=128k", "count=8", check=False).returncode
                == 0
            )
        )
        shell("rm again", mount.path)
        mount.flush()
        assert sorted(stored(server)) == ["second", "theirs.bin"]
        mount.end()


def ever_new_files(record: FileRecord) -> EditJson:
    """Pages of files that nobody has seen before, in the likeness of one; with ever new cursors to before that one."""
    numbers = itertools.count()

    def edit(page: dict[str, Any]) -> dict[str, Any]:
        first = next(numbers)
        files = [page["data"][0] | {"id": f"file_{first}x{n}", "filename": f"{first}x{n}"} for n in range(1000)]
        return page | {"data": files, "next_page": page_token(replace(record, created_us=10**17 + first))}

    return EditJson(edit)


@pytest.mark.root("mounts of small disks")
def test_a_first_listing_that_never_ends_leaves_room_on_the_disk(
    server: FaultyServer, mountpoint: Path, tmp_path: Path
) -> None:
    only = server.store.add_generated("f", b"x")
    server.script.add(ever_new_files(only), op="list", times=None)
    with small_disk(tmp_path / "mnt-state", "32m") as disk:
        said = refusal(mountpoint, "--base-url", server.url, REMOTEFS_CACHE_RESERVE_BYTES=str(4 << 20))
        assert "no room for more" in said
        assert "in reserve; make room on it" in said
        space = os.statvfs(disk)
        assert space.f_bavail * space.f_frsize > 3 << 20


def fill(disk: Path) -> Path:
    """Another process takes all that is left of a disk, to the last byte; again what was given up since."""
    hog = disk / "hog"
    run("bash", "-c", f"cat /dev/zero >> {hog}; head -c 4096 /dev/zero >> {hog}", check=False)
    return hog


def is_made(folder: Path) -> bool:
    """Whether there was room for a folder more."""
    return run("mkdir", folder, check=False).returncode == 0


@pytest.mark.root("only root can mount a small disk")
def test_a_disk_that_others_fill_ends_neither_the_mount_nor_what_is_pending(
    server: FaultyServer, make_mount: MakeMount, tmp_path: Path
) -> None:
    """Uploads fail, and not even that can be noted: the mount stays, says so, and goes on when there is room."""
    with small_disk(tmp_path / "m1", "24m") as disk:
        mount = make_mount("--durability", "local", settings={"REMOTEFS_CACHE_RESERVE_BYTES": str(4 << 20)})
        server.script.add(Reply(503), op="upload", times=None)
        for number in range(30):
            (mount.path / f"f{number}").write_bytes(b"%d" % number)
        # The mount gives up what it has in reserve first, and takes it back where it can.
        eventually(lambda: fill(disk).exists() and "noting a failure" in str(mount.status().failures))
        eventually(lambda: fill(disk).exists() and mount.status().unwritable is not None)
        eventually(lambda: fill(disk).exists() and not is_made(mount.path / str(time.monotonic())))
        assert (mount.path / "f7").read_bytes() == b"7"
        assert is_running(mount.pid)
        fill(disk).unlink()
        server.script.clear()
        assert remotefs("retry", mount.path).returncode == 0
        mount.flush()
        assert stored(server) == {f"f{number}": b"%d" % number for number in range(30)}
        assert mount.status().unwritable is None
        checked = remotefs("check", mount.path)
        assert checked.returncode == 0, checked.stderr
        mount.end()


@pytest.mark.long
@pytest.mark.root("only root can mount a small disk")
def test_a_full_disk_in_the_drain_leaves_work_and_no_traceback(
    server: FaultyServer, make_mount: MakeMount, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "m1", "24m") as disk:
        mount = make_mount("--durability", "local", settings={"REMOTEFS_CACHE_RESERVE_BYTES": str(4 << 20)})
        server.script.add(Reply(503), op="upload", times=None)
        for number in range(30):
            (mount.path / f"f{number}").write_bytes(b"%d" % number)
        eventually(lambda: fill(disk).exists() and mount.status().unwritable is not None)
        left = mount.umount(timeout=3)
        assert (left.returncode, "Traceback" in left.stderr) == (3, False), left.stderr
        assert not is_mounted(mount.path)
        fill(disk).unlink()
        server.script.clear()
        mount.started()
        mount.flush()
        assert stored(server) == {f"f{number}": b"%d" % number for number in range(30)}
        mount.end()
