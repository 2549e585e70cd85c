"""link, symlink, unlink, mknod: names of files, and files that are not regular ones."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import threading

import pytest

from tests.posix.support import (
    ALICE,
    BOB,
    age,
    fails,
    link_through,
    mode_of,
    moved,
    opened,
    outcome,
    read_file,
    times,
    write_file,
)

pytestmark = pytest.mark.usefixtures("place")


def test_hard_links_are_one_file() -> None:
    write_file("a", b"first")
    os.mkdir("d")
    age("a", "d")
    before, folder = times("a"), times("d")
    os.link("a", "d/b")
    assert (moved("a", before), moved("d", folder)) == ("c", "mc")

    with opened("d/b", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b" second")
    os.chmod("d/b", 0o600)
    os.setxattr("d/b", "user.a", b"1")
    assert (os.stat("a").st_ino, os.stat("a").st_nlink) == (os.stat("d/b").st_ino, 2)
    assert (read_file("a"), mode_of("a"), os.getxattr("a", "user.a")) == (b"first second", 0o600, b"1")

    os.unlink("a")
    assert (read_file("d/b"), os.stat("d/b").st_nlink) == (b"first second", 1)


def test_what_gets_no_further_name() -> None:
    os.mkdir("d")
    write_file("f")
    assert outcome(os.link, "d", "e") == "EPERM"
    assert outcome(os.link, "missing", "e") == "ENOENT"
    with opened("f", os.O_RDONLY) as fd:
        os.unlink("f")
        assert outcome(link_through, f"/proc/self/fd/{fd}", "e") == "ENOENT"
    assert os.listdir() == ["d"]


@pytest.mark.root("device nodes")
@pytest.mark.parametrize("kind", ["fifo", "link", "device"])
def test_other_kinds_have_further_names_too(kind: str) -> None:
    if kind == "fifo":
        os.mkfifo("a")
    elif kind == "link":
        os.symlink("anywhere", "a")
    else:
        os.mknod("a", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.link("a", "b", follow_symlinks=False)
    assert (os.lstat("a").st_ino, os.lstat("b").st_nlink) == (os.lstat("b").st_ino, 2)
    os.unlink("a")
    assert os.lstat("b").st_nlink == 1


@pytest.mark.parametrize(
    "target", ["a", "/absolute/path", "../up", "ünï/cødé", "x" * 255 + "/" + "y" * 255, "z" * 4095]
)
def test_a_symbolic_link_says_what_it_was_given(target: str) -> None:
    os.symlink(target, "link")

    status = os.lstat("link")
    assert os.readlink("link") == target
    assert (status.st_size, stat.S_ISLNK(status.st_mode), status.st_nlink) == (len(target.encode()), True, 1)


def test_a_target_may_be_any_bytes() -> None:
    os.symlink(b"\xff\xfe", "link")
    assert os.readlink(b"link") == b"\xff\xfe"


def test_what_is_no_symbolic_link_and_what_makes_none() -> None:
    write_file("f")
    os.mkdir("d")
    told = [
        outcome(os.readlink, "f"),
        outcome(os.readlink, "d"),
        outcome(os.symlink, "", "e"),
        outcome(os.symlink, "x" * 4096, "e"),
    ]
    assert told == ["EINVAL", "EINVAL", "ENOENT", "ENAMETOOLONG"]


def test_a_chain_of_links_is_followed_and_a_long_one_refused() -> None:
    write_file("l0", b"the end")
    for number in range(1, 42):
        os.symlink(f"l{number - 1}", f"l{number}")
    assert read_file("l40") == b"the end"
    assert outcome(os.open, "l41", os.O_RDONLY) == "ELOOP"


@pytest.mark.root("gives files to others")
def test_a_link_is_its_own_not_its_targets() -> None:
    write_file("f", mode=0o640)
    os.symlink("f", "link")
    os.lchown("link", ALICE.uid, ALICE.gid)
    os.utime("link", ns=(1, 2), follow_symlinks=False)
    assert (os.lstat("link").st_uid, os.lstat("link").st_mtime_ns) == (ALICE.uid, 2)
    assert os.stat("link").st_uid == 0

    os.chmod("link", 0o600)
    os.chown("link", BOB.uid, BOB.gid)
    assert (mode_of("f"), os.stat("f").st_uid, os.lstat("link").st_uid) == (0o600, BOB.uid, ALICE.uid)
    os.unlink("link")
    assert read_file("f") == b"content"


def test_unlinking_marks_the_file_and_the_folder() -> None:
    write_file("f")
    os.link("f", "other")
    age("other", ".")
    before, folder = times("other"), times(".")
    os.unlink("f")
    assert (moved("other", before), moved(".", folder)) == ("c", "mc")


# -- special nodes


@pytest.mark.root("device nodes")
@pytest.mark.parametrize("mask", [0, 0o077])
def test_nodes_are_what_was_asked_for(mask: int) -> None:
    os.umask(mask)
    kinds = {
        "fifo": stat.S_IFIFO,
        "socket": stat.S_IFSOCK,
        "char": stat.S_IFCHR,
        "block": stat.S_IFBLK,
        "file": stat.S_IFREG,
    }
    for name, kind in kinds.items():
        os.mknod(name, kind | 0o666, os.makedev(300, 70_000) if kind in {stat.S_IFCHR, stat.S_IFBLK} else 0)

    assert {name: stat.S_IFMT(os.lstat(name).st_mode) for name in kinds} == kinds
    assert {mode_of(name) for name in kinds} == {0o666 & ~mask}
    assert {name: (os.major(os.lstat(name).st_rdev), os.minor(os.lstat(name).st_rdev)) for name in ("char", "block")} == {
        "char": (300, 70_000), "block": (300, 70_000),
    }  # fmt: skip
    for name in kinds:
        os.unlink(name)
    assert os.listdir() == []


@pytest.mark.root("calls as several users")
def test_device_nodes_are_made_by_root_alone_fifos_by_anybody() -> None:
    with ALICE:
        assert outcome(lambda: os.mknod("c", stat.S_IFCHR | 0o600, os.makedev(1, 3))) == "EPERM"
        assert outcome(lambda: os.mknod("b", stat.S_IFBLK | 0o600, os.makedev(7, 0))) == "EPERM"
        os.mkfifo("fifo")
        os.mknod("file")
    assert {os.lstat(name).st_uid for name in os.listdir()} == {ALICE.uid}


def test_a_fifo_carries_bytes_between_processes() -> None:
    os.mkfifo("fifo")
    with subprocess.Popen(["cat", "fifo"], stdout=subprocess.PIPE) as reader:
        _write_to("fifo", b"through the pipe")
        assert reader.communicate()[0] == b"through the pipe"


def _write_to(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def test_a_socket_is_met_by_its_name() -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind("socket")
        listener.listen()
        caller.connect("socket")
        answering, _ = listener.accept()
        with answering:
            caller.sendall(b"hello")
            assert answering.recv(99) == b"hello"
    with fails("EADDRINUSE"), socket.socket(socket.AF_UNIX) as again:
        again.bind("socket")
    os.unlink("socket")


@pytest.mark.root("device nodes")
def test_a_device_node_works_where_the_mount_allows_it() -> None:
    """The mount of these tests has `-o dev`."""
    os.mknod("zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    with opened("zero", os.O_RDONLY) as fd:
        assert os.read(fd, 4) == bytes(4)


# -- removed but open


def test_an_open_file_lives_on_without_a_name() -> None:
    write_file("f", b"0123456789")
    with opened("f", os.O_RDWR) as fd:
        ino = os.fstat(fd).st_ino
        os.unlink("f")
        assert (os.fstat(fd).st_nlink, os.fstat(fd).st_ino) == (0, ino)
        os.pwrite(fd, b"ab", 4)
        os.ftruncate(fd, 8)
        os.fchmod(fd, 0o600)
        os.utime(fd, ns=(5, 6))
        os.fsync(fd)
        with opened(f"/proc/self/fd/{fd}", os.O_RDONLY) as again:
            assert os.read(again, 99) == b"0123ab67"
        status = os.fstat(fd)
        assert (status.st_size, stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (8, 0o600, 6)
        # The name is free for another file, which is another inode.
        write_file("f", b"new")
        assert os.stat("f").st_ino != ino
        assert os.pread(fd, 99, 0) == b"0123ab67"
    assert read_file("f") == b"new"


def test_readers_of_a_removed_file_read_on_while_others_close() -> None:
    write_file("f", bytes(1 << 20))
    fds = [os.open("f", os.O_RDONLY) for _ in range(4)]
    os.unlink("f")
    for fd in fds:
        assert len(os.pread(fd, 1 << 20, 0)) == 1 << 20
        os.close(fd)
    assert os.listdir() == []


def test_many_threads_make_and_remove_one_name() -> None:
    """One wins each time, the others are told; nothing is left over."""
    won: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            try:
                os.close(os.open("contended", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                continue
            won.append(number)
            os.unlink("contended")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won
    assert os.listdir() == []
