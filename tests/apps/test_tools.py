"""Programs that copy, pack, keep databases, wait for locks and watch folders."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.apps.conftest import Desk
from tests.mount.support import run, shell


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty files on the disk, in folders."""
    shell(
        "mkdir -p source/a/b source/empty; for n in $(seq 20); do seq $n > source/a/file$n; done; "
        "cp source/a/file7 'source/a/b/with space.txt'; ln -s a/file1 source/link; touch -d 2001-02-03 source/a/*",
        tmp_path,
    )
    return tmp_path / "source"


# -- copying


def test_rsync_transfers_once(desk: Desk, source: Path) -> None:
    assert len(desk.shell(f"rsync -ai {source} .").splitlines()) == 26
    desk.requests()
    first = sorted(desk.uploaded)
    assert desk.shell(f"rsync -ai {source} .") == ""
    assert desk.shell(f"rsync -aic {source} .") == ""

    desk.requests()
    assert sorted(desk.uploaded) == first
    assert len(first) == 21
    run("diff", "-r", "--no-dereference", source, desk.folder / "source")


def test_rsync_brings_what_changed_and_removes_what_went(desk: Desk, source: Path, tmp_path: Path) -> None:
    desk.shell(f"rsync -a {source}/ copy")
    shell("echo changed > source/a/file3; rm source/a/file4; mv source/a/file5 source/a/b/moved", tmp_path)
    desk.start_counting()
    desk.shell(f"rsync -a --delete {source}/ copy; rsync -a --inplace --append-verify {source}/ copy")

    run("diff", "-r", "--no-dereference", source, desk.folder / "copy")
    assert sorted(desk.requests()) == ["delete"] * 3 + ["upload"] * 2
    run("rsync", "-a", f"{desk.folder}/copy/", tmp_path / "back")
    run("diff", "-r", "--no-dereference", source, tmp_path / "back")


def test_gio_copies_saves_and_moves(desk: Desk, source: Path) -> None:
    desk.shell(
        f"gio copy {source}/a/file9 copied; gio copy copied again; gio mkdir folder; gio move again folder/moved"
    )
    desk.start_counting()
    desk.shell("echo saved | gio save copied; gio rename folder/moved named")

    assert desk.shell("gio cat copied; gio cat folder/named") == "saved\n" + "".join(f"{n}\n" for n in range(1, 10))
    assert desk.requests()[:2] == ["upload", "delete"]
    desk.shell("gio remove copied")
    assert desk.names() == {"folder/named"}


def test_gio_trash_keeps_the_file_in_the_mount_and_at_the_service(desk: Desk) -> None:
    """A file in the trash is not removed yet: it keeps its id until it is (N6)."""
    trash = desk.mount.path / f".Trash-{os.getuid()}"
    (desk.folder / "f").write_text("to be thrown away\n")
    file_id = desk.mount.xattr(f"{desk.folder.name}/f", "id")
    desk.start_counting()
    desk.shell("gio trash f")

    (found,) = (trash / "files").iterdir()
    assert (found.read_text(), desk.names()) == ("to be thrown away\n", set())
    assert desk.mount.xattr(str(found.relative_to(desk.mount.path)), "id") == file_id
    assert desk.requests() == []
    shell(f"rm -r {trash.name}", desk.mount.path)
    assert desk.requests() == ["delete"]


# -- packing


def test_zip_and_unzip(desk: Desk, source: Path) -> None:
    desk.shell(f"(cd {source}/.. && zip -qr - source) > all.zip; unzip -tq all.zip; unzip -q all.zip")
    run("diff", "-r", "--no-dereference", source / "a", desk.folder / "source" / "a")

    desk.shell("echo one more > extra; zip -q all.zip extra; zip -qd all.zip source/a/file1; zip -qr other.zip source")
    listed = desk.shell("unzip -Z1 all.zip").split("\n")
    assert "extra" in listed
    assert "source/a/file1" not in listed
    assert not [path for path in desk.uploaded if Path(path).name.startswith("zi")]


# -- databases


