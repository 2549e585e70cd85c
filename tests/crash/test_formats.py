"""A8: the format of the state folder, and writes that are refused before they leave anything half done."""

from __future__ import annotations

import errno
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.errors import FileTooBig, OutOfSpace
from remotefs.fuse.translate import errno_of
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.store.schema import MIGRATIONS
from tests.crash.herd import Herd, Place, place
from tests.faults import FaultyServer, faulty_server
from tests.mount.support import environment, remotefs
from tests.parts import Host, clock, running, server

__all__ = ["clock", "server"]
Server, Clock = FaultyServer, trio.abc.Clock
_OLD = Path(__file__).with_name("state-v1.sql")
# Of the older of two files of one name in `state-v3.tar.gz`.
_OLDER_ID = "file_aDpc1ius3PHpxY1whMXZHEgg"
# What the paths of `state-v4.tar.gz` hold.
_FOURTH = {
    "also": b"bound bytes", "dirty": b"never closed", "edited": b"another version", "folder/bound": b"bound bytes",
    "folder/renamed": b"to be sent again", "lost": b"its reply was lost", "pending": b"pending bytes",
    "refused": b"too large, it says", "same.txt": b"second!", "theirs.txt": b"theirs", "there/one": b"1",
    "there/two": b"22",
}  # fmt: skip
_STAGED = {"6-1": b"bound", "7-1": b"pending bytes", "8-1": b"never closed"}


def old_state(folder: Path, server: FaultyServer) -> Path:
    """A state folder as format 1 was, and what the service had then."""
    ids = {
        "file_theirs": server.store.add_generated("theirs.txt", b"theirs").id,
        "file_bound": server.store.add("folder\uff0fbound", b"bound", downloadable=False).id,
        "file_unwanted": server.store.add("unwanted", b"old", downloadable=False).id,
    }
    script = _OLD.read_text().replace("@ORGANIZATION@", server.store.organization_id)
    for old, new in ids.items():
        script = script.replace(old, new)
    (folder / "staging").mkdir(parents=True, mode=0o700)
    for name, data in _STAGED.items():
        (folder / "staging" / name).write_bytes(data)
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        connection.executescript(script)
    return folder


@pytest.fixture
def third(tmp_path: Path) -> Iterator[FaultyServer]:
    """A state folder of format 3, as that version left it when it was killed, and the service that it belongs to.

    In it are a file that is bound and pinned, with a second name, an attribute and a symbolic link to it; two files of
    somebody else's under one name; one that was deleted elsewhere and lies in the trash; one that waits for its upload,
    one that was being written, one that waits to go up again under its new name, and one that waits for its DELETE.
    """
    yield from _archived(tmp_path, "state-v3.tar.gz")


@pytest.fixture
def fourth(tmp_path: Path) -> Iterator[FaultyServer]:
    """A state folder of format 4, as that version left it when it was killed, and the service that it belongs to.

    In it are what format 3 has, and: a file whose upload the service refused, one whose reply was lost though the
    service has it, one that was edited, and a renamed folder with two files that wait to go up again.
    """
    yield from _archived(tmp_path, "state-v4.tar.gz")


def _archived(folder: Path, name: str) -> Iterator[FaultyServer]:
    with tarfile.open(Path(__file__).with_name(name)) as archive:
        archive.extractall(folder, filter="data")
    (folder / "state").chmod(0o700)
    with faulty_server(folder / "server", uploads_downloadable=False) as running_server:
        yield running_server


