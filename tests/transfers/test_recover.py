"""`recover`: what is in the shared store comes back without a mount and without a state folder (X1)."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.cli.exit_status import sole_error
from remotefs.config import SharedConfig
from remotefs.errors import ObjectStoreUnusable, RemotefsError, UsageError
from remotefs.mount.recover.session import RecoverRequest, recover
from remotefs.mount.settings import MountSettings
from tests.data.share.test_attributes import chattr, exchanged, furnish
from tests.data.share.test_uploads import machine, objects
from tests.faults import FaultyServer, Reply
from tests.parts import Host, running
from tests.transfers.support import no_display, passing_time, quietly, state_settings

Server = FaultyServer
Clock = trio.abc.Clock
_LARGE = os.urandom(2_500_000)
BROUGHT = ("fetched", None)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder that all machines had mounted."""
    folder = tmp_path / "nas"
    folder.mkdir()
    return folder


async def recovered(
    tmp_path: Path, server: Server, store: Path, *, without_service: bool = False, account: str | None = None
) -> dict[str, tuple[str, str | None]]:
    """Run the command into `tmp_path/out`; the outcome of each path, with its reason. Raises its one error."""
    chosen = state_settings(tmp_path, server, "temporary")
    config = msgspec.structs.replace(chosen.config, shared=SharedConfig(store=f"file://{store}"))
    request = RecoverRequest(tmp_path / "out", without_service, account)
    try:
        async with passing_time(server):
            done = await recover(
                request, MountSettings(chosen.mountpoint, chosen.state_dir, config, chosen.options), quietly, no_display
            )
    except BaseExceptionGroup as errors:
        # As the command line does.
        raise sole_error(errors) from None
    finally:
        shutil.rmtree(chosen.state_dir)
    return {file.path: (file.outcome.value, file.reason) for file in done}


