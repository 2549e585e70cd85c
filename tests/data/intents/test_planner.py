"""From what a user does to what the journal holds, and to what goes once the service has confirmed it.

No worker runs here: a row is looked at before anybody acts on it, and `confirm` is the service's reply.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import xxhash

from remotefs.errors import NotFound
from remotefs.store.records import NEVER_NS, ROOT_INO, IntentKind, Origin, Remote
from remotefs.vfs.attributes import AttributeChange
from remotefs.vfs.namespace import RENAME_EXCHANGE
from tests.faults import FaultyServer
from tests.parts import Host, running

_S = 1_000_000_000


@pytest.fixture
async def host(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Host]:
    """A machine whose workers rest; a close does not wait for them."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        yield host


async def bound(host: Host, path: str, file_id: str, data: bytes = b"old", **fields: object) -> int:
    """A file that the service has as `file_id`; its inode."""
    await host.write(path, data)
    await host.confirm(path, file_id, **fields)
    assert host.pending() == []
    return host.stat(path).ino


def rows(host: Host) -> list[tuple[str, str, tuple[str, ...]]]:
    """The journal in words: (kind, what, replaces)."""
    return [(str(i.kind), i.file_id or host.parts.tree.paths_of(i.ino or 0)[0], i.replaces) for i in host.pending()]


# -- creating and replacing (W2, W5)


async def test_a_new_file_is_one_upload(host: Host) -> None:
    await host.write("a", b"new")
    assert rows(host) == [("upload", "a", ())]


async def test_w5_truncate_and_write_frees_the_old_id_only_when_confirmed(host: Host) -> None:
    await bound(host, "a", "file_old")
    await host.write("a", b"new")
    assert rows(host) == [("upload", "a", ())]
    await host.confirm("a", "file_new")
    assert rows(host) == [("delete", "file_old", ())]


async def test_w5_temp_and_rename(host: Host) -> None:
    await bound(host, "a", "file_old")
    await host.write("a.tmp", b"new")
    host.rename("a.tmp", "a")
    assert rows(host) == [("upload", "a", ("file_old",))]
    await host.confirm("a", "file_new")
    assert rows(host) == [("delete", "file_old", ())]


async def test_w5_temp_and_rename_of_what_is_uploaded_already(host: Host) -> None:
    await bound(host, "a", "file_old")
    await bound(host, "b", "file_new")
    host.rename("b", "a")
    assert rows(host) == [("reupload", "a", ("file_old",))]
    await host.confirm("a", "file_relabelled")
    assert sorted(host.deletes()) == ["file_new", "file_old"]


