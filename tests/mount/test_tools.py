"""The tools that people use, on a real mount."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from tests.faults import FaultyServer
from tests.mount.conftest import MakeMount, Scene
from tests.mount.support import run, shell
from tests.sampling import sample


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source"), 76)


def make_source(folder: Path, modules: int) -> Path:
    """A tree as sources are: files, five more than `modules`, links of both kinds, empty folders, modes and times."""
    root = folder / "project"
    for number in range(modules):
        path = root / f"package{number % 7}" / ("deep/er" if number % 5 == 0 else "") / f"module {number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.sha256(str(number).encode()).digest() * (number * 7 % 300))
        os.utime(path, ns=(1_600_000_000_123_456_789 + number, 1_500_000_000_987_654_321 + number))
    (root / "run.sh").write_text("#!/bin/sh\necho run\n")
    (root / "run.sh").chmod(0o750)
    (root / "empty.txt").touch()
    (root / "secret").write_text("s")
    (root / "secret").chmod(0o400)
    (root / "naïve ‘quotes’: what?.txt").write_text("the service forbids some of these characters")
    (root / "latest").symlink_to("package1/module 1.py")
    (root / "dangling").symlink_to("/nowhere/at all")
    (root / "hard.py").hardlink_to(root / "package2" / "module 2.py")
    for name in ("empty", "nested/empty/folders"):
        (root / name).mkdir(parents=True)
    os.utime(root / "empty", ns=(1_400_000_000_000_000_000,) * 2)
    return root


def manifest(root: Path) -> dict[str, tuple[object, ...]]:
    """Kind, mode, size, time and content of everything below a folder."""
    return {str(path.relative_to(root)): _facts(path) for path in sorted(root.rglob("*"))}


def _facts(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path), status.st_mtime_ns)
    if stat.S_ISDIR(status.st_mode):
        return ("folder", oct(status.st_mode), status.st_mtime_ns)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ("file", oct(status.st_mode), status.st_size, status.st_mtime_ns, status.st_nlink, digest)


@pytest.mark.long
@pytest.mark.parametrize("modules", sample(76, 296))
def test_a_source_tree_goes_in_and_comes_back_the_same_also_after_a_remount_and_on_another_machine(
    server: FaultyServer, make_mount: MakeMount, tmp_path: Path, modules: int
) -> None:
    source = make_source(tmp_path / "source", modules)
    mount = make_mount()
    run("cp", "-a", source, mount.path)
    wanted = manifest(source)
    assert len([facts for facts in wanted.values() if facts[0] == "file"]) == modules + 5
    assert manifest(mount.path / source.name) == wanted
    run("diff", "-r", "--no-dereference", source, mount.path / source.name)

    mount.flush()
    mount.remount()

    assert manifest(mount.path / source.name) == wanted
    run("cp", "-a", mount.path / source.name, tmp_path / "back")
    assert manifest(tmp_path / "back") == wanted
    assert mount.status().pending == ()

    # Links and empty folders live on the machine that made them (N5); files and their folders are everywhere.
    other = make_mount()
    seen = {str(path.relative_to(other.path)): path for path in other.path.rglob("*")}
    files = {f"{source.name}/{name}": facts for name, facts in wanted.items() if facts[0] == "file"}
    # One remote file has one name: of two hard links it is the older.
    files.pop(
        f"{source.name}/hard.py" if f"{source.name}/hard.py" not in seen else f"{source.name}/package2/module 2.py"
    )
    assert {name for name, path in seen.items() if path.is_file()} == set(files)
    for name, (_, _, size, _, _, digest) in files.items():
        content = seen[name].read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest), name
    assert not (other.path / source.name / "empty").exists()


class TestShell:
    def test_redirects_and_appends(self, scene: Scene) -> None:
        shell(
            "echo one > f; echo two >> f; { echo three; echo four; } >> f; cat f > g; : > h; tee -a f < g", scene.folder
        )

        assert (scene.folder / "f").read_text() == "one\ntwo\nthree\nfour\n" * 2
        assert (scene.folder / "h").read_text() == ""
        twice = b"one\ntwo\nthree\nfour\n" * 2
        assert scene.stored() == {"f": twice, "g": twice[: len(twice) // 2], "h": b""}

    def test_a_loop_of_appends_by_several_processes(self, scene: Scene) -> None:
        script = 'for p in 1 2 3; do (for i in $(seq 40); do echo "$p-$i"; done >> log) & done; wait'
        shell(script, scene.folder)

        lines = (scene.folder / "log").read_text().split()
        assert sorted(lines) == sorted(f"{p}-{i}" for p in (1, 2, 3) for i in range(1, 41))

    def test_mv_moves_files_and_folders_and_over_what_is_there(self, scene: Scene) -> None:
        shell(
            "mkdir -p a/b; echo 1 > a/b/x; echo 2 > a/y; mv a/y a/z; mv a c; echo 3 > new; echo 4 > old; mv new old; "
            "mv c/b/x .; mv old c/b/",
            scene.folder,
        )

        assert shell("find . -type f -exec grep -H . {} + | sort", scene.folder).split() == [
            "./c/b/old:3", "./c/z:2", "./x:1",
        ]  # fmt: skip
        assert scene.stored() == {"c/b/old": b"3\n", "c/z": b"2\n", "x": b"1\n"}

    def test_rm_takes_it_from_the_service_too(self, scene: Scene) -> None:
        shell("mkdir -p d/e; for i in $(seq 30); do echo $i > d/e/$i; done; rm -r d", scene.folder)

        assert os.listdir(scene.folder) == []
        assert scene.stored() == {}


class TestTools:
    def test_grep_and_find(self, scene: Scene, source: Path) -> None:
        shell(
            "mkdir p; cd p; for i in $(seq 20); do echo needle $i > file$i.txt; done; mkdir -p q/r; echo x > q/r/hay",
            scene.folder,
        )

        found = shell(
            "grep -rl 'needle 1$' . ; find . -name '*.txt' | wc -l; find . -type d -empty | wc -l; du -s . >&2",
            scene.folder,
        )
        assert found.split() == ["./p/file1.txt", "20", "0"]

    def test_tar_there_and_back(self, scene: Scene, source: Path, tmp_path: Path) -> None:
        parts = [f"{source.name}/{name}" for name in ("package1", "nested", "latest", "dangling", "run.sh")]
        run("tar", "--format=pax", "-C", source.parent, "-cf", scene.folder / "all.tar", *parts)
        run("tar", "-C", scene.folder, "-xf", scene.folder / "all.tar")
        run("tar", "-C", tmp_path, "-xf", scene.folder / "all.tar")

        assert manifest(scene.folder / source.name) == manifest(tmp_path / source.name)

    def test_sed_in_place_is_one_upload_and_one_delete(self, scene: Scene) -> None:
        (scene.folder / "f.txt").write_text("old text\n")
        since = len(scene.ops())

        shell("sed -i s/old/new/ f.txt", scene.folder)

        assert (scene.folder / "f.txt").read_text() == "new text\n"
        assert scene.stored() == {"f.txt": b"new text\n"}
        assert scene.ops()[since:] == ["upload", "delete"]

    def test_rsync_sends_once_and_then_only_what_changed(self, scene: Scene, source: Path) -> None:
        run("rsync", "-a", f"{source}/package1", scene.folder)
        again = run("rsync", "-ai", f"{source}/package1", scene.folder)
        assert again.stdout == ""

        assert scene.stored().keys() == {str(path.relative_to(source)) for path in (source / "package1").rglob("*.py")}
        uploads = [op for op in scene.ops() if op == "upload"]
        assert len(uploads) == len(list((source / "package1").rglob("*.py")))

    def test_git(self, scene: Scene, tmp_path: Path) -> None:
        home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}
        shell(
            "git init -q -b main repo; cd repo; git config user.name t; git config user.email t@t; "
            "for i in 1 2 3; do echo $i > file$i; git add .; git commit -qm commit$i; done; "
            "git mv file1 moved; git commit -qam move; git gc -q; git fsck --strict; cd ..; git clone -q repo copy; "
            "git -C copy log --oneline | wc -l; git -C repo status --porcelain",
            scene.folder,
            env=home,
        )

        assert sorted(os.listdir(scene.folder / "copy")) == [".git", "file2", "file3", "moved"]
        assert shell("git -C copy log --format=%s", scene.folder, env=home).split() == [
            "move", "commit3", "commit2", "commit1",
        ]  # fmt: skip

    def test_sqlite(self, scene: Scene) -> None:
        statements = (
            "create table t (n); begin; insert into t values (1), (2); commit; begin; insert into t values (3); "
            "rollback; pragma integrity_check; select sum(n) from t; vacuum;"
        )
        assert run("sqlite3", scene.folder / "data.db", statements).stdout.split() == ["ok", "3"]
        assert run(
            "sqlite3",
            scene.folder / "data.db",
            "pragma journal_mode=wal; insert into t values (4); select count(*) from t",
        ).stdout.split() == ["wal", "3"]

    def test_vim_with_a_backup(self, scene: Scene) -> None:
        (scene.folder / "text").write_text("first\n")
        run(
            "vim", "-u", "NONE", "-es", "-c", "set backup backupskip=", "-c", "%s/first/second/", "-c", "wq", "text",
            cwd=scene.folder, stdin=-3, env={"PATH": os.environ["PATH"], "TERM": "dumb"},
        )  # fmt: skip

        assert (scene.folder / "text").read_text() == "second\n"
        assert (scene.folder / "text~").read_text() == "first\n"

    def test_zip_by_python(self, scene: Scene, source: Path) -> None:
        run("python3", "-m", "zipfile", "-c", scene.folder / "all.zip", source / "package3", source / "run.sh")
        run("python3", "-m", "zipfile", "-t", scene.folder / "all.zip")
        run("python3", "-m", "zipfile", "-e", scene.folder / "all.zip", scene.folder / "out")

        run("diff", "-r", source / "package3", scene.folder / "out" / "package3")

    def test_dd_into_the_middle_and_past_the_end(self, scene: Scene) -> None:
        shell(
            "dd if=/dev/zero of=f bs=64k count=4 status=none; printf middle | dd of=f bs=1 seek=70000 conv=notrunc status=none; "
            "printf end | dd of=f bs=1 seek=500000 conv=notrunc,fsync status=none",
            scene.folder,
        )

        content = (scene.folder / "f").read_bytes()
        assert (len(content), content[70000:70006], content[-3:]) == (500003, b"middle", b"end")
        assert set(content[300000:499999]) == {0}
        assert scene.stored() == {"f": content}

    def test_a_fifo_a_socket_and_locks(self, scene: Scene) -> None:
        assert shell(
            "mkfifo p; (echo through > p) & cat p; flock f -c 'flock -n f true || echo held'", scene.folder
        ).split() == ["through", "held"]

    def test_df_tells_what_is_used(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(bytes(1 << 20))

        used, free = map(int, run("df", "-B1", "--output=used,avail", scene.folder).stdout.split()[-2:])
        assert used >= 1 << 20
        assert free > 0