def version(state: Path) -> int:
    with closing(sqlite3.connect(state / "state.db")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


async def test_the_first_format_is_taken_over_with_all_that_was_pending(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    state = old_state(tmp_path / "state", server)
    assert version(state) == 1
    async with running(tmp_path, server) as host:
        await host.settled()
        assert (host.ls(), host.ls("folder")) == (
            ["also", "dirty", "folder", "pending", "theirs.txt"],
            ["bound", "empty"],
        )
        assert [await host.read(path) for path in ("also", "pending", "dirty", "theirs.txt")] == [
            b"bound", b"pending bytes", b"never closed", b"theirs",
        ]  # fmt: skip
        assert host.fs.xattrs.getxattr(host.stat("also").ino, b"user.note") == b"kept"
        assert host.remote_names() == ["dirty", "folder\uff0fbound", "pending", "theirs.txt"]
    assert version(state) == len(MIGRATIONS)


async def test_the_third_format_is_taken_over_with_all_that_was_pending(
    tmp_path: Path, third: FaultyServer, clock: Clock
) -> None:
    assert version(tmp_path / "state") == 3
    async with running(tmp_path, third, working=False) as host:
        kinds = sorted(intent.kind.value for intent in host.pending())
        assert kinds == ["delete", "reupload", "upload", "upload"]
        assert host.parts.meta.facts.concurrency == 4
        assert set(host.ls()) == {
            "also", "dirty", "folder", "link", f"same [{_OLDER_ID}].txt", "same.txt", "pending", "theirs.txt",
        }  # fmt: skip
        await host.start_working()
        await host.settled()
        paths = [
            "also",
            "dirty",
            "pending",
            "theirs.txt",
            "folder/bound",
            "folder/renamed",
            f"same [{_OLDER_ID}].txt",
            "same.txt",
        ]
        assert [await host.read(path) for path in paths] == [
            b"bound bytes", b"never closed", b"pending bytes", b"theirs", b"bound bytes", b"to be sent again", b"first", b"second!",
        ]  # fmt: skip
        assert host.ls("folder") == ["bound", "empty", "renamed"]
        assert host.fs.xattrs.getxattr(host.stat("also").ino, b"user.note") == b"kept"
        assert host.fs.namespace.readlink(host.stat("link").ino) == b"folder/bound"
        assert [(entry.path, entry.size) for entry in host.parts.trash.entries()] == [("goes", 9)]
        assert host.remote_names() == [
            "dirty", "folder\uff0fbound", "folder\uff0frenamed", "pending", "same.txt", "same.txt", "theirs.txt",
        ]  # fmt: skip
        assert await check_state(host.parts, Scope(working=True, service=True)) == []
    assert version(tmp_path / "state") == len(MIGRATIONS)


async def test_the_fourth_format_is_taken_over_with_all_that_was_pending(
    tmp_path: Path, fourth: FaultyServer, clock: Clock
) -> None:
    assert version(tmp_path / "state") == 4
    async with running(tmp_path, fourth, working=False) as host:
        kinds = sorted(intent.kind.value for intent in host.pending())
        assert kinds == ["delete"] + ["reupload"] * 3 + ["upload"] * 5
        (refused,) = [intent for intent in host.pending() if "413" in (intent.reason or "")]
        assert refused.ino == host.stat("refused").ino
        assert host.stat("lost").ino in {intent.ino for intent in host.pending() if intent.attempt}
        await host.start_working()
        await host.settled()
        assert {path: await host.read(path) for path in _FOURTH} == _FOURTH
        older = next(name for name in host.ls() if name.startswith("same ["))
        assert (await host.read(older), host.ls("folder"), host.ls("there")) == (
            b"first", ["bound", "empty", "renamed"], ["one", "two"],
        )  # fmt: skip
        assert host.fs.xattrs.getxattr(host.stat("also").ino, b"user.note") == b"kept"
        assert host.fs.namespace.readlink(host.stat("link").ino) == b"folder/bound"
        assert [(entry.path, entry.size) for entry in host.parts.trash.entries()] == [("goes", 9)]
        assert host.remote_names() == [
            "dirty", "edited", "folder\uff0fbound", "folder\uff0frenamed", "lost", "pending", "refused", "same.txt",
            "same.txt", "theirs.txt", "there\uff0fone", "there\uff0ftwo",
        ]  # fmt: skip
        assert host.remote_bytes("edited") == [b"another version"]
        assert await check_state(host.parts, Scope(working=True, service=True)) == []
    assert version(tmp_path / "state") == len(MIGRATIONS)


@pytest.mark.parametrize("nth", range(1, len(MIGRATIONS)))
def test_a_crash_in_a_change_of_the_format(nth: int, tmp_path: Path, herd: Herd) -> None:
    with place(tmp_path / "place", herd) as where:
        state = old_state(where.folder / "state", where.server)
        assert where.run(step="database gets a new form", nth=nth).was_killed
        assert version(state) == nth
        report = where.survivor()
        assert sorted((shown.paths[0], shown.content) for shown in report.files) == [
            ("dirty", b"never closed"), ("folder/bound", b"bound"), ("pending", b"pending bytes"), ("theirs.txt", b"theirs"),
        ]  # fmt: skip
        assert (report.pending, report.staged, report.findings) == ((), (), ())
        assert _names(where) == ["dirty", "folder\uff0fbound", "pending", "theirs.txt"]


def _names(where: Place) -> list[str]:
    return sorted(name for name, _ in where.stored().values())


@pytest.mark.mount
def test_a_newer_format_is_refused_by_the_command_and_left_alone(tmp_path: Path, server: Server) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "lock").touch()
    with closing(sqlite3.connect(state / "state.db")) as connection:
        connection.execute("PRAGMA user_version = 999")
    (tmp_path / "mnt").mkdir()
    done = remotefs(
        "mount", tmp_path / "mnt", "--state-dir", state, "--base-url", server.url, env=environment(server.key)
    )
    assert done.returncode != 0
    assert "newer remotefs" in done.stderr
    assert "Traceback" not in done.stderr
    assert version(state) == 999


# -- what is refused early leaves nothing


def _small_files(config: Config) -> Config:
    return msgspec.structs.replace(config, service=msgspec.structs.replace(config.service, max_file_bytes=8))


@pytest.mark.parametrize(("error", "number"), [(OutOfSpace, errno.ENOSPC), (FileTooBig, errno.EFBIG)])
async def test_a_write_that_is_refused_changes_nothing(
    tmp_path: Path, server: Server, clock: Clock, error: type[Exception], number: int
) -> None:
    """Of a file that is there; neither bytes nor rows nor requests."""
    async with running(tmp_path, server) as host:
        await host.write("f", b"content")
        await host.settled()
    async with running(tmp_path, server, change=_small_files if error is FileTooBig else lambda config: config) as host:
        if error is OutOfSpace:
            # As if another program had filled the disk.
            host.parts.disk.reserve = host.parts.disk.capacity
        before, requests = host.stat("f"), server.script.count("upload")
        handle = await host.open("f", os.O_RDWR)
        with pytest.raises(error) as caught:
            await host.fs.files.write(handle.fh, 6, b"too much")
        assert errno_of(caught.value)[0] == number
        await host.close(handle)
        assert host.stat("f")._replace(atime_ns=0, content_gen=0) == before._replace(atime_ns=0, content_gen=0)
        assert await host.read("f") == b"content"
        _is_untouched(host)
        assert server.script.count("upload") == requests


async def test_where_the_backlog_is_full_a_write_is_refused_and_names_are_not(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local", backlog_intents=2) as host:
        await host.write("a", b"1")
        await host.write("b", b"2")
        handle = await host.open("late", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OutOfSpace, match="backlog"):
            await host.fs.files.write(handle.fh, 0, b"3")
        await host.close(handle)
        host.rename("a", "c")
        host.unlink("b")
        assert (host.ls(), host.stat("late").size) == (["c", "late"], 0)
        await host.start_working()
        await host.settled()
        assert (host.remote_bytes("c"), host.remote_names()) == ([b"1"], ["c", "late"])


def _is_untouched(host: Host) -> None:
    assert host.pending() == []
    assert host.parts.staging.scan() == []
    assert os.listdir(host.state_dir / "staging") == []
