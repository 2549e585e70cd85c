"""A store in a folder: what a disk, a share and a power cut may do to it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from remotefs.errors import (
    ObjectMissing,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnreachable,
    ObjectStoreUnusable,
    TransportError,
)
from remotefs.objects.store import ObjectStore
from tests.crash.forgetful import Persistence
from tests.crash.power import ForgetfulDisk
from tests.failing import failing

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "share" / "store"
    root.mkdir(parents=True)
    return root


def at(root: Path) -> ObjectStore:
    return ObjectStore.open(f"file://{root}")


async def put(store: ObjectStore, key: str, data: bytes) -> None:
    await store.put(key, lambda: [data], len(data))


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_an_address_may_have_quoted_letters(tmp_path: Path) -> None:
    (tmp_path / "my share").mkdir()
    store = ObjectStore.open(f"file://{tmp_path}/my%20share/")
    await put(store, "c/x", b"1")
    assert files(tmp_path) == ["my share/c/x"]
    assert store.url == f"file://{tmp_path}/my%20share"


def test_a_folder_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ObjectStoreUnusable, match="does not exist: make it, or mount its share"):
        at(tmp_path / "share")
    (tmp_path / "file").touch()
    with pytest.raises(ObjectStoreUnusable):
        at(tmp_path / "file")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


async def test_a_folder_that_goes_away_is_not_made_again_and_does_not_look_empty(root: Path) -> None:
    store = at(root)
    await put(store, "c/x", b"1")
    os.rename(root, away := root.parent / "away")
    for call in (
        lambda: put(store, "c/y", b"1"), lambda: store.create("y", b"1"), lambda: store.get("c/x"), lambda: store.size_of("c/x"),
        lambda: store.delete(["c/x"]), lambda: store.copy("c/x", "y"), lambda: anext(store.list("")),
    ):  # fmt: skip
        with pytest.raises(ObjectStoreUnusable, match="does not exist"):
            await call()
    assert os.listdir(root.parent) == ["away"]
    os.rename(away, root)
    assert await store.get("c/x") == b"1"


async def test_the_empty_place_of_a_share_is_not_taken_for_the_share(root: Path) -> None:
    store = at(root)
    await put(store, "c/x", b"1")
    os.rename(root, root.parent / "away")
    os.mkdir(root)
    for call in (
        lambda: put(store, "c/y", b"1"), lambda: store.create("y", b"1"), lambda: store.get("c/x"), lambda: store.size_of("c/x"),
        lambda: store.delete(["c/x"]), lambda: anext(store.list("")),
    ):  # fmt: skip
        with pytest.raises(ObjectStoreUnusable, match="another folder is at the address"):
            await call()
    assert os.listdir(root) == []


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgetfulDisk]:
    disk = ForgetfulDisk(tmp_path_factory.mktemp("forgetful"))
    yield disk
    disk.close()


@pytest.mark.mount
@pytest.mark.parametrize("persistence", list(Persistence))
async def test_what_was_acknowledged_survives_a_power_cut(
    disk: ForgetfulDisk, tmp_path: Path, persistence: Persistence
) -> None:
    root = disk.root / persistence.value
    root.mkdir()
    # Another machine made these and had not come to syncing them.
    (root / "l" / "one").mkdir(parents=True)
    store = at(root)
    bodies = {f"c/{number:02x}/x": b"%d" % number * 5000 for number in range(5)}
    for key, data in bodies.items():
        await put(store, key, b"older")
        await put(store, key, data)
    assert await store.create("l/one/1", b"created")
    await store.copy("c/01/x", "d/new/x")
    await store.delete(["c/02/x"])
    disk.cut_power(persistence.value, tmp_path / "left", persistence, seed=1)
    kept = at(tmp_path / "left")
    bodies |= {"l/one/1": b"created", "d/new/x": bodies["c/01/x"]}
    del bodies["c/02/x"]
    assert {key: await kept.get(key) for key in bodies} == bodies
    assert [entry.key async for page in kept.list("") for entry in page] == sorted(bodies)


@pytest.mark.parametrize(
    ("call", "code", "kind"),
    [
        ("fsync", errno.ENOSPC, ObjectStoreError), ("fsync", errno.EIO, ObjectStoreUnreachable), ("open", errno.EACCES, ObjectStoreDenied),
        ("open", errno.EROFS, ObjectStoreDenied), ("open", errno.ESTALE, ObjectStoreUnreachable), ("open", errno.EDQUOT, ObjectStoreError),
        ("link", errno.EPERM, ObjectStoreDenied), ("replace", errno.ETIMEDOUT, ObjectStoreUnreachable), ("mkdir", errno.EMLINK, ObjectStoreError),
    ],
)  # fmt: skip
async def test_a_failing_disk_leaves_nothing_and_says_who_is_to_blame(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type[ObjectStoreError]
) -> None:
    store = at(root)
    with failing(monkeypatch, call, code):
        for attempt in ("create",) if call == "link" else ("put",) if call == "replace" else ("put", "create"):
            with pytest.raises(ObjectStoreError) as caught:
                await (store.create("c/x", b"1") if attempt == "create" else put(store, "c/x", b"1"))
            assert type(caught.value) is kind
            assert isinstance(caught.value, TransportError) is (kind is ObjectStoreUnreachable)
            assert str(caught.value).startswith(f"file://{root}/c/x: the shared store ")
    # A folder that could not be synced may have the name all the same.
    assert [name for name in files(root) if name != "c/x"] == []
    await put(store, "c/x", b"2")
    assert files(root) == ["c/x"]


@pytest.mark.parametrize("mode", [0o700, 0o2770, 0o755])
async def test_what_is_made_may_be_used_by_those_who_may_use_the_folder(root: Path, mode: int) -> None:
    os.chmod(root, mode)
    before = os.umask(0o077)
    try:
        await put(at(root), "c/aa/x", b"1")
        await at(root).create("l/1", b"1")
    finally:
        os.umask(before)
    for key in ("c/aa/x", "l/1"):
        assert stat.S_IMODE((root / key).stat().st_mode) == mode & 0o666
        assert stat.S_IMODE((root / key).parent.stat().st_mode) == mode
    assert stat.S_IMODE((root / "c").stat().st_mode) == mode


async def test_what_a_crash_left_is_not_listed(root: Path) -> None:
    store = at(root)
    await put(store, "c/x", b"1")
    (root / "c" / ".x.0123456789abcdef.new").write_bytes(b"half")
    (root / ".snapshot").mkdir()
    (root / ".snapshot" / "x").touch()
    assert [entry.key async for page in store.list("") for entry in page] == ["c/x"]


async def test_a_reader_keeps_an_object_that_is_deleted_or_replaced(root: Path) -> None:
    store = at(root)
    data = os.urandom(3 * MIB)
    for change in (lambda: store.delete(["x"]), lambda: put(store, "x", b"new")):
        await put(store, "x", data)
        async with store.stream("x") as pieces:
            read = await anext(pieces)
            await change()
            read += b"".join([piece async for piece in pieces])
        assert read == data


async def test_an_object_that_becomes_shorter_is_not_a_whole_one(root: Path) -> None:
    store = at(root)
    await put(store, "x", bytes(3 * MIB))
    async with store.stream("x") as pieces:
        await anext(pieces)
        os.truncate(root / "x", MIB)
        with pytest.raises(ObjectStoreError, match="became shorter"):
            await anext(pieces)


async def test_what_is_not_a_file_is_not_an_object(root: Path) -> None:
    store = at(root)
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    for key in ("fifo", "folder"):
        with pytest.raises(ObjectMissing):
            await store.get(key)
        assert await store.size_of(key) is None


async def test_a_link_whose_reply_was_lost_is_ours(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of NFS that is asked again finds the name that it has made."""
    store, link = at(root), os.link

    def asked_again(source: Path, target: Path, **options: bool) -> None:
        link(source, target, **options)
        raise FileExistsError(errno.EEXIST, "exists", str(target))

    monkeypatch.setattr(os, "link", asked_again)
    assert await store.create("x", b"mine") is True
    monkeypatch.undo()
    assert await store.create("x", b"other") is False
    assert await store.get("x") == b"mine"
    assert files(root) == ["x"]


async def test_a_listing_is_in_the_order_of_keys_not_of_folders(root: Path) -> None:
    store = at(root)
    keys = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b"]
    for key in reversed(keys):
        await put(store, key, b"")
    for number, after in enumerate(["", *keys]):
        assert [entry.key async for page in store.list("", after=after) for entry in page] == keys[number:]


async def test_a_stream_that_is_left_while_it_reads_closes_its_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pread, go_on = at(root), os.pread, threading.Event()
    await put(store, "x", bytes(3 * MIB))
    token, reading = trio.lowlevel.current_trio_token(), trio.Event()

    def slow(fd: int, size: int, offset: int) -> bytes:
        token.run_sync_soon(reading.set)
        go_on.wait(20)
        return pread(fd, size, offset)

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pread", slow)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            async with store.stream("x") as pieces:
                await anext(pieces)

        nursery.start_soon(read)
        await reading.wait()
        nursery.cancel_scope.cancel()
    assert store.limiter.borrowed_tokens == 1
    go_on.set()
    with trio.fail_after(20):
        while store.limiter.borrowed_tokens:
            await trio.lowlevel.checkpoint()
    assert set(os.listdir("/proc/self/fd")) - before == set()
