"""What the crash points have found, each as short as it can be told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio

from remotefs.clocks import Machine
from remotefs.data.content.trash import Trash
from tests.faults import FaultyServer, LostReply
from tests.parts import clock, running, server

__all__ = ["clock", "server"]
Server, Clock = FaultyServer, trio.abc.Clock


async def test_w7_a_rename_whose_reply_was_lost_keeps_the_bytes(tmp_path: Path, server: Server, clock: Clock) -> None:
    """The copy that waits for the new id stays while it is not known whether there is one."""
    async with running(tmp_path, server) as host:
        await host.write("a", b"precious")
        await host.settled()
        server.script.add(LostReply(), op="upload")
        host.rename("a", "b")
        await host.settled()
        assert (await host.read("b"), host.remote_names()) == (b"precious", ["b"])


async def test_what_a_transaction_gave_up_stays_when_it_does_not_commit(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"precious")
        await host.settled()
        with pytest.raises(RuntimeError), host.parts.database.transaction():
            host.unlink("a")
            raise RuntimeError
        await host.parts.sweeper.sweep()
        await host.settled()
        assert await host.read("a") == b"precious"


@pytest.mark.parametrize("confirmed", [False, True])
async def test_w3_a_write_whose_row_did_not_reach_the_disk_goes_up(
    tmp_path: Path, server: Server, clock: Clock, confirmed: bool
) -> None:
    """A power cut may keep a file's bytes and lose the row that says that they changed.

    Bytes that are certainly missing are damage: tests/data/files/test_damage.py.
    """
    async with running(tmp_path, server, working=False, durability="local") as host:
        handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"first")
        await host.fs.files.flush(handle.fh)
        if confirmed:
            await host.start_working()
            await host.settled()
        (staged,) = (host.kill_copy("after") / "staging").iterdir()
        staged.write_bytes(b"and then")
        later = time.time_ns() + 10**9
        os.utime(staged, ns=(later, later))
    async with running(tmp_path, server, state="after", machine=Machine(boot_id="after the power cut")) as host:
        await host.settled()
        assert (await host.read("a"), host.remote_bytes("a")) == (b"and then", [b"and then"])


async def test_s2_what_is_trashed_again_after_a_crash_is_there_once(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"precious")
    fields = {
        "path": "a",
        "file_id": "file_a",
        "size": 8,
        "mode": 0o644,
        "mtime_ns": 1,
        "reason": "it was deleted elsewhere",
    }
    Trash(tmp_path / "trash").put(tmp_path / "content", **fields)
    (tmp_path / "trash" / "7.json").write_text("{}")
    trash = Trash(tmp_path / "trash")
    trash.put(tmp_path / "content", **fields)
    assert [entry.path for entry in trash.entries()] == ["a"]
    assert sorted(os.listdir(tmp_path / "trash")) == ["1", "1.json"]