@pytest.mark.parametrize("mode", ["delete", "wal", "truncate", "persist"])
def test_sqlite_by_two_processes(desk: Desk, mode: str) -> None:
    sql = f"pragma journal_mode={mode}; create table t (who, n); create table total (n); insert into total values (0);"
    assert run("sqlite3", "data.db", sql, cwd=desk.folder).stdout.split() == [mode]
    step = "begin immediate; insert into t values ('{who}', {n}); update total set n = n + 1; commit;"
    scripts = [".timeout 20000\n" + "\n".join(step.format(who=who, n=n) for n in range(15)) for who in "ab"]
    writers = [
        subprocess.Popen(["sqlite3", "-bail", "data.db"], cwd=desk.folder, stdin=subprocess.PIPE, text=True)
        for _ in scripts
    ]
    for writer, script in zip(writers, scripts, strict=True):
        assert writer.stdin is not None
        writer.stdin.write(script)
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0, 0]

    asked = "pragma integrity_check; select count(*) from t; select n from total;"
    assert run("sqlite3", "data.db", asked, cwd=desk.folder).stdout.split() == ["ok", "30", "30"]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_keeps_transactions_apart(desk: Desk, mode: str) -> None:
    path = desk.folder / "data.db"
    run("sqlite3", path, f"pragma journal_mode={mode}; create table t (n); insert into t values (1);")
    with subprocess.Popen(["sqlite3", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("begin immediate; insert into t values (2); select 'begun';\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "begun\n"
        # Another process sees what was committed, and cannot write.
        assert run("sqlite3", path, "select sum(n) from t").stdout == "1\n"
        refused = run("sqlite3", path, "insert into t values (3)", check=False)
        assert "locked" in refused.stderr
        writer.communicate("commit;\n")
    assert run("sqlite3", path, "select sum(n) from t; pragma integrity_check").stdout.split() == ["3", "ok"]


def test_sqlite_recovers_what_a_killed_writer_left(desk: Desk) -> None:
    """The hot journal of a transaction that was cut short is rolled back."""
    path = desk.folder / "data.db"
    run("sqlite3", path, "pragma journal_mode=delete; create table t (x); insert into t values (1);")
    big = "begin; pragma cache_size=10; insert into t select hex(randomblob(900)) from generate_series(1,2000);"
    with subprocess.Popen(["sqlite3", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(big + "\nselect 'not_on_disk';\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "not_on_disk\n"
        writer.kill()
    assert "data.db-journal" in desk.names()

    assert run("sqlite3", path, "pragma integrity_check; select count(*) from t").stdout.split() == ["ok", "1"]
    assert desk.names() == {"data.db"}


# -- locks and watching


def test_flock_between_two_processes(desk: Desk) -> None:
    with subprocess.Popen(
        ["flock", "lock", "sh", "-c", "echo held; read line"],
        cwd=desk.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert run("flock", "-n", "lock", "true", cwd=desk.folder, check=False).returncode == 1
        assert run("flock", "-s", "-w", "0.1", "lock", "true", cwd=desk.folder, check=False).returncode == 1
        waiter = subprocess.Popen(["flock", "lock", "echo", "mine"], cwd=desk.folder, stdout=subprocess.PIPE, text=True)
        holder.communicate("go\n")
    assert waiter.communicate(timeout=20)[0] == "mine\n"


@contextmanager
def _watching(folder: Path) -> Iterator[subprocess.Popen[str]]:
    events = "create,close_write,moved_from,moved_to,delete,attrib"
    watcher = subprocess.Popen(
        ["inotifywait", "-m", "-e", events, "--format", "%e %f", "."],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watcher.stderr is not None
        while "established" not in watcher.stderr.readline():
            assert watcher.poll() is None
        yield watcher
    finally:
        watcher.kill()
        watcher.communicate()


def test_inotifywait_sees_changes_made_here(desk: Desk) -> None:
    with _watching(desk.folder) as watcher:
        desk.shell("echo text > file; mv file moved; chmod 600 moved; rm moved; mkdir folder")
        assert watcher.stdout is not None
        seen: list[str] = []
        while seen[-1:] != ["CREATE,ISDIR folder"]:
            seen.append(watcher.stdout.readline().strip())

    assert seen == [
        "CREATE file", "CLOSE_WRITE,CLOSE file", "MOVED_FROM file", "MOVED_TO moved", "ATTRIB moved", "DELETE moved",
        "CREATE,ISDIR folder",
    ]  # fmt: skip
