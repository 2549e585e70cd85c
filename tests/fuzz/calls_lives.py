"""The lives in which a call may fail: each is a preparation, in which nothing fails, and then what a user and a mount do.

Together they pass through every worker and every handler that uses the disk or the database.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import trio

from remotefs.config import Config
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.cache import ClearParams, TrimParams, UnpinParams, WarmParams
from remotefs.control.messages.check import BackupParams, CheckParams, ExportParams
from remotefs.control.messages.dedupe import DedupeParams
from remotefs.control.messages.status import FlushParams, PathParams
from remotefs.control.messages.sync import SyncParams
from remotefs.control.messages.trash import EmptyParams, RestoreParams
from remotefs.vfs.attributes import AttributeChange
from tests.faults import Action, Call, LostReply
from tests.fuzz.calls_user import User, content
from tests.fuzz.world import World
from tests.parts import Host

SMALL, LARGE, OTHER = content(700, 1), content(300_000, 2), content(5_000, 3)
GENERATED = content(3 << 20, 4)


@dataclass(frozen=True)
class Life:
    """`prepare` and `act` get the same user; `starts`: what acts is the start of a mount on what a kill left."""

    prepare: Callable[[World, User], Awaitable[None]]
    act: Callable[[World, User], Awaitable[None]]
    starts: bool = False


@dataclass
class Slow(Action):
    """The service takes its time."""

    seconds: float = 5.0

    async def __call__(self, call: Call) -> None:
        await trio.sleep(self.seconds)
        await call.carry_out()


def as_configured(config: Config) -> Config:
    """Return settings of a mount that believes removals at once, takes chunks of 64 KiB and has little room."""
    return msgspec.structs.replace(
        config,
        refresh=msgspec.structs.replace(config.refresh, removal_min_age_s=0.0),
        cache=msgspec.structs.replace(config.cache, chunk_bytes=64 << 10),
    )


async def _nothing(world: World, user: User) -> None:
    await user.host.walk()


async def _files(world: World, user: User) -> None:
    """Files of ours that are with the service, and files of others."""
    store = world.server.store
    user.ledger.others_file(store.add("theirs.txt", OTHER, downloadable=False), OTHER)
    user.ledger.others_file(store.add("made\uff0fgenerated.bin", LARGE, downloadable=True), LARGE)
    await user.host.walk()
    user.ledger.promised["made/generated.bin"] = {LARGE}
    await user.mkdir("d")
    await user.mkdir("d/e")
    for path, data in (("a", SMALL), ("large", LARGE), ("d/b", OTHER), ("d/e/c", SMALL)):
        await user.write(path, data)
    await user.host.settled()


# -- what a user does


async def _create(world: World, user: User) -> None:
    fs = user.host.fs
    await user.mkdir("d")
    await user.write("new", SMALL)
    await user.write("large", LARGE)
    await user.write("empty", b"")
    await user.write("excl", OTHER, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    handle = await user.open("held", os.O_RDWR | os.O_CREAT)
    if handle is not None:
        written = await user.put("held", handle, 0, SMALL)
        await user.sync("held", handle, SMALL if written else b"")
        await user.put("held", handle, len(SMALL), OTHER)
        await user.close("held", handle)
    await user.tried("symlink", lambda: fs.namespace.symlink(1, b"link", b"new", user.host.user))
    await user.tried("mknod", lambda: fs.namespace.mknod(1, b"fifo", stat.S_IFIFO | 0o644, 0, user.host.user))
    await user.tried("readdir", user.host.ls)
    await user.tried("statfs", fs.attributes.statfs)
    if (ino := await user.ino("new")) is not None:
        await user.tried("chmod", lambda: fs.attributes.setattr(ino, AttributeChange(mode=0o600), None))
        await user.tried("utime", lambda: fs.attributes.setattr(ino, AttributeChange(mtime_ns=1, atime_ns=2), None))
        await user.tried("setxattr", lambda: fs.xattrs.setxattr(ino, b"user.mine", b"value"))
        await user.tried("getxattr", lambda: fs.xattrs.getxattr(ino, b"user.remotefs.state"))
        await user.tried("removexattr", lambda: fs.xattrs.removexattr(ino, b"user.mine"))
    await trio.sleep(10.0)
    await user.tried("notes", user.host.parts.tree.save_notes)


async def _edit(world: World, user: User) -> None:
    fs = user.host.fs
    await user.edit("large", 100_000, b"edited")
    await user.edit("a", 700, OTHER)
    await user.truncate("d/b", 30)
    await user.truncate("d/e/c", 0)
    await trio.sleep(10.0)
    await user.write("large", LARGE)
    handle = await user.open("a", os.O_RDWR)
    if handle is not None:
        ino = await user.ino("a")
        known = user.ledger.promised["a"]
        if ino is not None and len(known) == 1 and (data := next(iter(known))) is not None:
            user.ledger.promised["a"] = {data, data[:10]}
            done = await user.tried("ftruncate", lambda: _true(fs.files.truncate(ino, 10, handle.fh)))
            await user.sync("a", handle, data[:10]) if done else None
        await user.close("a", handle)
    # The same bytes again: nothing is to be sent.
    await user.edit("d/b", 0, OTHER[:10])
    await user.edit("made/generated.bin", 5, b"mine")
    await user.read("a")
    await trio.sleep(30.0)


async def _names(world: World, user: User) -> None:
    await user.rename("a", "moved")
    await user.rename("d/b", "large")
    await user.write("tmp", OTHER)
    await user.rename("tmp", "d/e/c")
    await user.rename("d", "folder")
    await user.write("x", SMALL)
    await user.exchange("x", "moved")
    await user.link("moved", "hard")
    await trio.sleep(5.0)
    await user.unlink("moved")
    await user.rename("made/generated.bin", "alias.bin")
    await user.tried("rmdir", lambda: user.host.fs.namespace.rmdir(1, b"made"))
    await trio.sleep(60.0)


async def _unlink(world: World, user: User) -> None:
    files = user.host.fs.files
    await user.write("pending", SMALL)
    await user.unlink("pending")
    await user.unlink("a")
    handle = await user.open("large", os.O_RDWR)
    # Where the unlink failed, the file is still there, and a write is one like any other.
    is_removed = await user.unlink("large")
    if handle is not None:
        if is_removed:
            await user.tried("write to a removed file", lambda: files.write(handle.fh, 0, b"nobody sees it"))
        await user.tried("flush", lambda: files.flush(handle.fh))
        await user.tried("release", lambda: files.release(handle.fh))
    await user.write("again", OTHER)
    await user.write("d/b", SMALL)
    await user.unlink("d/b")
    await user.write("d/b", LARGE)
    await user.unlink("theirs.txt")
    await trio.sleep(120.0)


async def _generated(world: World, user: User) -> None:
    await _files(world, user)
    user.ledger.others_file(world.server.store.add("big.bin", GENERATED, downloadable=True), GENERATED)
    await user.host.walk()
    user.ledger.promised["big.bin"] = {GENERATED}


async def _read(world: World, user: User) -> None:
    fs, commands = user.host.fs, user.commands
    handle = await user.open("big.bin")
    if handle is not None:
        for offset in (0, 4096, 200_000, 2 << 20):
            data = await user.tried("read", lambda: fs.files.read(handle.fh, offset, 65_536))  # noqa: B023 - at once
            assert data is None or data == GENERATED[offset : offset + 65_536], "wrong bytes"
        await user.close("big.bin", handle)
    await user.read("big.bin")
    await user.read("made/generated.bin")
    await user.read("large")
    await user.command("warm", commands.pin.warm, WarmParams("made", pin=True))
    await user.command("unpin", commands.pin.unpin, UnpinParams(path="made"))
    await user.command("info", commands.cache.info, Nothing())
    await user.command("trim", commands.cache.trim, TrimParams(100_000))
    await user.read("big.bin")
    await user.command("clear", commands.cache.clear, ClearParams())
    await user.read("a")
    await user.edit("made/generated.bin", 5, b"mine")
    await trio.sleep(30.0)


async def _churn(world: World, user: User) -> None:
    """A file that is written again whenever its upload is on the way (W4)."""
    host = user.host
    world.server.script.add(Slow(5.0), op="upload", times=8)
    await user.write("log", SMALL)
    for number in range(5):
        ino = await user.ino("log")
        with trio.move_on_after(30.0):
            while ino is not None and ino not in host.parts.in_flight:  # noqa: ASYNC110 - nothing tells
                await trio.sleep(0.5)
        if number % 2:
            await user.edit("log", 100 * number, OTHER)
        else:
            await user.write("log", content(900 + number, number))
    await trio.sleep(120.0)


async def _others(world: World, user: User) -> None:
    await _files(world, user)
    await user.write("vanishes", OTHER)
    await user.host.settled()
    await user.host.parts.promoter.finish()


async def _listing(world: World, user: User) -> None:
    host, store, commands = user.host, world.server.store, user.commands
    for number in range(4):
        user.ledger.others_file(store.add(f"n{number}", b"%d" % number, downloadable=number % 2 == 0), b"%d" % number)
    user.ledger.others_file(store.add("a", b"of the same name", downloadable=True), b"of the same name")
    # Of two files of one name the newer has it.
    user.ledger.promised["a"] = {SMALL, b"of the same name"}
    # What others delete goes to the trash here: it may be there, or not any more.
    user.ledger.promised["vanishes"] = {None, OTHER}
    user.ledger.stay_here.add("vanishes")
    store.delete(next(record.id for record in host.stored() if record.filename == "vanishes"))
    for _ in range(3):
        await user.tried("walk", host.walk)
        await user.tried("poll", lambda: host.parts.connectivity.watch(host.parts.listings.poll))
        await trio.sleep(40.0)
    await user.read("n0")
    await user.command("trash", commands.trash.list_trash, Nothing())
    await user.command("restore", commands.trash.restore, RestoreParams(number=1, path="restored"))
    await user.command("dedupe", commands.dedupe.dedupe, DedupeParams(dry_run=True))
    await trio.sleep(60.0)
    await user.command("empty", commands.trash.empty_trash, EmptyParams())


async def _commands(world: World, user: User) -> None:
    parts, commands = user.host.parts, user.commands
    await user.write("pending", SMALL)
    await user.rename("made/generated.bin", "alias.bin")
    await user.tried("a copy of the database", lambda: trio.to_thread.run_sync(parts.copies.make))
    await user.tried("checkpoint", lambda: _checkpointed(user))
    await user.command("status", commands.status.status, Nothing())
    await user.command("check", commands.check.check, CheckParams(service=True, repair=True))
    await user.command("backup", commands.check.backup, BackupParams(str(world.folder / "backup")))
    await user.command("export", commands.check.export, ExportParams(path="", target=str(world.folder / "export")))
    await user.command("sync", commands.sync.sync, SyncParams("alias.bin", dry_run=False))
    await user.command("retry", commands.status.retry, PathParams(""))
    await user.command("flush", commands.status.flush, FlushParams(path="", timeout_s=30.0))
    await trio.sleep(30.0)


async def _checkpointed(user: User) -> None:
    """Copy the log of the database, as the task that does so: it goes on after an error of SQLite."""
    with suppress(sqlite3.Error):
        await user.host.parts.database.checkpoint()


async def _ambiguous(world: World, user: User) -> None:
    """Uploads whose replies are lost, and an outage."""
    world.server.script.add(LostReply(), op="upload", times=2)
    await user.write("lost1", SMALL)
    await user.write("lost2", OTHER)
    await user.write("a", OTHER)
    await trio.sleep(90.0)
    await user.write("a", LARGE)
    await user.unlink("d/b")
    await trio.sleep(60.0)


async def _end(world: World, user: User) -> None:
    """Written, drained and put away, as an unmount does."""
    parts = user.host.parts
    await user.write("last", SMALL)
    await user.edit("large", 10, b"last")
    await user.tried("drain", lambda: parts.drainer.drain(60.0, leaves_open=True))
    await user.tried("notes", parts.tree.save_notes)
    await user.tried("durable", parts.database.durable)
    await user.tried("content", parts.content.close)


async def _killed(world: World, user: User) -> None:
    """What a kill leaves: files half written, closed, sent and not yet content, staged without a row, in the trash."""
    await _others(world, user)
    world.server.store.delete(user.host.id("vanishes"))
    user.ledger.removed("vanishes")
    for _ in range(2):
        await user.host.walk()
    world.server.script.add(Slow(3600.0), op="upload", times=None)
    await user.edit("large", 100, b"pending")
    await user.unlink("a")
    handle = await user.open("half", os.O_RDWR | os.O_CREAT)
    assert handle is not None
    await user.put("half", handle, 0, OTHER)
    await user.sync("half", handle, OTHER)
    await user.write("d/fresh", SMALL)
    removed = await user.open("d/e/c", os.O_RDWR)
    await user.unlink("d/e/c")
    assert removed is not None
    host: Host = user.host
    kept = host.parts.staging.create(9999, 1)
    kept.write(0, b"bytes whose row is lost")
    host.kill_copy("killed")
    world.server.script.clear()


async def _after_start(world: World, user: User) -> None:
    await trio.sleep(60.0)
    await user.tried("walk", user.host.walk)
    await user.read("half")
    await user.read("large")
    await trio.sleep(60.0)


async def _true(call: Awaitable[object]) -> bool:
    await call
    return True


LIVES: dict[str, Life] = {
    "create": Life(_nothing, _create),
    "edit": Life(_files, _edit),
    "names": Life(_files, _names),
    "unlink": Life(_files, _unlink),
    "read": Life(_generated, _read),
    "churn": Life(_files, _churn),
    "listing": Life(_others, _listing),
    "commands": Life(_files, _commands),
    "ambiguous": Life(_files, _ambiguous),
    "end": Life(_files, _end),
    "start": Life(_killed, _after_start, starts=True),
}
