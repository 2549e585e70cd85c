"""`-o subdir=`, `-o umask=` and `[names] hidden` on real mounts, with the programs and commands that people use there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.faults import FaultyServer
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, eventually, remotefs, run, shell, stored

GIT = "git -c user.name=me -c user.email=me@example.org -c init.defaultBranch=main"


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder, without those of git."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def remounted(mount: Mounted, *options: str) -> None:
    """Mount again with other options."""
    mount.end()
    service = mount.arguments[: mount.arguments.index("-o")]
    mount.arguments = (*service, *options)
    mount.started()


def out(mount: Mounted, *arguments: object) -> str:
    done = remotefs(*arguments, env=mount.env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_h2_a_part_of_the_tree_is_the_root(server: FaultyServer, make_mount: MakeMount) -> None:
    server.store.add_generated("above", b"not shown")
    server.store.add_generated("docs／in／there", b"shown")
    mount = make_mount("-o", "subdir=/docs/in/,fmask=0137")
    root = mount.path
    (root / "d").mkdir()
    (root / "d" / "f").write_bytes(b"one")
    assert [os.stat(path).st_ino for path in (root, root / ".", root / "d" / "..")] == [1, 1, 1]
    assert stat.S_IMODE((root / "d" / "f").stat().st_mode) == 0o640
    os.rename(root / "d" / "f", root / "g")
    os.rename(root / "there", root / "d" / "t")
    assert tree(root) == {"g": b"one", "d/t": b"shown"}
    mount.flush("docs/in")
    # The name before the rename goes by a DELETE, which lies in no folder.
    eventually(lambda: set(stored(server)) == {"above", "docs/in/there", "docs/in/g"})
    file_id = out(mount, "id", root / "g")
    assert (root / ".remotefs" / "by-id" / file_id).read_bytes() == b"one"


@pytest.mark.long
def test_h2_a_part_of_the_tree_is_a_mount_like_any_other(
    server: FaultyServer, make_mount: MakeMount, tmp_path: Path
) -> None:
    server.store.add_generated("above", b"not shown")
    server.store.add_generated("docs／in／there", b"shown")
    mount = make_mount("-o", "subdir=docs/in")
    root = mount.path
    assert tree(root) == {"there": b"shown"}
    assert [os.stat(path).st_ino for path in (root, root / ".")] == [1, 1]
    (root / "d").mkdir()
    assert os.stat(root / "d" / "..").st_ino == 1
    (root / "d" / "f").write_bytes(b"one")
    shell(
        f"""cp -a d e; rsync -a d/ r/; mv d/f g; mv d r/d; rm -r e
        {GIT} init -q .; {GIT} add g; {GIT} commit -qm first; {GIT} fsck; test -z "$({GIT} status --short g)"
        """,
        cwd=root,
    )
    expected = {"there": b"shown", "g": b"one", "r/f": b"one"}
    assert tree(root) == expected
    # Commands take paths as they are here.
    file_id = out(mount, "id", root / "g")
    assert out(mount, "path", "--mount", root, file_id) == str(root / "g")
    assert (root / ".remotefs" / "by-id" / file_id).read_bytes() == b"one"
    assert out(mount, "ls", "-0", root / "r").split("\0")[:1] == [str(root / "r" / "f")]
    local = tmp_path / "local"
    local.write_bytes(b"two")
    out(mount, "put", local, root / "r/")
    out(mount, "get", root / "r", tmp_path / "got")
    expected["r/local"] = b"two"
    assert tree(tmp_path / "got" / "r") == {"f": b"one", "local": b"two"}
    out(mount, "flush", root)
    assert "docs/in" in out(mount, "status", root)
    # The whole tree, and the service, have the files in the folder; nothing else was touched.
    below = {f"docs/in/{name}": content for name, content in expected.items()}
    sent = {name: content for name, content in stored(server).items() if ".git" not in name}
    assert sent == below | {"above": b"not shown"}
    remounted(mount)
    assert tree(root) == below | {"above": b"not shown"}


@pytest.mark.long
def test_h2_a_folder_that_is_missing_is_made_and_told(make_mount: MakeMount) -> None:
    mount = make_mount()
    mount.end()
    service = mount.arguments
    mount.arguments = (*service, "-o", "ro,subdir=new")
    refused = mount.start()
    assert refused.returncode == 2
    assert "subdir=new: there is no such folder" in refused.stderr
    mount.arguments = (*service, "-o", "subdir=new")
    done = mount.start()
    assert done.returncode == 0, done.stderr
    assert "subdir=new: there was no such folder in the tree: made it" in done.stderr


@pytest.mark.long
def test_h2_umask_is_shown_and_never_stored(make_mount: MakeMount, tmp_path: Path) -> None:
    mount = make_mount("-o", "fmask=0137,dmask=027")
    root = mount.path
    (root / "f").write_bytes(b"one")
    (root / "d").mkdir()
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("f", "d", ".")}
    assert modes == {"f": 0o640, "d": 0o750, ".": 0o750}
    for change in (lambda: (root / "f").chmod(0o600), lambda: os.chown(root / "f", os.getuid(), 12345)):
        with pytest.raises(OSError) as caught:
            change()
        assert caught.value.errno == errno.EPERM
    os.utime(root / "f", ns=(1, 2))
    os.truncate(root / "f", 1)
    # A copy within the mount has the values that are shown; git copies those of its files.
    shell(f"cp -p f g; cp -a d e; {GIT} init -q .; {GIT} config a.b c; {GIT} add f; {GIT} commit -qm x", cwd=root)
    # What comes from elsewhere keeps its times, and is told where its mode cannot be kept.
    local = tmp_path / "local"
    local.write_bytes(b"two")
    local.chmod(0o600)
    os.utime(local, ns=(5_000_000_000, 5_000_000_000))
    assert run("cp", "-p", local, root / "h", check=False).returncode == 1
    assert (root / "h").stat().st_mtime == 5
    out(mount, "put", local, root / "i")
    assert (root / "i").stat().st_mtime == 5
    remounted(mount)
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o644
    assert (root / "f").read_bytes() == b"o"


def test_h2_rm_of_a_folder_leaves_its_hidden_files(server: FaultyServer, make_mount: MakeMount) -> None:
    server.store.add_generated("d／e／kept.log", b"1")
    server.store.add_generated("d／f", b"2")
    mount = make_mount(settings={"REMOTEFS_NAMES_HIDDEN": "*.log ._*"})
    assert tree(mount.path) == {"d/f": b"2"}
    done = run("rm", "-r", mount.path / "d", check=False)
    assert "not empty" in done.stderr
    with pytest.raises(PermissionError):
        (mount.path / "new.log").write_text("1")
    mount.flush()
    assert stored(server) == {"d/e/kept.log": b"1"}


@pytest.mark.root("enters as another user")
def test_h2_the_kernel_decides_by_the_owner_that_is_shown(make_mount: MakeMount) -> None:
    mount = make_mount("-o", "uid=daemon,gid=daemon,umask=077,allow_other")
    (mount.path / "f").write_bytes(b"one")
    # Entered by root, for the folders of the test above it are closed to others.
    script = "cat f && echo two > g && stat -c ' %U %G %a' g"
    daemon, nobody = (
        ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        for user, group in (("daemon", "daemon"), ("nobody", "nogroup"))
    )
    assert run(*daemon, "sh", "-c", script, cwd=mount.path).stdout == "one daemon daemon 700\n"
    refused = run(*nobody, "cat", "f", cwd=mount.path, check=False)
    assert "Permission denied" in refused.stderr
