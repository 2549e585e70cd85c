"""How a mount starts, ends, dies and comes back; and that its state is nobody else's business (A1, A3, A6, W6)."""

from __future__ import annotations

import errno
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults import KEY, FaultyServer, Hold, HoldReply, LostReply, Reply
from tests.mount.conftest import MakeMount, Scene
from tests.mount.support import Mounted, detach, eventually, is_mounted, is_running, ops, remotefs, run, shell, stored

LOCAL = ("--durability", "local")
# So far away that only a drain can be why it went up.
LATER = {
    "REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "3600",
    "REMOTEFS_WRITEBACK_EMPTY_GRACE_S": "3600",
    "REMOTEFS_MOUNT_SIGNAL_DRAIN_S": "30",
}


def by_command(mount: Mounted) -> None:
    done = mount.umount()
    assert done.returncode == 0, done.stderr


def by_the_kernels_tool(mount: Mounted) -> None:
    run("fusermount3", "-u", mount.path)


def by_sigterm(mount: Mounted) -> None:
    mount.signal(signal.SIGTERM)


def by_sigint(mount: Mounted) -> None:
    mount.signal(signal.SIGINT)


@pytest.mark.parametrize(
    "end",
    [by_the_kernels_tool, by_sigterm, *(pytest.param(end, marks=pytest.mark.long) for end in (by_command, by_sigint))],
)
def test_every_way_to_end_drains(server: FaultyServer, make_mount: MakeMount, end: Callable[[Mounted], None]) -> None:
    mount = make_mount(*LOCAL, settings=LATER)
    pid = mount.pid
    for number in range(5):
        (mount.path / f"f{number}").write_bytes(b"x" * number * 1000)
    (mount.path / "gone").write_text("x")
    (mount.path / "gone").unlink()
    assert ops(server) == []

    end(mount)
    eventually(lambda: not is_running(pid))

    assert not is_mounted(mount.path)
    assert stored(server) == {f"f{number}": b"x" * number * 1000 for number in range(5)}
    assert ops(server) == ["upload"] * 5
    with closing(sqlite3.connect(mount.state / "state.db")) as database:
        assert database.execute("SELECT * FROM intent").fetchall() == [], "the next mount has nothing to do"


