"""How programs save, replayed as the system calls they make: each costs one upload and one delete, and leaves one file.

What replaces comes to the service before what is replaced goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.apps.conftest import Desk
from tests.posix.support import RENAME_EXCHANGE, link_through, rename2

OLD, NEW = b"the old content\n", b"the new content, longer\n"


def _write(path: str, content: bytes = NEW, flags: int = os.O_CREAT | os.O_TRUNC, *, sync: bool = True) -> None:
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    os.write(fd, content)
    if sync:
        os.fsync(fd)
    os.close(fd)


def _truncate_and_write() -> None:
    """VS Code, nano, a shell."""
    _write("file.txt", flags=os.O_TRUNC, sync=False)


def _write_over_and_cut() -> None:
    """Notepad-like: over the old bytes, then the length."""
    fd = os.open("file.txt", os.O_RDWR)
    os.write(fd, NEW)
    os.ftruncate(fd, len(NEW))
    os.close(fd)


def _glib() -> None:
    """gedit, gio save, Evolution: a stream beside it, the old one's mode, rename."""
    _write(".goutputstream-A1B2C3", flags=os.O_CREAT | os.O_EXCL)
    os.chmod(".goutputstream-A1B2C3", 0o644)
    os.rename(".goutputstream-A1B2C3", "file.txt")


def _glib_with_a_backup() -> None:
    """gedit that keeps a copy: a link of the old, then rename; the copy goes."""
    _write(".goutputstream-A1B2C3", flags=os.O_CREAT | os.O_EXCL)
    os.link("file.txt", "file.txt~")
    os.rename(".goutputstream-A1B2C3", "file.txt")
    os.unlink("file.txt~")


def _vs_code_atomic() -> None:
    _write("file.txt.vsctmp")
    os.rename("file.txt.vsctmp", "file.txt")


def _jetbrains() -> None:
    """Safe write: the new one under a name, the old one moved aside, the new one in, the old one gone."""
    _write("file.txt___jb_tmp___")
    os.rename("file.txt", "file.txt___jb_old___")
    os.rename("file.txt___jb_tmp___", "file.txt")
    os.unlink("file.txt___jb_old___")


def _libreoffice() -> None:
    """A lock beside it; a temporary file, copied over the document in place; the lock goes."""
    _write(".~lock.file.txt#", b",somebody,machine,23.11.2026 02:12,file:///home;", sync=False)
    _write("lu12345abc.tmp")
    os.rename("lu12345abc.tmp", "file.txt")
    os.unlink(".~lock.file.txt#")


def _libreoffice_with_a_backup() -> None:
    """The same, the document moved aside until the new one is there."""
    _write(".~lock.file.txt#", b",somebody,machine", sync=False)
    _write("lu98765zyx.tmp")
    os.rename("file.txt", "file.txt.tmp")
    os.rename("lu98765zyx.tmp", "file.txt")
    os.unlink("file.txt.tmp")
    os.unlink(".~lock.file.txt#")


def _ms_office() -> None:
    _write("~$file.txt", b"owner", sync=False)
    _write("A1B2C3D4.tmp")
    os.rename("file.txt", "E5F60718.tmp")
    os.rename("A1B2C3D4.tmp", "file.txt")
    os.unlink("E5F60718.tmp")
    os.unlink("~$file.txt")


def _emacs() -> None:
    """A lock as a symbolic link, an auto-save, the old one renamed to the backup, the new one written; backup gone."""
    os.symlink("me@machine.1:2", ".#file.txt")
    _write("#file.txt#", b"auto-save")
    os.rename("file.txt", "file.txt~")
    _write("file.txt", flags=os.O_CREAT | os.O_EXCL)
    os.unlink("#file.txt#")
    os.unlink("file.txt~")
    os.unlink(".#file.txt")


def _vim() -> None:
    """Its test of the folder, the backup by rename, the new file, a look at it, the backup goes."""
    _write(".file.txt.swp", bytes(4096))
    _write("4913", b"", sync=False)
    os.unlink("4913")
    os.rename("file.txt", "file.txt~")
    _write("file.txt")
    os.unlink("file.txt~")
    os.unlink(".file.txt.swp")


def _qt() -> None:
    """QSaveFile: `name.XXXXXX` renamed over."""
    _write("file.txt.aZ19bQ", flags=os.O_CREAT | os.O_EXCL)
    os.rename("file.txt.aZ19bQ", "file.txt")


def _link_and_unlink() -> None:
    """Where rename is not trusted: the new one, the old name taken away, the new one linked to it."""
    _write("file.txt.tmp")
    os.unlink("file.txt")
    os.link("file.txt.tmp", "file.txt")
    os.unlink("file.txt.tmp")


def _link_aside_and_unlink() -> None:
    """The same with the old one linked aside first."""
    _write("file.txt.tmp")
    os.link("file.txt", "file.txt~")
    os.unlink("file.txt")
    os.link("file.txt.tmp", "file.txt")
    os.unlink("file.txt.tmp")
    os.unlink("file.txt~")


def _link_through_descriptor() -> None:
    """As with an unnamed file: the open file gets the name."""
    fd = os.open("file.txt.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, NEW)
    os.unlink("file.txt")
    link_through(f"/proc/self/fd/{fd}", "file.txt")
    os.close(fd)
    os.unlink("file.txt.tmp")


def _exchange() -> None:
    """Swapped in one step, then the old one goes."""
    _write("file.txt.tmp")
    rename2("file.txt.tmp", "file.txt", RENAME_EXCHANGE)
    os.unlink("file.txt.tmp")


def _rename_before_close() -> None:
    fd = os.open("file.txt.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, NEW[:5])
    os.rename("file.txt.tmp", "file.txt")
    os.write(fd, NEW[5:])
    os.close(fd)


def _remove_and_write() -> None:
    os.unlink("file.txt")
    _write("file.txt", flags=os.O_CREAT | os.O_EXCL)


def _empty_then_write() -> None:
    """Created or cut in one open, written in the next."""
    os.close(os.open("file.txt", os.O_WRONLY | os.O_TRUNC))
    _write("file.txt", flags=os.O_APPEND, sync=False)


PATTERNS: list[Callable[[], None]] = [
    _truncate_and_write, _write_over_and_cut, _glib, _glib_with_a_backup, _vs_code_atomic, _jetbrains, _libreoffice,
    _libreoffice_with_a_backup, _ms_office, _emacs, _vim, _qt, _link_and_unlink, _link_aside_and_unlink,
    _link_through_descriptor, _exchange, _rename_before_close, _remove_and_write, _empty_then_write,
]  # fmt: skip


def _name(pattern: Callable[[], None]) -> str:
    return pattern.__name__.strip("_")


@pytest.mark.parametrize("pattern", PATTERNS, ids=_name)
def test_a_save_is_one_upload_and_one_delete(
    desk: Desk, pattern: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    _write("file.txt", OLD)
    desk.start_counting()
    pattern()
    monkeypatch.undo()

    assert (desk.folder / "file.txt").read_bytes() == NEW
    assert desk.names() == {"file.txt"}
    assert desk.requests() == ["upload", "delete"]
    assert [Path(path).name for path in desk.uploaded] == ["file.txt"]


@pytest.mark.parametrize("pattern", PATTERNS, ids=_name)
def test_three_saves_in_a_row_leave_the_last(
    desk: Desk, pattern: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    _write("file.txt", OLD)
    for _ in range(3):
        pattern()
    monkeypatch.undo()

    assert (desk.folder / "file.txt").read_bytes() == NEW
    assert desk.names() == {"file.txt"}
