"""Where remote files are shown: the same tree from every machine (N1, N3, N4), nothing of this machine displaced."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs import names
from remotefs.errors import NotFound
from remotefs.store.records import ROOT_INO
from tests.faults import EditJson, FaultyServer
from tests.parts import Host, running

NASTY = [
    "../../etc/passwd", "/etc/passwd", "..", ".", "...", "a//b", "a\0b", "nul\0", "\x01\x02", " ", "a／", "／a", "a／．．／b",
    "a／..／b", ".remotefs", ".remotefs／by-id", "x" * 400, "é" * 300, "CON", "a\nb", "\u202egnp.exe", "[file_x]", "‛", "a‛",
]  # fmt: skip


@pytest.fixture
async def host(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Host]:
    """A machine whose workers rest."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        yield host


def add(host: Host, filename: str, data: bytes = b"xyz") -> str:
    """A file of somebody else; its id."""
    return host.server.store.add(filename, data, downloadable=True).id


def hostile(host: Host, **changes: Any) -> None:
    """The listing tells the oldest file with these changes."""

    def edit(page: dict[str, Any]) -> dict[str, Any]:
        page["data"][-1].update(changes)
        return page

    host.server.script.clear()
    host.server.script.add(EditJson(edit), op="list", times=None)


async def test_n1_a_path_becomes_folders(host: Host) -> None:
    add(host, "a／b／c.txt")
    await host.walk()
    assert (host.ls(), host.ls("a"), host.ls("a/b")) == (["a"], ["b"], ["c.txt"])
    assert await host.read("a/b/c.txt") == b"xyz"