def looks(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that a user sees below a folder, without the bytes of files and without owners."""
    found: dict[str, tuple[object, ...]] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        links = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        target = os.readlink(path) if path.is_symlink() else None
        names = {name: os.getxattr(path, name, follow_symlinks=False) for name in _xattrs(path)}
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, size, target, links, names)
    return found


def below(folder: Path) -> list[Path]:
    """All that lies below a folder."""
    return sorted(folder.rglob("*"))


def _xattrs(path: Path) -> list[str]:
    return [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]


def tree_looks(host: Host) -> dict[str, tuple[object, ...]]:
    """The same of a machine's tree."""
    found: dict[str, tuple[object, ...]] = {}
    tree = host.parts.tree
    for entry in tree.beneath(1):
        inode = tree.get(entry.ino)
        links = 0 if inode.is_dir else inode.nlink
        target = inode.target.decode() if inode.target is not None else None
        xattrs = {name.decode(): value for name, value in host.parts.store.xattrs.of(entry.ino).items()}
        size = inode.size if inode.is_file else 0
        for path in tree.paths_of(entry.ino):
            found[path] = (inode.mode, inode.mtime_ns, size, target, links, xattrs)
    return found


async def test_all_of_a_tree_comes_back_as_it_was(tmp_path: Path, server: Server, store: Path, clock: Clock) -> None:
    async with machine(tmp_path, server, store, "one") as one:
        await furnish(one)
        await one.write("large", _LARGE)
        await exchanged(one)
        wanted = tree_looks(one)
    shutil.rmtree(tmp_path / "one")
    before = below(store)
    found = await recovered(tmp_path, server, store)
    # Of a file with two names one is counted.
    assert found == dict.fromkeys(["d/deep/hard", "d/deep/er/b", "large", "top"], BROUGHT)
    assert looks(tmp_path / "out") == wanted
    assert (tmp_path / "out/large").read_bytes() == _LARGE
    assert (tmp_path / "out/d/deep/hard").read_bytes() == b"bytes of d/a"
    if os.geteuid() == 0:
        status = (tmp_path / "out/d/a").stat()
        assert (status.st_uid, status.st_gid) == (1234, 99)
    # It has changed nothing: neither in the store nor at the service.
    assert below(store) == before
    assert server.script.count("delete") == 0


@pytest.mark.long
async def test_a_second_run_skips_what_is_there_and_overwrites_nothing(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, store, "one") as one:
        await furnish(one)
        await one.write("mine", b"bytes")
        await exchanged(one)
    aside = objects(store)[0]
    content = aside.read_bytes()
    aside.unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_bytes(b"another file of that name")
    first = await recovered(tmp_path, server, store)
    failed = {path: reason for path, (outcome, reason) in first.items() if outcome == "failed"}
    assert "it exists and is another" in (failed.pop("mine") or "")
    assert failed
    assert all("nor in the shared store" in (reason or "") for reason in failed.values())
    # A folder that nobody may write to, as the tree had it, does not keep the rest out.
    (tmp_path / "out/d").chmod(0o500)
    aside.write_bytes(content)
    second = await recovered(tmp_path, server, store)
    assert {second.pop(path) for path in failed if path in second} == {BROUGHT}
    assert second.pop("mine")[0] == "failed"
    assert {outcome for outcome, _ in second.values()} == {"present"}
    assert (tmp_path / "out/mine").read_bytes() == b"another file of that name"
    assert stat.S_IMODE((tmp_path / "out/d").stat().st_mode) == 0o750


def swap(one: Path, other: Path) -> None:
    """Put two objects in each other's place, as somebody may do who can write to the bucket."""
    third = one.with_name("third")
    one.rename(third)
    other.rename(one)
    third.rename(other)


async def test_damaged_swapped_and_missing_files_are_named_and_the_others_come(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, store, "one") as one:
        for name in ("flipped", "swapped", "as long", "missing", "whole"):
            await one.write(name, name.ljust(8).encode())
        await exchanged(one)
        place = {name: next(path for path in objects(store) if path.name == one.id(name)) for name in one.ls()}
    data = bytearray(place["flipped"].read_bytes())
    data[-1] ^= 1
    place["flipped"].write_bytes(data)
    swap(place["swapped"], place["as long"])
    place["missing"].unlink()
    found = await recovered(tmp_path, server, store)
    assert found.pop("whole") == BROUGHT
    assert {path: outcome for path, (outcome, _) in found.items()} == dict.fromkeys(found, "failed")
    assert "damaged" in (found["flipped"][1] or "")
    assert "other bytes than the ones that were uploaded" in (found["swapped"][1] or "")
    assert os.listdir(tmp_path / "out") == ["whole"]


async def test_without_the_service_names_come_from_records_and_ids(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    long_name = "d/" + "long" * 63
    async with machine(tmp_path, server, store, "one") as one:
        await furnish(one)
        await one.write(long_name, _LARGE)
        await exchanged(one)
        ids = {path: one.id(path) for path in ("top", "d/deep/er/b", "d/a", long_name)}
    server.script.add(Reply(503), times=None)
    before = server.script.count()
    found = await recovered(tmp_path, server, store, without_service=True)
    # A file with two names has a record of them; of one with a plain name only the service knows it.
    names = [long_name, "d/deep/hard", f"by-id/{ids['top']}", f"by-id/{ids['d/deep/er/b']}"]
    assert found == dict.fromkeys(names, BROUGHT)
    out = tmp_path / "out"
    assert (out / f"by-id/{ids['top']}").read_bytes() == b"bytes of top"
    assert (out / long_name).read_bytes() == _LARGE
    assert stat.S_IMODE((out / "d/a").stat().st_mode) == 0o600
    assert (out / "d/deep/hard").samefile(out / "d/a")
    assert (out / "d/empty").is_dir()
    assert (out / "d/link").readlink() == Path("../top")
    assert server.script.count() == before


@pytest.mark.long
async def test_without_the_service_the_newest_of_several_versions_has_the_path(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, store, "one") as one:
        ids = []
        for number in range(3):
            await one.write("first", b"version %d" % number)
            if number == 0:
                one.link("first", "second")
            await exchanged(one)
            ids.append(one.id("first"))
    for number, file_id in enumerate(ids):
        [path] = [path for path in objects(store) if path.name == file_id]
        os.utime(path, (1_800_000_000 + number, 1_800_000_000 + number))
    await recovered(tmp_path, server, store, without_service=True)
    assert (tmp_path / "out/first").read_bytes() == b"version 2"
    assert (tmp_path / "out/second").samefile(tmp_path / "out/first")
    assert sorted(os.listdir(tmp_path / "out/by-id")) == sorted(ids[:2])


@pytest.mark.long
async def test_the_account_is_the_only_one_or_is_chosen(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, store, "one") as one:
        await one.write("a", b"bytes")
        await exchanged(one)
    [account] = {path.relative_to(store).parts[0] for path in objects(store)}
    shutil.copytree(store / account, store / ("0" * 16))
    with pytest.raises(UsageError, match=f"choose one of its accounts with --account.*{account}"):
        await recovered(tmp_path, server, store, without_service=True)
    with pytest.raises(UsageError, match="has no account 1111"):
        await recovered(tmp_path, server, store, without_service=True, account="1111")
    found = await recovered(tmp_path, server, store, without_service=True, account=account)
    assert list(found.values()) == [BROUGHT]


async def test_a_place_that_is_no_store_is_refused_and_none_is_made(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    for without_service in (False, True):
        with pytest.raises(ObjectStoreUnusable, match="there is no shared store here"):
            await recovered(tmp_path, server, store, without_service=without_service)
    assert os.listdir(store) == []


@pytest.mark.long
async def test_a_service_that_cannot_be_listed_ends_it(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, store, "one") as one:
        await one.write("a", b"bytes")
    server.script.add(Reply(401), times=None)
    with pytest.raises(RemotefsError):
        await recovered(tmp_path, server, store)
    assert not (tmp_path / "out").exists()


async def test_set_id_bits_and_devices_are_not_made(tmp_path: Path, server: Server, store: Path, clock: Clock) -> None:
    outside = tmp_path / "outside"
    for folder in (outside, tmp_path / "out"):
        folder.mkdir()
    (tmp_path / "out/led").symlink_to(outside)
    async with machine(tmp_path, server, store, "one") as one:
        one.mkdir("led")
        await one.write("led/inside", b"bytes")
        one.link("led/inside", "led/again")
        one.fs.namespace.mknod(one.stat("led").ino, b"pipe", stat.S_IFIFO | 0o640, 0, one.user)
        await one.write("tool", b"#!")
        await chattr(one, "tool", mode=0o6755, uid=0, gid=0)
        one.fs.namespace.mknod(1, b"device", stat.S_IFCHR | 0o666, os.makedev(1, 3), one.user)
        await exchanged(one)
    found = await recovered(tmp_path, server, store)
    assert stat.S_IMODE((tmp_path / "out/tool").stat().st_mode) == 0o755
    assert found["device"][0] == "failed"
    assert not (tmp_path / "out/device").exists()
    # A link that was there leads nothing out of the folder.
    assert {path for path, (outcome, _) in found.items() if outcome == "failed"} >= {"led", "led/inside"}
    assert below(outside) == []


@pytest.mark.long
async def test_what_the_service_gives_back_comes_too(tmp_path: Path, server: Server, store: Path, clock: Clock) -> None:
    async with machine(tmp_path, server, store, "one") as one:
        await one.write("a", b"bytes")
        await exchanged(one)
    server.store.add("made", b"by a tool", downloadable=True)
    async with running(tmp_path, server, state="without a store") as other:
        await other.write("b", b"never shared")
    found = await recovered(tmp_path, server, store)
    assert (found["a"], found["made"]) == (BROUGHT, BROUGHT)
    assert found["b"][0] == "failed"
