"""A part of the tree as the root of a mount (`subdir=`), and names that are hidden (`[names] hidden`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config, RefreshConfig
from remotefs.control.messages.ls import LsParams
from remotefs.control.messages.paths import PathsParams
from remotefs.errors import AccessDenied, DirectoryNotEmpty, NotFound, UsageError
from remotefs.mount.commands.groups import CommandGroups, command_groups
from remotefs.mount.subdir import begin_view
from remotefs.store.records import ROOT_INO
from tests.faults import FaultyServer
from tests.parts import Host, running, settings

HIDDEN = ("*.log", ".git", "secret")


@pytest.fixture
async def host(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Host]:
    """A machine for which a file that is missing once is gone at the next listing."""

    def hasty(config: Config) -> Config:
        return msgspec.structs.replace(config, refresh=RefreshConfig(removal_min_age_s=0.0))

    async with running(tmp_path, server, durability="local", change=hasty) as host:
        yield host


@pytest.fixture
async def hiding(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Host]:
    """A machine that hides some names, with files of the service under them."""
    for path in ("a.txt", "d／x.log", "d／e／y.log", "only／z.log", "secret／f", "d／g"):
        server.store.add(path, b"1", downloadable=True)

    def hide(config: Config) -> Config:
        return msgspec.structs.replace(config, names=msgspec.structs.replace(config.names, hidden=HIDDEN))

    async with running(tmp_path, server, durability="local", change=hide) as host:
        await host.walk()
        yield host


def begin(host: Host, path: str, *, makes: bool = True) -> bool:
    return begin_view(host.parts.tree, host.parts.view, path, makes=makes)


def commands(host: Host) -> CommandGroups:
    chosen = settings(host.state_dir, host.server.url)
    return command_groups(chosen, host.parts, stop=lambda: None, yield_state=lambda: False)


async def listed(host: Host, path: str) -> list[str]:
    page = await commands(host).ls.ls(LsParams(paths=(path,)), lambda _: None)
    return [file.path for file in page.files]


# -- subdir


async def test_h2_the_folder_is_made_where_it_is_missing(host: Host) -> None:
    assert begin(host, "a/b") is True
    assert begin(host, "a/b") is False
    assert host.ls("a") == ["b"]
    assert host.pending() == []


async def test_h2_the_folder_stays_when_all_its_files_are_removed_elsewhere(host: Host) -> None:
    kept = host.server.store.add("kept／f", b"1", downloadable=True)
    gone = host.server.store.add("gone／f", b"1", downloadable=True)
    host.server.store.add("other", b"1", downloadable=True)
    await host.walk()
    begin(host, "kept")
    for file in (kept, gone):
        host.server.store.delete(file.id)
    for _ in range(2):
        await host.walk()
    assert host.ls() == ["kept", "other"]
    assert host.ls("kept") == []


@pytest.mark.parametrize(("path", "makes"), [("missing", False), ("f", True), ("f/below", True)])
async def test_h2_a_root_that_cannot_be_is_refused(host: Host, path: str, makes: bool) -> None:
    await host.write("f", b"1")
    with pytest.raises(UsageError, match=f"subdir={path}"):
        begin(host, path, makes=makes)
    assert host.ls() == ["f"]


async def test_h2_nothing_lies_above_the_root(host: Host) -> None:
    for path in ("a", "a/b", "a/b/c"):
        host.mkdir(path)
    begin(host, "a/b")
    namespace, root, inner = host.fs.namespace, host.stat("a/b").ino, host.stat("a/b/c").ino
    assert namespace.lookup(root, b"..").ino == root
    assert namespace.lookup(inner, b"..").ino == root
    for folder in (root, inner):
        fh = namespace.opendir(folder)
        assert [entry.ino for entry in namespace.readdir(fh, 0)][:2] == [folder, root]
        namespace.releasedir(fh)


async def test_h2_files_are_found_by_id_below_the_root_alone(host: Host) -> None:
    host.mkdir("a")
    await host.write("a/in", b"1")
    await host.write("out", b"2")
    await host.settled()
    inside, outside = host.id("a/in"), host.id("out")
    begin(host, "a")
    namespace = host.fs.namespace
    by_id = namespace.lookup(namespace.lookup(host.stat("a").ino, b".remotefs").ino, b"by-id").ino
    assert namespace.lookup(by_id, inside.encode()).ino == host.stat("a/in").ino
    with pytest.raises(NotFound):
        namespace.lookup(by_id, outside.encode())
    with pytest.raises(AccessDenied):
        namespace.mkdir(host.stat("a").ino, b".remotefs", 0o755, host.user)
    result = await commands(host).paths.paths(PathsParams((inside, outside)), lambda _: None)
    assert result.paths == ("a/in", None)
    assert await listed(host, "a") == ["a/in"]
    with pytest.raises(NotFound):
        await listed(host, "out")


async def test_h2_the_root_tells_its_path(host: Host) -> None:
    host.mkdir("a")
    begin(host, "a")
    xattrs, root = host.fs.xattrs, host.stat("a").ino
    assert xattrs.getxattr(root, b"user.remotefs.subdir") == b"a"
    assert xattrs.getxattr(root, b"user.remotefs.control").endswith(b"control.sock")
    assert xattrs.listxattr(root) == []


# -- hidden names


async def test_h2_hidden_names_are_neither_listed_nor_found(hiding: Host) -> None:
    assert (hiding.ls(), hiding.ls("d"), hiding.ls("only")) == (["a.txt", "d", "only"], ["e", "g"], [])
    for path in ("d/x.log", "secret"):
        with pytest.raises(NotFound):
            hiding.stat(path)
    assert await listed(hiding, "") == ["a.txt", "d/g"]
    for path in ("d/x.log", "secret"):
        with pytest.raises(NotFound):
            await listed(hiding, path)
    # They are there all the same.
    assert hiding.parts.tree.resolve("secret/f") is not None
    assert hiding.parts.remotes.shown_count() == 6


async def test_h2_a_hidden_name_cannot_be_made_removed_or_replaced(hiding: Host) -> None:
    for make in (
        lambda: hiding.mkdir("secret"),
        lambda: hiding.link("a.txt", "d/x.log"),
        lambda: hiding.rename("a.txt", "d/x.log"),
        lambda: hiding.rename("a.txt", "new.log"),
    ):
        with pytest.raises(AccessDenied, match="hidden"):
            make()
    with pytest.raises(AccessDenied, match="hidden"):
        await hiding.write("new.log", b"1")
    for take in (lambda: hiding.unlink("d/x.log"), lambda: hiding.rename("secret", "shown")):
        with pytest.raises(NotFound):
            take()
    assert hiding.pending() == []
    assert hiding.parts.remotes.shown_count() == 6


async def test_h2_a_folder_of_hidden_files_alone_is_not_empty(hiding: Host) -> None:
    rmdir = hiding.fs.namespace.rmdir
    with pytest.raises(DirectoryNotEmpty):
        rmdir(ROOT_INO, b"only")
    hiding.mkdir("empty")
    with pytest.raises(DirectoryNotEmpty):
        hiding.rename("empty", "only")
    # As `rm -r` does it.
    hiding.unlink("d/g")
    for parent, name in ((hiding.stat("d").ino, b"e"), (ROOT_INO, b"d")):
        with pytest.raises(DirectoryNotEmpty):
            rmdir(parent, name)
    await hiding.settled()
    assert hiding.remote_names() == ["a.txt", "d／e／y.log", "d／x.log", "only／z.log", "secret／f"]


async def test_h2_a_renamed_folder_takes_its_hidden_files_along(hiding: Host) -> None:
    hiding.rename("d", "moved")
    await hiding.settled()
    for path in ("moved/x.log", "moved/e/y.log"):
        assert hiding.parts.tree.resolve(path) is not None
    assert len(hiding.remote_names()) == 6


async def test_h2_a_file_is_found_by_id_by_a_name_that_is_shown(hiding: Host) -> None:
    file, namespace = hiding.parts.tree.resolve("d/x.log"), hiding.fs.namespace
    assert file is not None
    assert file.file_id is not None
    by_id = namespace.lookup(namespace.lookup(ROOT_INO, b".remotefs").ino, b"by-id").ino
    with pytest.raises(NotFound):
        namespace.lookup(by_id, file.file_id.encode())
    namespace.link(file.ino, ROOT_INO, b"x.txt")
    assert namespace.lookup(by_id, file.file_id.encode()).ino == file.ino


async def test_h8_a_long_folder_of_hidden_names_comes_in_pages(hiding: Host) -> None:
    with hiding.parts.database.transaction():
        for number in range(600):
            hiding.parts.tree.create(ROOT_INO, f"{number}.log", 0o100644, uid=0, gid=0, now_ns=0)
    fh = hiding.fs.namespace.opendir(ROOT_INO)
    pages = [[entry.name for entry in page] for page in hiding.fs.namespace.pages(fh, 0)]
    assert [] in pages
    assert sorted(name for page in pages for name in page) == [".", "..", "a.txt", "d", "only"]