async def test_n1_what_one_machine_writes_another_sees(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    paths = ["d/a: b?.txt", "d/e/‛x／y", "notes.", " lead"]
    async with running(tmp_path, server, state="one") as one:
        one.mkdir("d")
        one.mkdir("d/e")
        for path in paths:
            await one.write(path, b"x")
    async with running(tmp_path, server, state="two") as two:
        await two.walk()
        assert (two.ls(), two.ls("d")) == ([" lead", "d", "notes."], ["a: b?.txt", "e"])
        assert two.ls("d/e") == ["‛x／y"]


async def test_n3_the_newest_has_the_plain_name(host: Host) -> None:
    old, mid, new = add(host, "f.txt", b"old"), add(host, "f.txt", b"mid"), add(host, "f.txt", b"new")
    await host.walk()
    assert host.ls() == sorted(["f.txt", f"f [{old}].txt", f"f [{mid}].txt"])
    assert host.id("f.txt") == new
    assert await host.read(f"f [{old}].txt") == b"old"


async def test_n3_the_age_counts_and_not_the_order_in_which_they_are_seen(host: Host) -> None:
    old = add(host, "f")
    await host.walk()
    new = add(host, "f")
    await host.walk()
    assert (host.id("f"), host.id(f"f [{old}]")) == (new, old)


async def test_n3_a_twins_stem_is_cut_so_that_it_fits(host: Host) -> None:
    name = "n" * 250 + ".txt"
    old = add(host, name)
    add(host, name)
    await host.walk()
    (twin,) = [shown for shown in host.ls() if shown != name]
    assert len(twin.encode()) <= 255
    assert twin.endswith(f" [{old}].txt")


async def test_n3_a_taken_spelling_passes_to_the_next_free_one(host: Host) -> None:
    old = add(host, "f")
    host.mkdir(f"f [{old}]")
    add(host, "f")
    await host.walk()
    assert host.id(f"f [{old}] 2") == old


@pytest.mark.parametrize("file_first", [True, False])
async def test_n3_a_file_that_is_also_a_folder_has_its_id_in_its_name(host: Host, file_first: bool) -> None:
    first = add(host, "a") if file_first else add(host, "a／b")
    await host.walk()
    second = add(host, "a／b") if file_first else add(host, "a")
    await host.walk()
    as_file = first if file_first else second
    assert host.ls() == ["a", f"a [{as_file}]"]
    assert host.ls("a") == ["b"]


async def test_n3_a_local_file_in_the_way_of_a_folder_stays(host: Host) -> None:
    await host.write("a", b"mine")
    theirs = add(host, "a／b")
    await host.walk()
    assert await host.read("a") == b"mine"
    (shown,) = [name for name in host.ls() if name != "a"]
    assert host.id(shown) == theirs


@pytest.mark.parametrize("what", ["pending", "alias", "symlink", "local"])
async def test_n3_a_path_that_holds_something_of_this_machine_keeps_it(host: Host, what: str) -> None:
    if what == "alias":
        add(host, "other", b"mine")
        await host.walk()
        host.rename("other", "a")
    elif what == "symlink":
        host.fs.namespace.symlink(ROOT_INO, b"a", b"target", host.user)
    else:
        await host.write("a" if what == "pending" else ".DS_Store", b"mine")
    name = ".DS_Store" if what == "local" else "a"
    before = host.stat(name).ino
    theirs = add(host, name, b"theirs")
    await host.walk()
    assert host.stat(name).ino == before
    (twin,) = [shown for shown in host.ls() if shown != name]
    assert host.id(twin) == theirs


async def test_n3_a_hard_linked_file_keeps_its_names(host: Host) -> None:
    old = add(host, "a")
    await host.walk()
    host.link("a", "b")
    add(host, "a")
    await host.walk()
    assert host.id("a") == host.id("b") == old
    assert len(host.ls()) == 3


async def test_n3_a_twin_takes_the_plain_name_only_while_the_folder_is_closed(host: Host) -> None:
    """`rm f` does not make f reappear, `rm -r` ends."""
    old, new = add(host, "f"), add(host, "f")
    await host.walk()
    reading = host.fs.namespace.opendir(ROOT_INO)
    host.unlink("f")
    assert host.parts.remotes.find(new) is not None
    await host.walk()
    assert host.ls() == [f"f [{old}]"]
    host.fs.namespace.releasedir(reading)
    await host.walk()
    assert host.ls() == ["f"]
    assert host.id("f") == old


async def test_n3_a_twin_that_was_moved_keeps_where_it_is(host: Host) -> None:
    old = add(host, "f")
    add(host, "f")
    await host.walk()
    host.mkdir("d")
    host.rename(f"f [{old}]", "d/kept")
    host.unlink("f")
    await host.walk()
    assert (host.ls(), host.ls("d")) == (["d"], ["kept"])


@pytest.mark.parametrize("filename", NASTY)
async def test_n4_a_hostile_name_is_shown_safely_and_once(host: Host, filename: str) -> None:
    file_id = add(host, "innocent")
    hostile(host, filename=filename)
    await host.walk()
    await host.walk()
    shown = [path for inode in host.parts.tree.holders(file_id) for path in host.parts.tree.paths_of(inode.ino)]
    assert len(shown) == 1
    for component in shown[0].split("/"):
        assert names.check_component(component.encode()) == component
        assert component not in {".", "..", ""}
    assert shown[0].split("/")[0] != ".remotefs"
    host.unlink(shown[0])


@pytest.mark.parametrize("file_id", ["../x", "", "a/b", "x" * 300, "file_\n"])
async def test_n4_a_file_with_a_hostile_id_is_not_shown(
    host: Host, file_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    add(host, "hostile")
    add(host, "innocent")
    hostile(host, id=file_id)
    await host.walk()
    assert host.ls() == ["innocent"]
    assert "no id that can be read" in caplog.text


async def test_the_kernel_is_never_given_a_changed_inode(host: Host) -> None:
    """A changed remote file is another inode."""
    old = add(host, "f", b"old")
    await host.walk()
    handle = await host.open("f")
    before = host.stat("f").ino
    add(host, "f", b"new")
    await host.walk()
    assert host.stat("f").ino != before
    assert await host.fs.files.read(handle.fh, 0, 3) == b"old"
    assert host.stat(f"f [{old}]").ino == before
    await host.close(handle)


async def test_a_removed_folder_comes_back_with_a_new_remote_file(host: Host) -> None:
    add(host, "d／one")
    await host.walk()
    host.unlink("d/one")
    host.fs.namespace.rmdir(ROOT_INO, b"d")
    add(host, "d／two")
    await host.walk()
    assert host.ls("d") == ["two"]
    with pytest.raises(NotFound):
        host.stat("d/one")


async def test_the_files_of_others_belong_to_the_mounting_user(host: Host) -> None:
    add(host, "d／f")
    await host.walk()
    assert (host.stat("d").mode, host.stat("d/f").mode, host.stat("d/f").uid) == (0o040755, 0o100644, os.getuid())
    assert host.stat("d/f").mtime_ns == host.remote("d/f").created_ns