def test_umount_says_what_is_left_and_the_next_mount_resumes_it(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount(*LOCAL)
    server.script.add(Reply(529), op="upload", times=None)
    (mount.path / "waits.txt").write_text("kept")

    done = mount.umount(1)
    assert done.returncode == 3
    assert "waits.txt" in done.stderr
    assert not is_mounted(mount.path)
    assert stored(server) == {}

    server.script.clear()
    mount.started()
    assert (mount.path / "waits.txt").read_text() == "kept"
    mount.flush()
    assert stored(server) == {"waits.txt": b"kept"}


def test_umount_of_a_busy_mount_says_so_and_loses_nothing(mount: Mounted) -> None:
    with (mount.path / "open").open("w") as file:
        file.write("not closed")
        file.flush()
        done = mount.umount(2)
        assert done.returncode == 1
        assert "busy" in done.stderr
        assert is_mounted(mount.path)
    assert (mount.path / "open").read_text() == "not closed"


def test_a_file_that_is_opened_while_umount_drains_keeps_it_mounted(
    server: FaultyServer, make_mount: MakeMount
) -> None:
    mount = make_mount(*LOCAL)
    held = server.script.add(HoldReply(), op="upload", times=None)
    (mount.path / "slow").write_text("held")
    held.wait_until_hit()
    command = [sys.executable, "-m", "remotefs", "umount", str(mount.path), "--timeout", "4"]
    with subprocess.Popen(command, env=mount.env, stderr=subprocess.PIPE, text=True) as umount:
        eventually(lambda: mount.status().draining)
        with (mount.path / "opened").open("w") as file:
            file.write("first ")
            file.flush()
            _, complaint = umount.communicate(timeout=30)
            assert (umount.returncode, "busy" in complaint) == (1, True), complaint
            file.write("last")
    server.script.clear()
    assert is_mounted(mount.path)
    assert mount.umount().returncode == 0
    assert stored(server) == {"slow": b"held", "opened": b"first last"}


def test_what_was_written_to_an_open_file_survives_a_sigterm(server: FaultyServer, make_mount: MakeMount) -> None:
    """Each write(2) that returned was acknowledged; the next mount uploads what it finds."""
    mount = make_mount(*LOCAL, settings={"REMOTEFS_MOUNT_SIGNAL_DRAIN_S": "1"})
    (mount.path / "log").write_bytes(b"start\n")
    mount.flush()
    pid = mount.pid
    written = b"start\n"
    log = os.open(mount.path / "log", os.O_WRONLY | os.O_APPEND)
    os.write(log, b"before\n")
    written += b"before\n"
    mount.signal(signal.SIGTERM)
    number = 0
    with suppress(OSError):
        while True:
            line = b"%06d\n" % number
            os.write(log, line)
            written += line
            number += 1
    with pytest.raises(OSError, match="not connected"):
        os.close(log)
    eventually(lambda: not is_running(pid))
    mount.started()
    found = (mount.path / "log").read_bytes()
    # A write that was under way when it ended may be there, too.
    assert found in {written, written + b"%06d\n" % number}
    mount.flush()
    assert stored(server) == {"log": found}


class TestKilled:
    def test_in_the_middle_of_writes_and_uploads_nothing_acknowledged_is_lost(
        self, server: FaultyServer, make_mount: MakeMount
    ) -> None:
        mount = make_mount(settings={"REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "0.2"})
        noise = random.Random(5)
        contents = {f"f{number}": noise.randbytes(noise.randrange(1, 300_000)) for number in range(40)}
        server.script.add(HoldReply(), op="upload", nth=4, times=2)
        server.script.add(Hold(), op="upload", nth=9, times=2)
        for name, content in list(contents.items())[:20]:
            (mount.path / name).write_bytes(content)
        shell("mv f0 moved; rm f1; mkdir -p d; mv f2 d/; echo more >> f3; ln -s f3 link", mount.path)
        wanted = {"moved": contents["f0"], "d/f2": contents["f2"], "f3": contents["f3"] + b"more\n"}
        wanted |= {name: contents[name] for name in list(contents)[4:20]}
        unclosed = os.open(mount.path / "unclosed", os.O_CREAT | os.O_WRONLY)
        os.write(unclosed, b"synced")
        os.fsync(unclosed)

        mount.kill()
        server.script.clear()
        with pytest.raises(OSError):
            os.close(unclosed)
        with pytest.raises(OSError) as caught:
            os.listdir(mount.path)
        assert caught.value.errno == errno.ENOTCONN

        mount.started()  # heals what the dead one left at the mountpoint

        # Written and synced, never closed: it is there, and goes up as it is (W3).
        wanted["unclosed"] = b"synced"
        for name, content in wanted.items():
            assert (mount.path / name).read_bytes() == content, name
        assert not (mount.path / "f1").exists()
        assert os.readlink(mount.path / "link") == "f3"
        mount.flush()
        assert stored(server) == wanted

    @pytest.mark.long
    def test_again_and_again_while_it_writes(self, server: FaultyServer, make_mount: MakeMount) -> None:
        mount = make_mount(*LOCAL)
        # What the killed ones were sending is the test above; here all of it is left to the last.
        server.script.add(Reply(529), op="upload", times=None)
        acknowledged: dict[str, bytes] = {}
        for life in range(3):
            writer = Writer(mount.path, f"life{life}-")
            eventually(lambda writer=writer: len(writer.closed) >= 15)  # type: ignore[misc]  # mypy cannot infer it
            mount.kill()
            acknowledged |= writer.join()
            mount.started()
            for name, content in acknowledged.items():
                assert (mount.path / name).read_bytes() == content, name
        server.script.clear()
        mount.flush()
        kept = stored(server)
        assert {name: kept.get(name) for name in acknowledged} == acknowledged
        # At most the one file of each life that was being written then.
        assert len(kept.keys() - acknowledged.keys()) <= 3

    def test_a_dead_mount_is_taken_away_by_umount_too(self, mount: Mounted) -> None:
        (mount.path / "f").write_text("x")
        mount.kill()

        done = mount.umount()

        assert done.returncode == 0
        assert "dead mount" in done.stderr
        assert not is_mounted(mount.path)


class Writer(threading.Thread):
    """Writes small files until the mount is gone; `closed` are those whose close returned."""

    def __init__(self, folder: Path, prefix: str) -> None:
        super().__init__()
        self._folder, self._prefix = folder, prefix
        self.closed: dict[str, bytes] = {}
        self.start()

    def run(self) -> None:
        number = 0
        while True:
            number += 1
            name, content = f"{self._prefix}{number}", os.urandom(number * 37 % 5000)
            try:
                (self._folder / name).write_bytes(content)
            except OSError:
                return
            self.closed[name] = content

    def join(self, timeout: float | None = 20) -> dict[str, bytes]:  # type: ignore[override]  # it gives what was done
        super().join(timeout)
        assert not self.is_alive()
        return self.closed


@pytest.mark.parametrize("also_killed", [False, True], ids=["alive", "killed"])
def test_a_lost_reply_leads_to_exactly_one_file(server: FaultyServer, make_mount: MakeMount, also_killed: bool) -> None:
    mount = make_mount(settings={"REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "0.5"})
    server.script.add(LostReply(), op="upload")
    (mount.path / "f").write_bytes(b"once")
    if also_killed:
        mount.kill()
        mount.started()

    mount.flush()

    assert stored(server) == {"f": b"once"}
    assert ops(server) == ["upload"]
    assert os.listdir(mount.path) == ["f"]
    assert mount.xattr("f", "state") == "clean"
    (mount.path / "f").unlink()
    mount.flush()
    assert stored(server) == {}


class TestErrorsNobodyForesees:
    """Provoked from outside, as another program or a broken disk would."""

    def test_a_broken_database_is_an_errno_in_the_log_and_the_mount_goes_on(self, scene: Scene) -> None:
        scene.mount.may_log_tracebacks = True
        path = scene.folder / "f"
        path.write_text("x")
        edit(scene.mount, "ALTER TABLE xattr RENAME TO hidden")

        with pytest.raises(OSError) as caught:
            os.setxattr(path, "user.note", b"x")
        assert caught.value.errno == errno.EIO
        assert "setxattr" in scene.mount.log()
        assert "Traceback" in scene.mount.log()
        assert path.read_text() == "x"
        edit(scene.mount, "ALTER TABLE hidden RENAME TO xattr")
        os.setxattr(path, "user.note", b"x")
        assert os.getxattr(path, "user.note") == b"x"

    def test_a_staging_folder_that_went_away_is_an_errno_and_the_mount_goes_on(self, scene: Scene) -> None:
        scene.mount.may_log_tracebacks = True
        path, staging = scene.folder / "f", scene.mount.state / "staging"
        path.write_text("x")
        eventually(lambda: not os.listdir(staging))
        staging.rename(scene.mount.state / "elsewhere")
        try:
            with pytest.raises(OSError) as caught:
                (scene.folder / "g").write_text("y")
            assert caught.value.errno == errno.EIO
            assert str(staging) in scene.mount.log()
            assert path.read_text() == "x"
        finally:
            (scene.mount.state / "elsewhere").rename(staging)
        (scene.folder / "g").write_text("y")
        assert scene.stored() == {"f": b"x", "g": b"y"}

    def test_rows_that_cannot_be_do_not_end_the_mount(self, scene: Scene) -> None:
        scene.mount.may_log_tracebacks = True
        shell("echo x > lost; mkdir odd", scene.folder)
        edit(scene.mount, "UPDATE inode SET mtime_ns = 'noon' WHERE ino = (SELECT ino FROM dentry WHERE name = 'odd')")
        edit(scene.mount, "UPDATE dentry SET ino = 99999 WHERE name = 'lost'")

        for name in ("lost", "odd", "."):
            run("ls", "-la", scene.folder / name, check=False)
        (scene.folder / "new").write_text("y")
        assert (scene.folder / "new").read_text() == "y"
        assert scene.mount.status().online


def edit(mount: Mounted, statement: str) -> None:
    """Change the database of a running mount behind its back."""
    with closing(sqlite3.connect(mount.state / "state.db", timeout=10)) as database, database:
        database.execute(statement)


def test_names_and_attributes_do_not_wait_for_a_service_that_hangs(server: FaultyServer, make_mount: MakeMount) -> None:
    server.store.add_generated("theirs", b"x" * 1000)
    mount = make_mount(settings={"REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "20"})
    (mount.path / "mine").write_text("x")
    held = server.script.add(Hold(), times=None)
    uploading = subprocess.Popen([sys.executable, "-c", f"open({str(mount.path / 'slow')!r}, 'w').write('x')"])
    reading = subprocess.Popen(["cat", mount.path / "theirs"], stdout=subprocess.DEVNULL)
    # The upload of `mine` is among the requests already: `slow` has to be under way too.
    eventually(lambda: [request.op for request in server.script.requests()].count("upload") == 2)
    eventually(lambda: "content" in {request.op for request in server.script.requests()})

    began = time.monotonic()
    shell(
        "ls -la; stat mine theirs; mkdir d; ln -s mine link; ln mine hard; mv mine d/; chmod 600 theirs; touch -d 2001-01-01 theirs; "
        "rm hard; df .; rm slow; rmdir d 2>/dev/null || true; find . ; : > empty; mv theirs moved",
        mount.path,
    )
    took = time.monotonic() - began

    assert held.hits >= 2
    assert took < 5
    server.script.clear()
    assert uploading.wait(30) == 0
    assert reading.wait(30) == 0


def test_state_is_private_and_the_key_is_nowhere(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount(settings={"ANTHROPIC_CUSTOM_HEADERS": "x-extra: sk-also-secret"})
    (mount.path / "f").write_text("x")
    server.script.add(Reply(401), op="upload")
    with pytest.raises(PermissionError):
        (mount.path / "g").write_text("x")

    assert stat.S_IMODE(mount.state.stat().st_mode) == 0o700
    for path in mount.state.rglob("*"):
        mode = path.lstat()
        if stat.S_ISREG(mode.st_mode) or stat.S_ISSOCK(mode.st_mode):
            assert stat.S_IMODE(mode.st_mode) & 0o077 == 0, path
        else:
            assert stat.S_IMODE(mode.st_mode) == 0o700, path
        if stat.S_ISREG(mode.st_mode):
            content = path.read_bytes()
            assert KEY.encode() not in content, path
            assert b"sk-also-secret" not in content, path
    assert KEY.encode() not in Path(f"/proc/{mount.pid}/cmdline").read_bytes()
    # Root reads everything, so a limit stands in for what the kernel refuses to others.
    assert "Max core file size        0" in Path(f"/proc/{mount.pid}/limits").read_text()


def test_mounting_where_a_drainer_still_works_takes_over(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount(*LOCAL, settings={"REMOTEFS_MOUNT_SIGNAL_DRAIN_S": "60"})
    busy = server.script.add(Reply(529), op="upload", times=None)
    (mount.path / "f").write_text("x")
    busy.wait_until_hit()
    pid = mount.pid
    detach(mount.path)
    assert is_running(pid)

    mount.started()

    # It lets the folder go just before it ends.
    eventually(lambda: not is_running(pid), timeout=5)
    server.script.clear()
    mount.flush()
    assert stored(server) == {"f": b"x"}


@contextmanager
def in_foreground(mount: Mounted) -> Iterator[subprocess.Popen[str]]:
    """Run `remotefs mount --foreground`, which is mounted; its words are at `stderr`."""
    command = [
        sys.executable, "-m", "remotefs", "mount", mount.path, "--foreground", "--state-dir", mount.state,
        *mount.arguments,
    ]  # fmt: skip
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=mount.env) as process:
        eventually(lambda: is_mounted(mount.path))
        yield process


def test_foreground_stays_and_ends_on_ctrl_c(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount()
    mount.end()
    with in_foreground(mount) as process:
        assert process.stderr is not None
        (mount.path / "f").write_text("x")
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(30) == 0, said
    assert "mounted" in said
    assert stored(server) == {"f": b"x"}


@pytest.mark.parametrize(
    "first", [signal.SIGINT, *(pytest.param(first, marks=pytest.mark.long) for first in (signal.SIGTERM, None))]
)
def test_a_second_ctrl_c_ends_at_once_and_loses_nothing(
    server: FaultyServer, make_mount: MakeMount, first: signal.Signals | None
) -> None:
    """None: it is unmounted by the kernel's tool, which begins a drain too."""
    mount = make_mount(*LOCAL, settings=LATER)
    mount.end()
    with in_foreground(mount) as process:
        assert process.stderr is not None
        hold = server.script.add(Hold(), op="upload")
        (mount.path / "f").write_text("x")
        if first is None:
            run("fusermount3", "-u", mount.path)
        else:
            process.send_signal(first)
        hold.wait_until_hit()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(30) == 3, said
        assert time.monotonic() - began < 15
    assert "1 change is left for the next mount" in said
    assert ": f" in said
    assert not is_mounted(mount.path)
    server.script.clear()
    mount.started()
    mount.flush()
    assert stored(server) == {"f": b"x"}


def test_read_only(server: FaultyServer, make_mount: MakeMount) -> None:
    server.store.add_generated("f", b"theirs")
    mount = make_mount("-o", "ro")

    there, new = mount.path / "f", mount.path / "g"
    assert there.read_bytes() == b"theirs"
    attempts: list[Callable[[], object]] = [
        lambda: there.write_text("x"), lambda: there.open("r+b"), lambda: os.truncate(there, 0), there.unlink,
        lambda: there.rename(new), lambda: new.hardlink_to(there), lambda: new.symlink_to(there), new.touch,
        new.mkdir, lambda: os.mkfifo(new), lambda: os.mknod(new), lambda: there.chmod(0o600),
        lambda: os.chown(there, 1, 1), lambda: os.utime(there), lambda: os.setxattr(there, "user.a", b""),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EROFS
    assert not os.access(there, os.W_OK)
    assert ops(server) == ["content"]


def test_id_prints_what_the_api_takes(server: FaultyServer, mount: Mounted) -> None:
    (mount.path / "f.pdf").write_text("x")
    done = remotefs("id", mount.path / "f.pdf", env=mount.env)
    assert done.stdout.strip() == mount.xattr("f.pdf", "id")
    assert server.store.get(done.stdout.strip()).filename == "f.pdf"
