"""`unshare`: files leave the store, and nothing is lost by it (X1)."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from remotefs.control.messages.share import ShareParams, ShareResult, UnshareParams, UnshareResult
from remotefs.errors import NotReadable, UsageError
from remotefs.mount.commands.groups import CommandGroups, command_groups
from remotefs.mount.settings import FuseOptions, MountSettings
from tests.data.share.test_uploads import machine, objects, shared
from tests.failing import failing
from tests.faults import FaultyServer
from tests.parts import Host, running, settings

Server = FaultyServer
Clock = trio.abc.Clock


def commands(host: Host) -> CommandGroups:
    """The commands of a mount."""
    chosen = settings(host.state_dir, host.server.url)
    chosen = MountSettings(chosen.mountpoint, host.state_dir, chosen.config, FuseOptions())
    return command_groups(chosen, host.parts, stop=lambda: None, yield_state=lambda: False)


async def unshare(host: Host, path: str = "", *, dry_run: bool = False) -> UnshareResult:
    """`remotefs unshare --yes PATH`."""
    return await commands(host).unshare.unshare(UnshareParams(path=path, dry_run=dry_run), lambda _: None)


async def share(host: Host, path: str = "") -> ShareResult:
    """`remotefs share PATH`."""
    return await commands(host).share.share(ShareParams(path), lambda _: None)


def reasons(result: UnshareResult) -> dict[str, str]:
    """By path why a file stays in the store."""
    return {left.path: left.reason for left in result.failed}


def names_of(folder: Path) -> set[str]:
    """The ids that have an object."""
    return {path.name for path in objects(folder)}


async def test_others_cannot_read_it_then_and_the_choice_is_kept(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        for path in ("a", "b"):
            await one.write(path, b"bytes of " + path.encode())
        await two.walk()
        assert await two.read("a") == b"bytes of a"
        assert (await unshare(one, "a", dry_run=True)).files == 1
        assert len(objects(folder)) == 2
        assert await unshare(one, "a") == UnshareResult(files=1, bytes=10)
        assert names_of(folder) == {one.id("b")}
        assert (await one.read("a"), await two.read("b")) == (b"bytes of a", b"bytes of b")
        # It knew that the store has the file.
        two.parts.content.remove(one.id("a"))
        with pytest.raises(NotReadable, match="not in the shared store"):
            await two.read("a")
        assert two.xattr("a", "readable").startswith("no")
        assert (await unshare(one)).files == 1
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await trio.sleep(100.0)
        assert names_of(folder) == set()
        assert (await share(one, "a")).files == 1
        assert await two.read("a") == b"bytes of a"


@pytest.mark.long
async def test_a_newer_version_stays_out_too(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"first")
        await unshare(one)
        await one.write("a", b"second")
        assert names_of(folder) == set()
        # As editors save: under a temporary name, which is not uploaded, and then by a rename.
        await one.write("a~", b"third")
        one.rename("a~", "a")
        await one.settled()
        await shared(one)
        assert (names_of(folder), one.remote_bytes("a")) == (set(), [b"third"])
        await one.write("other", b"fourth")
        assert names_of(folder) == {one.id("other")}


async def test_what_is_not_whole_and_pinned_here_stays(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        for path in ("gone", "unpinned", "damaged", "whole"):
            await one.write(path, path.encode() * 100)
        await one.settled()
        content = one.parts.content
        content.remove(one.id("gone"))
        content.unpin(one.id("unpinned"))
        place = content.where(one.id("damaged"))
        place.write_bytes(place.read_bytes()[:-1] + b"?")
        await two.walk()
        await two.read("whole")
        two.parts.content.pin(two.id("whole"))
        result = await unshare(one)
        assert result.files == 1
        found = reasons(result)
        assert found.keys() == {"gone", "unpinned", "damaged"}
        assert "run `remotefs pin` on it first" in found["gone"]
        assert "run `remotefs pin` on it first" in found["unpinned"]
        assert "damaged" in found["damaged"]
        assert names_of(folder) == {one.id(path) for path in found}
        # Another machine takes nothing out: the one that uploaded it may have given up its own bytes.
        await share(two)
        assert (await unshare(two)).files == 0


@pytest.mark.long
async def test_a_store_that_refuses_is_named_and_the_next_try_goes_on(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"bytes")
        await one.settled()
        with failing(monkeypatch, "unlink", 13, when=lambda path, **_: "nas" in str(path)):
            result = await unshare(one)
        assert "its object may still be there" in reasons(result)["a"]
        assert "check the rights on the folder" in reasons(result)["a"]
        # Nothing relies on the object meanwhile.
        assert not one.parts.store.shares.is_stored(one.id("a"))
        assert (await unshare(one)).files == 1
        assert names_of(folder) == set()
        assert (await unshare(one)).files == 0


async def test_without_a_store_it_says_so(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as one:
        with pytest.raises(UsageError, match="no shared store"):
            await unshare(one)
