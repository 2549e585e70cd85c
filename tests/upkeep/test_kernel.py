"""What only the kernel and the commands show: two mounts of one service, and others who change it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults import KEY, EditJson, FaultyServer, faulty_server
from tests.mount.support import Mounted, eventually, mounted, remotefs, shell, stored
from tests.upkeep.support import add

pytestmark = pytest.mark.mount
MakeMount = Callable[..., Mounted]
# A guard that few files are enough to set off.
STRICT = {"REMOTEFS_REFRESH_REMOVAL_GUARD_FILES": "2", "REMOTEFS_REFRESH_REMOVAL_GUARD_FRACTION": "0.1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[FaultyServer]:
    """A service that gives back what was uploaded."""
    with faulty_server(tmp_path / "open") as running:
        yield running


@pytest.fixture
def make_mount(tmp_path: Path) -> Iterator[MakeMount]:
    with ExitStack() as mounts:
        count = 0

        def make(of: FaultyServer, *arguments: object, settings: dict[str, str] | None = None) -> Mounted:
            nonlocal count
            count += 1
            return mounts.enter_context(mounted(tmp_path / f"m{count}", of.url, KEY, *arguments, settings=settings))

        yield make


def _polls(server: FaultyServer, count: int) -> None:
    """Return when so many whole polls came after this."""
    before = server.script.count("list")
    # One may be on its way already.
    eventually(lambda: server.script.count("list") > before + count)


def _run(mount: Mounted, *arguments: object) -> str:
    """A command that has to succeed; what it printed."""
    done = remotefs(*arguments, env=mount.env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a2_an_addition_shows_in_ls_and_stat_within_one_poll_also_where_it_was_missed_before(
    server: FaultyServer, make_mount: MakeMount
) -> None:
    add(server, "d/there")
    mount = make_mount(server)
    assert os.listdir(mount.path / "d") == ["there"]
    for name in ("d/late", "late"):
        with pytest.raises(FileNotFoundError):
            (mount.path / name).stat()
    before = (mount.path / "d").stat().st_mtime_ns
    for name in ("d/late", "late"):
        add(server, name, b"here now")
    _polls(server, 1)
    eventually((mount.path / "late").exists, timeout=2)
    assert sorted(os.listdir(mount.path / "d")) == ["late", "there"]
    assert (mount.path / "d/late").stat().st_size == (mount.path / "late").stat().st_size == 8
    assert (mount.path / "d/late").read_bytes() == b"here now"
    assert (mount.path / "d").stat().st_mtime_ns != before


def test_a2_a_deletion_shows_after_two_listings(server: FaultyServer, make_mount: MakeMount) -> None:
    gone = add(server, "d/gone")
    add(server, "kept")
    mount = make_mount(server)
    assert (mount.path / "d" / "gone").stat().st_size == 6
    server.store.delete(gone)
    _polls(server, 2)
    eventually(lambda: not (mount.path / "d" / "gone").exists(), timeout=2)
    assert os.listdir(mount.path) == ["kept"]
    with pytest.raises(FileNotFoundError):
        (mount.path / "d").stat()


def test_w8_two_mounts_and_a_script_see_the_same_in_the_end(open_server: FaultyServer, make_mount: MakeMount) -> None:
    one, two = make_mount(open_server), make_mount(open_server)
    shell("mkdir d; echo one > f; echo one > d/g; echo one > only-one", one.path)
    shell("mkdir -p d; echo two > f; echo two > d/g; echo two > only-two", two.path)
    script = add(open_server, "f", b"script\n")
    for mount in (one, two):
        mount.flush()
    _polls(open_server, 4)
    find = "find . -type f -printf '%P %s ' -exec cat {} \\; | sort"
    eventually(lambda: shell(find, one.path) == shell(find, two.path), timeout=5)
    contents = sorted(path.read_text() for path in one.path.rglob("*") if path.is_file())
    assert contents == ["one\n", "one\n", "one\n", "script\n", "two\n", "two\n", "two\n"]
    assert (one.path / "f").read_text() == "script\n"
    assert one.xattr("f", "id") == script
    # Where f goes, its twin may have the plain name before its own turn comes (N3).
    shell("rm -r d; while ls f* 2>/dev/null; do rm -f f*; done", one.path)
    one.flush()
    eventually(lambda: shell(find, two.path) == shell(find, one.path))
    assert stored(open_server) == {"only-one": b"one\n", "only-two": b"two\n"}


def test_n3_rm_of_the_plain_name_leaves_its_twin_and_rm_r_ends(
    open_server: FaultyServer, make_mount: MakeMount
) -> None:
    ids = [add(open_server, "d/f.txt", bytes([65 + number])) for number in range(3)]
    mount = make_mount(open_server)
    folder = mount.path / "d"
    assert sorted(os.listdir(folder)) == sorted(["f.txt", f"f [{ids[0]}].txt", f"f [{ids[1]}].txt"])
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.listdir(descriptor)
        (folder / "f.txt").unlink()
        _polls(open_server, 2)
        assert not (folder / "f.txt").exists()
    finally:
        os.close(descriptor)
    eventually(lambda: (folder / "f.txt").exists() and (folder / "f.txt").read_bytes() == b"B")
    shell("rm -r d", mount.path)
    mount.flush()
    assert (stored(open_server), os.listdir(mount.path)) == ({}, [])


def test_s1_a_listing_that_lacks_too_much_is_held_until_a_person_accepts(
    server: FaultyServer, make_mount: MakeMount
) -> None:
    ids = [add(server, f"f{number}") for number in range(6)]
    mount = make_mount(server, settings=STRICT)
    for file_id in ids[:4]:
        server.store.delete(file_id)
    eventually(lambda: mount.status().removals_held == 4)
    _polls(server, 3)
    assert len(os.listdir(mount.path)) == 6
    _run(mount, "accept-removals", "--mount", mount.path)
    assert sorted(os.listdir(mount.path)) == ["f4", "f5"]
    assert mount.status().removals_held == 0


def test_s2_the_trash_by_its_commands(server: FaultyServer, make_mount: MakeMount) -> None:
    add(server, "kept")
    mount = make_mount(server)
    for name in ("a", "b", "c"):
        (mount.path / name).write_text(f"words of {name}\n")
    mount.flush()
    (mount.path / "c").unlink()
    for name in ("a", "b"):
        server.store.delete(mount.xattr(name, "id"))
    eventually(lambda: os.listdir(mount.path) == ["kept"])
    option = ("--mount", mount.path)
    listed = _list_trash(mount)
    assert sorted(line.split()[-5] for line in listed) == ["a", "b"]
    numbers = [line.split()[0] for line in listed]
    back = mount.path / _run(mount, "trash", "restore", numbers[0], *option).strip()
    # Though the kernel remembers that it was not there.
    eventually(back.exists, timeout=2)
    assert _run(mount, "trash", "restore", numbers[1], "--to", "d/new", *option).strip() == "d/new"
    contents = {(mount.path / "d/new").read_text(), back.read_text()}
    assert contents == {"words of a\n", "words of b\n"}
    mount.flush()
    assert len(stored(server)) == 3
    server.store.delete(mount.xattr("d/new", "id"))
    eventually(lambda: not (mount.path / "d/new").exists())
    _run(mount, "trash", "empty", *option)
    assert _list_trash(mount) == []


def test_w7_sync_by_its_command(server: FaultyServer, make_mount: MakeMount) -> None:
    old = add(server, "theirs", b"words")
    mount = make_mount(server)
    (mount.path / "theirs").rename(mount.path / "mine")
    assert mount.xattr("mine", "state") == "alias"
    dry = remotefs("sync", "--dry-run", mount.path, env=mount.env)
    assert (dry.returncode, "1 files" in dry.stderr) == (0, True), dry.stderr
    assert stored(server) == {"theirs": b"words"}
    _run(mount, "sync", "--yes", mount.path / "mine")
    mount.flush()
    assert stored(server) == {"mine": b"words"}
    assert mount.xattr("mine", "id") != old
    assert (mount.path / "mine").read_bytes() == b"words"


def test_a5_a_file_by_its_id(server: FaultyServer, make_mount: MakeMount) -> None:
    file_id = add(server, "d/f.pdf", b"words")
    mount = make_mount(server)
    by_id = mount.path / ".remotefs" / "by-id"
    assert (by_id / file_id).read_bytes() == b"words"
    assert (by_id / file_id).stat().st_ino == (mount.path / "d/f.pdf").stat().st_ino
    assert os.listdir(mount.path) == ["d"]
    assert os.listdir(by_id) == []
    for attempt in (
        lambda: (by_id / "new").write_bytes(b"x"),
        lambda: (by_id / "new").mkdir(),
        lambda: (by_id / file_id).unlink(),
        lambda: (by_id / file_id).rename(mount.path / "g"),
        lambda: (mount.path / "d/f.pdf").rename(by_id / "g"),
        by_id.rmdir,
    ):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno in {errno.EACCES, errno.EPERM, errno.EROFS}, caught.value
    assert os.listdir(mount.path / "d") == ["f.pdf"]


def test_a5_by_an_id_that_went_there_is_nothing_and_a_new_one_is_there_at_once(
    server: FaultyServer, make_mount: MakeMount
) -> None:
    mount = make_mount(server)
    by_id = mount.path / ".remotefs" / "by-id"
    (mount.path / "f").write_text("one")
    old = mount.xattr("f", "id")
    assert (by_id / old).read_text() == "one"
    (mount.path / "f").write_text("two")
    new = mount.xattr("f", "id")
    assert (by_id / new).read_text() == "two"
    assert not (by_id / old).exists()


@pytest.mark.root("reads as another user")
def test_a6_an_id_leads_nobody_else_past_the_permissions_of_folders(
    server: FaultyServer, make_mount: MakeMount
) -> None:
    secret, public = add(server, "private/f", b"secret"), add(server, "public/f", b"words")
    mount = make_mount(server, "-o", "allow_other")
    (mount.path / "private").chmod(0o700)

    def read_as_nobody(path: str) -> str:
        done = subprocess.run(
            ["/bin/cat", path], cwd=mount.path, user="nobody", group="nogroup", extra_groups=(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout or done.stderr.rpartition(": ")[2].strip()

    paths = ["public/f", "private/f", f".remotefs/by-id/{public}", f".remotefs/by-id/{secret}"]
    refused = ["words", *["Permission denied"] * 3]
    assert [read_as_nobody(path) for path in paths] == refused
    # The owner's look leaves the names in the kernel's cache: it does not answer for others.
    assert [(mount.path / path).read_text() for path in paths] == ["words", "secret", "words", "secret"]
    assert [read_as_nobody(path) for path in paths] == refused


def test_a5_id_and_path_by_their_commands(server: FaultyServer, make_mount: MakeMount) -> None:
    mount = make_mount(server)
    (mount.path / "d").mkdir()
    (mount.path / "d" / "f.pdf").write_bytes(b"%PDF")
    [block] = json.loads(_run(mount, "id", "--json", mount.path / "d/f.pdf"))
    file_id = block["source"]["file_id"]
    assert (block["type"], file_id) == ("document", mount.xattr("d/f.pdf", "id"))
    option = ("--mount", mount.path)
    assert _run(mount, "path", file_id, *option).strip() == str(mount.path / "d/f.pdf")
    done = remotefs("path", file_id, "file_nowhere", *option, env=mount.env)
    assert (done.returncode, done.stdout.strip()) == (1, str(mount.path / "d/f.pdf"))
    assert "file_nowhere" in done.stderr


def test_w6_dedupe_by_its_command(server: FaultyServer, make_mount: MakeMount) -> None:
    same, other, new = add(server, "f", b"same"), add(server, "f", b"else"), add(server, "f", b"same")
    mount = make_mount(server)
    shell("cat *", mount.path)
    shown = _run(mount, "dedupe", "--dry-run", mount.path)
    assert all(file_id in shown for file_id in (same, other, new))
    assert len(os.listdir(mount.path)) == 3
    _run(mount, "dedupe", mount.path)
    mount.flush()
    assert sorted(os.listdir(mount.path)) == sorted(["f", f"f [{other}]"])
    _run(mount, "dedupe", "--delete", other, mount.path)
    mount.flush()
    assert os.listdir(mount.path) == ["f"]
    assert stored(server) == {"f": b"same"}


def test_w10_a_refused_empty_file_stays_and_status_says_so(tmp_path: Path, make_mount: MakeMount) -> None:
    with faulty_server(tmp_path / "picky", empty_files=False) as picky:
        mount = make_mount(picky)
        (mount.path / "empty").touch()
        eventually(lambda: mount.xattr("empty", "state").startswith("failed: "))
        assert [leftover.path for leftover in mount.status().failed] == ["empty"]
        _polls(picky, 2)
        assert (mount.path / "empty").stat().st_size == 0
        (mount.path / "empty").write_text("full\n")
        mount.flush()
        assert stored(picky) == {"empty": b"full\n"}
        mount.end()


def test_r4_a_file_vanishes_when_it_expires(server: FaultyServer, make_mount: MakeMount) -> None:
    server.store.add("short", b"x", downloadable=True, expires_in_s=3)
    add(server, "kept")
    mount = make_mount(server)
    eventually(lambda: os.listdir(mount.path) == ["kept"])
    assert server.script.count("delete") == 0


def test_s4_a_listing_that_is_empty_by_mistake_takes_nothing_away(server: FaultyServer, make_mount: MakeMount) -> None:
    add(server, "f")
    mount = make_mount(server)
    rule = server.script.add(EditJson(lambda page: page | {"data": []}), op="list", times=None)
    eventually(lambda: rule.hits > 4)
    assert os.listdir(mount.path) == ["f"]
    assert mount.status().removals_held == 1
    server.script.clear()
    eventually(lambda: mount.status().removals_held == 0)
    assert (mount.path / "f").read_bytes() == b"theirs"


def _list_trash(mount: Mounted) -> list[str]:
    return _run(mount, "trash", "list", "--mount", mount.path).strip().splitlines()
