"""Reading and writing by inode: where the bytes come from, and what is refused before anything is lost (R2, R6, W1)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs.config import Config
from remotefs.data.content.file import digest_of
from remotefs.errors import AlreadyExists, FileTooBig, InvalidArgument, NotReadable, StaleError
from remotefs.store.records import ROOT_INO, ContentState, Inode
from remotefs.vfs.attributes import AttributeChange
from tests.between import Between
from tests.faults import CutBody, FaultyServer, Reply
from tests.parts import Host, running

Server = FaultyServer
Clock = trio.abc.Clock


@pytest.fixture
async def host(tmp_path: Path, server: Server, clock: Clock) -> AsyncIterator[Host]:
    """A machine whose workers rest."""
    async with running(tmp_path, server, working=False, durability="local", change=_small_files) as host:
        yield host


def _small_files(config: Config) -> Config:
    return msgspec.structs.replace(config, service=msgspec.structs.replace(config.service, max_file_bytes=1000))


async def test_w1_a_foreign_file_is_fetched_before_it_is_changed(host: Host) -> None:
    host.server.store.add_generated("a", b"hello world")
    await host.walk()
    handle = await host.open("a", os.O_RDWR)
    await host.fs.files.write(handle.fh, 6, b"WORLD")
    assert await host.fs.files.read(handle.fh, 0, 100) == b"hello WORLD"
    await host.close(handle)
    assert [intent.kind for intent in host.pending()] == ["upload"]


async def test_w1_truncated_on_open_it_costs_no_download(host: Host) -> None:
    host.server.store.add_generated("a", b"hello world")
    await host.walk()
    await host.write("a", b"new")
    assert host.server.script.count("content") == 0
    assert await host.read("a") == b"new"


@pytest.mark.parametrize(("flags", "then"), [(os.O_WRONLY, b"Jello"), (os.O_WRONLY | os.O_TRUNC, b"J")])
async def test_what_a_failed_write_left_does_not_stop_the_next(host: Host, flags: int, then: bytes) -> None:
    host.server.store.add_generated("a", b"hello")
    await host.walk()
    inode = host.stat("a")
    host.parts.staging.create(inode.ino, inode.content_gen + 1).write(0, b"left over")
    await host.write("a", b"J", flags)
    assert await host.read("a") == then


async def test_w1_holes_read_as_zeros(host: Host) -> None:
    handle = await host.open("a", os.O_RDWR | os.O_CREAT)
    await host.fs.files.write(handle.fh, 10, b"x")
    assert await host.fs.files.read(handle.fh, 0, 100) == bytes(10) + b"x"
    await host.fs.attributes.setattr(handle.ino, AttributeChange(size=20), handle.fh)
    await host.fs.attributes.setattr(handle.ino, AttributeChange(size=5), handle.fh)
    await host.fs.attributes.setattr(handle.ino, AttributeChange(size=8), handle.fh)
    assert await host.fs.files.read(handle.fh, 0, 100) == bytes(8)
    assert await host.fs.files.read(handle.fh, 8, 5) == b""
    await host.close(handle)


async def test_r2_what_cannot_be_had_back_is_listed_and_not_opened(host: Host) -> None:
    host.server.store.add("a", b"hello", downloadable=False)
    await host.walk()
    assert host.stat("a").size == 5
    assert host.xattr("a", "readable").startswith("no: ")
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_APPEND):
        with pytest.raises(NotReadable, match="replaced or removed"):
            await host.open("a", flags)
    ino = host.stat("a").ino
    with pytest.raises(NotReadable):
        await host.fs.attributes.setattr(ino, AttributeChange(size=3), None)
    assert (host.stat("a").size, host.stat("a").state) == (5, ContentState.CLEAN)
    await host.fs.attributes.setattr(ino, AttributeChange(size=0), None)
    await host.write("a", b"mine")
    assert await host.read("a") == b"mine"


async def test_what_is_too_large_is_refused_at_the_write(host: Host) -> None:
    """W2."""
    await host.write("a", b"x" * 1000)
    handle = await host.open("a", os.O_RDWR)
    with pytest.raises(FileTooBig, match="a: "):
        await host.fs.files.write(handle.fh, 1000, b"y")
    with pytest.raises(FileTooBig):
        await host.fs.attributes.setattr(handle.ino, AttributeChange(size=1001), handle.fh)
    with pytest.raises(InvalidArgument):
        await host.fs.attributes.setattr(handle.ino, AttributeChange(size=-1), handle.fh)
    host.unlink("a")
    with pytest.raises(FileTooBig, match="inode"):
        await host.fs.files.write(handle.fh, 1000, b"y")
    assert await host.fs.files.read(handle.fh, 999, 5) == b"x"
    await host.close(handle)


async def test_r4_deleted_elsewhere_while_open_is_stale(host: Host) -> None:
    made = host.server.store.add_generated("a", b"hello")
    await host.walk()
    handle = await host.open("a")
    host.server.store.delete(made.id)
    with pytest.raises(StaleError):
        await host.fs.files.read(handle.fh, 0, 5)
    await host.close(handle)


async def test_a_failed_download_leaves_the_file_as_it_was(host: Host) -> None:
    host.server.store.add_generated("a", b"hello world")
    await host.walk()
    host.server.script.add(Reply(404), op="content", times=1)
    handle = await host.open("a", os.O_RDWR)
    with pytest.raises(StaleError, match="404"):
        await host.fs.files.write(handle.fh, 0, b"J")
    assert host.stat("a").state == ContentState.CLEAN
    host.server.script.clear()
    await host.fs.files.write(handle.fh, 0, b"J")
    assert await host.fs.files.read(handle.fh, 0, 5) == b"Jello"
    await host.close(handle)


async def test_r6_a_body_that_is_cut_is_fetched_again(host: Host) -> None:
    host.server.store.add_generated("a", b"hello world")
    await host.walk()
    host.server.script.add(CutBody(5), op="content")
    assert await host.read("a") == b"hello world"


async def test_two_writers_share_one_content(host: Host) -> None:
    """W1: dirty state belongs to the inode."""
    one = await host.open("a", os.O_RDWR | os.O_CREAT)
    two = await host.open("a", os.O_RDWR)
    async with trio.open_nursery() as nursery:
        for handle, at in ((one, 0), (two, 3)):
            nursery.start_soon(host.fs.files.write, handle.fh, at, b"abc")
    assert await host.fs.files.read(one.fh, 0, 10) == b"abcabc"
    await host.close(one)
    await host.close(two)
    assert len(host.pending()) == 1


async def test_create_makes_a_file_of_a_local_one(host: Host, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"hello world")
    namespace, root = host.fs.namespace, host.parts.tree.get(ROOT_INO)
    made = await host.parts.file_writer.create(
        tmp_path / "source", 5, lambda: namespace.mknod(root.ino, b"a", 0o100600, 0, host.user)
    )
    assert (made.size, await host.read("a")) == (5, b"hello")
    assert len(host.pending()) == 1


async def test_what_cannot_be_made_leaves_nothing(host: Host, tmp_path: Path) -> None:
    """Neither a name nor bytes, and the next file gets the number that this one would have had."""
    (tmp_path / "source").write_bytes(b"hello world")
    taken = 0

    def make() -> Inode:
        nonlocal taken
        taken = host.fs.namespace.mknod(ROOT_INO, b"a", 0o100600, 0, host.user).ino
        raise AlreadyExists("after all")

    with pytest.raises(AlreadyExists, match="after all"):
        await host.parts.file_writer.create(tmp_path / "source", 5, make)
    host.parts.staging.create(taken + 1, 1)  # in the way of its bytes
    with pytest.raises(AlreadyExists, match="staged file"):
        await host.parts.file_writer.create(tmp_path / "source", 5, lambda: _second(host))
    assert (host.ls(), host.pending()) == ([], [])
    assert os.listdir(host.state_dir / "staging") == [f"{taken + 1}-1"]
    await host.write("b", b"x")
    assert host.stat("b").ino == taken


def _second(host: Host) -> Inode:
    host.fs.namespace.mkdir(ROOT_INO, b"d", 0o755, host.user)
    return host.fs.namespace.mknod(ROOT_INO, b"a", 0o100600, 0, host.user)


async def test_settling_what_is_not_settled_yet_does_nothing(host: Host) -> None:
    await host.write("a", b"x")
    await host.parts.promotion.promote_to_content(host.stat("a").ino)
    await host.parts.promotion.promote_to_content(123456)
    assert host.stat("a").staged_gen is not None


async def test_staging_what_is_empty_or_staged_already_does_nothing(host: Host) -> None:
    await host.write("a", b"x")
    await host.close(await host.open("empty", os.O_WRONLY | os.O_CREAT))
    await host.parts.file_writer.stage(host.stat("a").ino)
    await host.parts.file_writer.stage(host.stat("empty").ino)
    assert len(host.parts.staging.scan()) == 1


async def test_unlinked_while_it_is_staged_nothing_is_left(host: Host) -> None:
    nth, steps = 1, 2
    while nth < steps:
        await host.write("a", b"x" * 500)
        await host.confirm("a", f"file_{nth}")
        ino = host.stat("a").ino
        host.parts.handles.looked_up(ino)

        async def stage(ino: int = ino) -> None:
            with suppress(NotReadable):  # unlinked before it began
                await host.parts.file_writer.stage(ino)

        with Between("stage", nth, lambda: host.unlink("a")) as between:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stage)
        steps = between.seen
        host.fs.namespace.forget(ino, 1)
        assert host.parts.staging.scan() == []
        nth += 1
    assert nth > 2, "it is verified and copied in threads"


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=5000), st.binary(max_size=5000))
def test_digests_tell_contents_apart(tmp_path_factory: pytest.TempPathFactory, one: bytes, two: bytes) -> None:
    folder = tmp_path_factory.mktemp("digests")
    (folder / "one").write_bytes(one)
    (folder / "two").write_bytes(two)
    assert (digest_of(folder / "one") == digest_of(folder / "two")) == (one == two)
    assert digest_of(None) == digest_of(Path(os.devnull))