async def test_w5_backup_and_rename(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.rename("a", "a~")
    await host.write("a", b"new")
    host.unlink("a~")
    assert rows(host) == [("upload", "a", ("file_old",))]
    await host.confirm("a", "file_new")
    assert rows(host) == [("delete", "file_old", ())]


async def test_w5_a_backup_that_stays_keeps_its_id(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.rename("a", "a~")
    await host.write("a", b"new")
    await host.confirm("a", "file_new")
    assert "file_old" not in host.deletes()
    assert host.id("a~") == "file_old"


async def test_w5_link_and_unlink(host: Host) -> None:
    """`ln a a.bak; write a.new; mv a.new a; rm a.bak`, as some editors save."""
    await bound(host, "a", "file_old")
    host.link("a", "a.bak")
    await host.write("a.new", b"new")
    host.rename("a.new", "a")
    assert host.deletes() == set()
    host.unlink("a.bak")
    await host.confirm("a", "file_new")
    assert host.deletes() == {"file_old"}


async def test_w5_exchange_gives_each_file_the_others_name(host: Host) -> None:
    await bound(host, "a", "file_old")
    await host.write("b", b"new")
    host.rename("b", "a", RENAME_EXCHANGE)
    assert sorted(rows(host)) == [("reupload", "b", ()), ("upload", "a", ())]
    await host.confirm("a", "file_new")
    assert host.deletes() == set()
    host.unlink("b")
    assert host.deletes() == {"file_old"}


async def test_w5_renamed_into_place_before_its_close(host: Host) -> None:
    await bound(host, "a", "file_old")
    handle = await host.open("new", os.O_WRONLY | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, b"new")
    host.rename("new", "a")
    assert host.deletes() == set()
    await host.close(handle)
    assert rows(host) == [("upload", "a", ("file_old",))]


async def test_w5_a_superseded_upload_hands_on_what_it_replaces(host: Host) -> None:
    await bound(host, "a", "file_old")
    await host.write("t1", b"one")
    host.rename("t1", "a")
    await host.write("t2", b"two")
    host.rename("t2", "a")
    assert rows(host) == [("upload", "a", ("file_old",))]


async def test_a_cancelled_upload_frees_what_it_was_to_replace(host: Host) -> None:
    await bound(host, "a", "file_old")
    await host.write("t", b"new")
    host.rename("t", "a")
    host.unlink("a")
    assert rows(host) == [("delete", "file_old", ())]


async def test_w5_a_surviving_hard_link_takes_the_remote_name_over(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.link("a", "b")
    assert host.pending() == []
    host.unlink("a")
    assert rows(host) == [("reupload", "b", ())]


async def test_an_upload_of_several_names_goes_under_the_oldest(host: Host) -> None:
    await host.write("a", b"new")
    host.link("a", "b")
    assert host.parts.intents.paths.remote_name(host.stat("b")) == "a"
    host.unlink("a")
    assert host.parts.intents.paths.remote_name(host.stat("b")) == "b"
    assert rows(host) == [("upload", "b", ())]


# -- unlinking (S3, S5, W9)


async def test_unlink_frees_the_id(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.unlink("a")
    assert rows(host) == [("delete", "file_old", ())]


async def test_unlink_of_what_never_went_up_leaves_nothing(host: Host) -> None:
    await host.write("a", b"new")
    host.unlink("a")
    assert host.pending() == []
    await host.parts.sweeper.sweep()
    assert host.parts.staging.scan() == []


async def test_s5_an_open_file_keeps_its_id_until_the_last_close(host: Host) -> None:
    await bound(host, "a", "file_old")
    first, second = await host.open("a"), await host.open("a")
    host.unlink("a")
    await host.close(first)
    assert host.deletes() == set()
    await host.close(second)
    assert host.deletes() == {"file_old"}


async def test_w9_a_file_that_is_unlinked_while_it_is_written_is_never_queued(host: Host) -> None:
    handle = await host.open("a", os.O_RDWR | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, b"scratch")
    host.unlink("a")
    assert await host.fs.files.read(handle.fh, 0, 7) == b"scratch"
    await host.close(handle)
    assert host.pending() == []
    await host.parts.sweeper.sweep()
    assert host.parts.staging.scan() == []


# -- removed and made again (W5)


async def test_w5_what_is_removed_waits_a_moment_for_a_successor(host: Host) -> None:
    await bound(host, "a", "file_old")
    before = time.time_ns()
    host.unlink("a")
    (intent,) = host.pending()
    assert _S <= intent.due_ns - before <= time.time_ns() - before + _S


async def test_w5_removed_and_written_again_the_new_comes_first(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.unlink("a")
    await host.write("a", b"new")
    assert rows(host) == [("upload", "a", ("file_old",))]
    await host.confirm("a", "file_new")
    assert rows(host) == [("delete", "file_old", ())]


async def test_w5_unlinked_and_the_new_one_linked_to_the_name(host: Host) -> None:
    await bound(host, "a", "file_old")
    await host.write("a.tmp", b"new")
    host.unlink("a")
    host.link("a.tmp", "a")
    assert host.deletes() == set()
    host.unlink("a.tmp")
    assert rows(host) == [("upload", "a", ("file_old",))]


async def test_w5_an_open_file_linked_to_a_removed_name(host: Host) -> None:
    await bound(host, "a", "file_old")
    await bound(host, "b", "file_b")
    handle = await host.open("b", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"new")
    host.unlink("a")
    host.link("b", "a")
    assert host.deletes() == set()
    await host.close(handle)
    assert rows(host) == [("upload", "b", ("file_old",))]


async def test_w5_what_is_uploaded_already_goes_under_the_removed_name_first(host: Host) -> None:
    await bound(host, "a", "file_old")
    await bound(host, "b", "file_new")
    host.unlink("a")
    host.rename("b", "a")
    assert rows(host) == [("reupload", "a", ("file_old",))]


async def test_w5_moved_aside_and_removed_before_the_new_one_is_written(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.rename("a", "a.bak")
    host.unlink("a.bak")
    await host.write("a", b"new")
    assert rows(host) == [("upload", "a", ("file_old",))]


async def test_w5_an_alias_has_a_successor_by_its_path_here(host: Host) -> None:
    await bound(host, "theirs", "file_theirs", origin=Origin.FOREIGN)
    host.rename("theirs", "mine")
    host.unlink("mine")
    await host.write("mine", b"new")
    assert rows(host) == [("upload", "mine", ("file_theirs",))]


async def test_w5_a_folder_that_is_made_anew(host: Host) -> None:
    host.mkdir("d")
    await bound(host, "d/a", "file_a")
    await bound(host, "d/b", "file_b")
    host.unlink("d/a")
    host.unlink("d/b")
    host.fs.namespace.rmdir(ROOT_INO, b"d")
    host.mkdir("d")
    await host.write("d/a", b"new")
    assert sorted(rows(host)) == [("delete", "file_b", ()), ("upload", "d/a", ("file_a",))]


async def test_w5_a_successor_that_goes_leaves_the_old_one_to_the_next(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.unlink("a")
    await host.write("a", b"one")
    host.unlink("a")
    assert rows(host) == [("delete", "file_old", ())]
    await host.write("a", b"two")
    assert rows(host) == [("upload", "a", ("file_old",))]


async def test_w5_what_is_never_uploaded_is_no_successor(host: Host) -> None:
    await bound(host, "a", "file_old")
    await bound(host, "b", "file_b")
    host.unlink("a")
    host.mkdir("a")
    assert rows(host) == [("delete", "file_old", ())]
    host.fs.namespace.rmdir(ROOT_INO, b"a")
    host.link("b", "a")
    assert rows(host) == [("delete", "file_old", ())]


async def test_w5_what_an_open_successor_has_replaced_already_stays_free(host: Host) -> None:
    """Its own upload is confirmed: the next one of that path has nothing to wait for."""
    await bound(host, "a", "file_old")
    handle = await host.open("a", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"new")
    await host.fs.files.flush(handle.fh)
    await host.confirm("a", "file_new")
    await host.fs.files.write(handle.fh, 0, b"newer")
    await host.fs.files.flush(handle.fh)
    assert sorted(rows(host)) == [("delete", "file_old", ()), ("upload", "a", ())]
    await host.close(handle)


# -- renaming (W7)


async def test_w7_a_rename_before_the_upload_costs_nothing(host: Host) -> None:
    await host.write("a", b"new")
    host.rename("a", "b")
    assert rows(host) == [("upload", "b", ())]
    assert host.parts.intents.paths.remote_name(host.stat("b")) == "b"


async def test_w7_a_rename_of_ours_uploads_it_again_after_a_wait(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.rename("a", "b")
    intent = host.intent("b")
    assert intent is not None
    assert intent.kind is IntentKind.REUPLOAD
    assert intent.due_ns >= host.stat("b").ctime_ns + 29 * _S


async def test_w7_renamed_back_in_time_nothing_is_sent(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.rename("a", "b")
    host.rename("b", "a")
    assert host.pending() == []


async def test_w7_what_others_uploaded_keeps_id_and_remote_name(host: Host) -> None:
    await bound(host, "a", "file_theirs", origin=Origin.FOREIGN)
    host.rename("a", "b")
    assert host.pending() == []
    assert (host.xattr("b", "state"), host.id("b")) == ("alias", "file_theirs")


@pytest.mark.parametrize(
    ("limits", "relabelled"),
    [({}, 3), ({"reupload_max_files": 2}, 0), ({"reupload_max_bytes": 8}, 0), ({"reupload_max_bytes": 9}, 3)],
    ids=["within", "too many", "too large", "just within"],
)
async def test_w7_a_folder_is_renamed_remotely_within_limits_only(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock, limits: dict[str, int], relabelled: int
) -> None:
    async with running(tmp_path, server, working=False, durability="local", **limits) as host:
        host.mkdir("d")
        for name in "xyz":
            await bound(host, f"d/{name}", f"file_{name}")
        host.rename("d", "e")
        assert [row[0] for row in rows(host)] == ["reupload"] * relabelled
        assert host.xattr("e/x", "state") == "alias"
        host.rename("e", "d")
        assert host.pending() == []
        assert host.xattr("d/x", "state") == "clean"


async def test_w7_a_file_that_is_not_here_any_more_cannot_be_relabelled(host: Host) -> None:
    ino = await bound(host, "a", "file_old")
    host.parts.content.remove("file_old")
    host.rename("a", "b")
    assert host.stat("b").ino == ino
    assert host.pending() == []


# -- names that stay here, names of temporary shape (N6)


async def test_n6_what_is_never_uploaded_has_no_intent(host: Host) -> None:
    await host.write(".DS_Store", b"x")
    host.mkdir(".Trash-1000")
    await host.write(".Trash-1000/note", b"x")
    assert host.pending() == []
    assert host.xattr(".DS_Store", "state") == "local"


async def test_n6_renamed_to_an_ordinary_name_it_is_uploaded(host: Host) -> None:
    await host.write("._a", b"x")
    host.rename("._a", "a")
    assert rows(host) == [("upload", "a", ())]


async def test_n6_renamed_to_a_name_that_stays_here_the_upload_is_cancelled(host: Host) -> None:
    await host.write("a", b"x")
    host.rename("a", "Thumbs.db")
    assert host.pending() == []


async def test_n6_moved_to_the_trash_it_keeps_its_id_and_unlinked_there_it_goes(host: Host) -> None:
    await bound(host, "a", "file_old")
    host.mkdir(".Trash-1000")
    host.rename("a", ".Trash-1000/a")
    assert host.pending() == []
    assert host.id(".Trash-1000/a") == "file_old"
    host.unlink(".Trash-1000/a")
    assert host.deletes() == {"file_old"}


@pytest.mark.parametrize("name", ["a.swp", "a~", "4913", ".#a", "a.tmp", "tmp_obj_x1Y2z3"])
async def test_n6_a_temporary_shape_waits_and_an_ordinary_name_ends_the_wait(host: Host, name: str) -> None:
    await host.write(name, b"x")
    closed_ns = host.stat(name).closed_ns
    waiting = host.intent(name)
    assert waiting is not None
    assert waiting.due_ns == pytest.approx(closed_ns + 30 * _S, abs=_S)
    host.rename(name, "ordinary")
    intent = host.intent("ordinary")
    assert intent is not None
    assert intent.due_ns == pytest.approx(closed_ns, abs=_S)


# -- what is an upload and what is not (W4, W10)


async def test_w10_an_empty_file_waits_for_its_bytes(host: Host) -> None:
    await host.write("a", b"")
    intent = host.intent("a")
    assert intent is not None
    assert intent.due_ns == pytest.approx(host.stat("a").closed_ns + 5 * _S, abs=_S)


async def test_w2_durability_local_uploads_after_settling(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local", upload_delay_s=2.0) as host:
        await host.write("a", b"x")
        intent = host.intent("a")
        assert intent is not None
        assert intent.due_ns == pytest.approx(host.stat("a").closed_ns + 2 * _S, abs=_S)


async def test_w4_times_and_mode_are_never_an_upload(host: Host) -> None:
    ino = await bound(host, "a", "file_old")
    await host.fs.attributes.setattr(ino, AttributeChange(mode=0o600, mtime_ns=5, atime_ns=6), None)
    assert host.pending() == []


async def test_w4_equal_content_is_no_upload(host: Host) -> None:
    await bound(host, "a", "file_old", digest=xxhash.xxh3_128(b"old").hexdigest())
    await host.write("a", b"new")
    await host.write("a", b"old")
    await host.write("a", b"old")
    assert host.pending() == []
    assert host.xattr("a", "state") == "clean"
    await host.write("a", b"odd")
    assert rows(host) == [("upload", "a", ())]


async def test_w4_a_write_makes_a_pending_upload_sleep_until_the_next_close(host: Host) -> None:
    await host.write("a", b"one")
    handle = await host.open("a", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"two")
    sleeping = host.intent("a")
    assert sleeping is not None
    assert sleeping.due_ns == NEVER_NS
    await host.close(handle)
    intent = host.intent("a")
    assert intent is not None
    assert intent.seq == sleeping.seq
    assert intent.due_ns == pytest.approx(host.stat("a").closed_ns, abs=_S)


async def test_special_nodes_and_folders_are_no_uploads(host: Host) -> None:
    host.mkdir("d")
    host.fs.namespace.mknod(host.stat("d").ino, b"fifo", 0o010644, 0, host.user)
    host.fs.namespace.symlink(host.stat("d").ino, b"l", b"d", host.user)
    host.rename("d", "e")
    assert host.pending() == []


# -- generated files (W8)


@pytest.mark.parametrize(("replace", "gone"), [(False, set()), (True, {"file_made"})])
async def test_w8_an_edit_of_a_generated_file_keeps_the_original_unless_told(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock, replace: bool, gone: set[str]
) -> None:
    async with running(tmp_path, server, working=False, durability="local", replace_downloadable=replace) as host:
        await bound(host, "report", "file_made", origin=Origin.FOREIGN, downloadable=True)
        await host.write("report", b"edited")
        await host.confirm("report", "file_edited")
        assert host.deletes() == gone


async def test_s3_a_reply_for_a_file_that_is_gone_frees_its_id(host: Host) -> None:
    """W9: unlinked after its last byte went out."""
    await host.write("a", b"new")
    inode = host.stat("a")
    host.unlink("a")
    host.parts.intents.binder.bind(inode.ino, _reply("file_late"), inode.content_gen)
    assert host.deletes() == {"file_late"}


async def test_a_reply_for_an_earlier_generation_leaves_the_file_pending(host: Host) -> None:
    """W4: all was sent, then it was written again."""
    await host.write("a", b"one")
    sent = host.stat("a")
    await host.write("a", b"two")
    host.parts.intents.binder.bind(sent.ino, _reply("file_one"), sent.content_gen)
    assert rows(host) == [("upload", "a", ())]
    await host.confirm("a", "file_two")
    assert rows(host) == [("delete", "file_one", ())]
    assert await host.read("a") == b"two"


async def test_a_twin_is_edited_under_its_plain_remote_name_and_keeps_its_spelling(host: Host) -> None:
    """N3."""
    ino = await bound(host, "f [file_twin].txt", "file_twin", filename="f.txt", origin=Origin.FOREIGN)
    host.parts.tree.update(ino, conflict_id="file_twin")
    await host.write("f [file_twin].txt", b"edited")
    assert host.parts.intents.paths.remote_name(host.stat("f [file_twin].txt")) == "f.txt"
    assert "f [file_twin].txt" in host.ls()


async def test_what_is_gone_is_not_named(host: Host) -> None:
    await host.write("a", b"x")
    handle = await host.open("a")
    inode = host.stat("a")
    host.unlink("a")
    gone = host.parts.tree.get(inode.ino)
    assert host.parts.intents.paths.path(gone) is None
    assert host.parts.intents.paths.remote_name(gone) is None
    with pytest.raises(NotFound):
        host.stat("a")
    await host.close(handle)


def _reply(file_id: str) -> Remote:
    return Remote(file_id, "a", 3, "text/plain", 1, None, downloadable=False, origin=Origin.OURS)
