"""The type and the expiry that uploads carry: chosen by name and bytes, by attribute, by folder, by setting (M1, M3)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.errors import AccessDenied, InvalidArgument, NoAttribute, NotPermitted
from remotefs.store.records import ROOT_INO, IntentKind
from tests.faults import FaultyServer, HoldReply, LostReply, Reply
from tests.parts import Host, running

_DAY_S = 86_400


@pytest.fixture
async def host(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Host]:
    """A machine whose workers run; close does not wait."""
    async with running(tmp_path, server, durability="local") as host:
        yield host


def with_uploads(**fields: Any) -> Callable[[Config], Config]:
    """A change of the section [upload]."""
    return lambda config: msgspec.structs.replace(config, upload=msgspec.structs.replace(config.upload, **fields))


def put(host: Host, path: str, name: str, value: str) -> None:
    """`setfattr -n user.remotefs.NAME -v VALUE PATH`."""
    ino = host.stat(path).ino if path else ROOT_INO
    host.fs.xattrs.setxattr(ino, b"user.remotefs." + name.encode(), value.encode())


def drop(host: Host, path: str, name: str) -> None:
    """`setfattr -x user.remotefs.NAME PATH`."""
    host.fs.xattrs.removexattr(host.stat(path).ino, b"user.remotefs." + name.encode())


def types(host: Host) -> dict[str, str]:
    """The types at the service by filename."""
    return {record.filename: record.mime_type for record in host.stored()}


def lifetimes(host: Host) -> dict[str, int | None]:
    """For how many seconds the service keeps each file."""
    return {
        record.filename: None if record.expires_us is None else (record.expires_us - record.created_us) // 1_000_000
        for record in host.stored()
    }


# -- M1: by name and bytes


async def test_m1_text_goes_up_as_text_plain_and_says_so_before(host: Host) -> None:
    files = {
        "a.md": b"# a", "b.csv": b"a,b", "c.json": b"{}", "d": b"text", "e.pdf": b"%PDF-", "f.png": b"\x89PNG\0",
        "g.bin": b"\0", "h.txt": "wide".encode("utf-16"), "i.md": b"x" * 70_000 + b"\0",
    }  # fmt: skip
    expected = {
        "a.md": "text/plain", "b.csv": "text/plain", "c.json": "text/plain", "d": "text/plain",
        "e.pdf": "application/pdf", "f.png": "image/png", "g.bin": "application/octet-stream",
        "h.txt": "application/octet-stream", "i.md": "text/plain",
    }  # fmt: skip
    for name, data in files.items():
        handle = await host.open(name, os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, data)
        assert host.xattr(name, "mime_type") == expected[name]
        await host.close(handle)
    await host.settled()
    assert types(host) == expected
    assert {name: host.xattr(name, "mime_type") for name in files} == expected
    assert host.xattr("a.md", "name_type") == "text/markdown"
    assert host.xattr("h.txt", "name_type") == "text/plain"
    assert host.xattr("d", "name_type") == "application/octet-stream"


async def test_m1_exact_keeps_the_type_of_the_name(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> None:
    async with running(tmp_path, server, change=with_uploads(text_type="exact")) as host:
        await host.write("a.md", b"# a")
        assert types(host) == {"a.md": "text/markdown"}


async def test_m1_an_edit_or_a_rename_is_judged_again(host: Host) -> None:
    await host.write("a.csv", b"text")
    await host.settled()
    await host.write("a.csv", b"\0\1")
    await host.settled()
    assert types(host) == {"a.csv": "text/csv"}
    host.rename("a.csv", "a.bin")
    await host.settled()
    assert types(host) == {"a.bin": "application/octet-stream"}


async def test_m1_a_path_that_is_too_long_for_the_service_keeps_its_type(host: Host) -> None:
    host.mkdir("d" * 200)
    path = "d" * 200 + "/" + "e" * 200 + ".pdf"
    await host.write(path, b"%PDF-")
    await host.settled()
    assert list(types(host).values()) == ["application/pdf"]


# -- M1: chosen


async def test_m1_a_type_set_before_the_upload_goes_up_with_it(host: Host) -> None:
    handle = await host.open("a.md", os.O_WRONLY | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, b"# a")
    put(host, "a.md", "mime_type", " Text/Markdown ")
    assert host.xattr("a.md", "mime_type") == "text/markdown"
    await host.close(handle)
    await host.settled()
    assert types(host) == {"a.md": "text/markdown"}
    assert host.server.script.count("upload") == 1
    assert host.fs.xattrs.listxattr(host.stat("a.md").ino) == []


async def test_m1_a_type_set_later_is_an_edit_and_the_value_it_has_is_nothing(host: Host) -> None:
    await host.write("a.md", b"# a")
    await host.settled()
    old = host.id("a.md")
    put(host, "a.md", "mime_type", "text/plain")
    assert host.pending() == []
    put(host, "a.md", "mime_type", "text/markdown")
    assert (host.xattr("a.md", "mime_type"), host.xattr("a.md", "state")) == ("text/markdown", "pending")
    await host.settled()
    assert types(host) == {"a.md": "text/markdown"}
    assert host.id("a.md") != old
    assert host.remote_ids() == {host.id("a.md")}
    assert await host.read("a.md") == b"# a"
    assert host.server.script.count("upload") == 2
    put(host, "a.md", "mime_type", "text/markdown")
    assert host.pending() == []


async def test_m1_set_and_set_back_sends_nothing(host: Host) -> None:
    await host.write("a.md", b"# a")
    await host.settled()
    host.server.script.forget_requests()
    put(host, "a.md", "mime_type", "text/markdown")
    put(host, "a.md", "mime_type", "text/plain")
    await host.settled()
    put(host, "a.md", "mime_type", "text/csv")
    drop(host, "a.md", "mime_type")
    await host.settled()
    assert host.server.script.requests("upload") == []
    assert host.xattr("a.md", "state") == "clean"


async def test_m1_removed_the_file_is_typed_as_any_other(host: Host) -> None:
    await host.write("a.md", b"# a")
    put(host, "a.md", "mime_type", "text/markdown")
    await host.settled()
    drop(host, "a.md", "mime_type")
    await host.settled()
    assert types(host) == {"a.md": "text/plain"}
    with pytest.raises(NoAttribute):
        drop(host, "a.md", "mime_type")


async def test_m1_it_outlives_edits_and_a_rename(host: Host) -> None:
    await host.write("a.md", b"# a")
    put(host, "a.md", "mime_type", "text/markdown")
    await host.settled()
    await host.write("a.md", b"# b")
    await host.settled()
    host.rename("a.md", "b.txt")
    await host.settled()
    assert types(host) == {"b.txt": "text/markdown"}


async def test_m1_it_goes_with_the_file(host: Host) -> None:
    await host.write("a.md", b"# a")
    put(host, "a.md", "mime_type", "text/markdown")
    await host.settled()
    host.unlink("a.md")
    await host.settled()
    await host.write("a.md", b"# a")
    await host.settled()
    assert types(host) == {"a.md": "text/plain"}


async def test_m1_a_type_set_while_the_file_is_open_and_unchanged_goes_up_too(host: Host) -> None:
    await host.write("a.md", b"# a")
    await host.settled()
    handle = await host.open("a.md", os.O_RDWR)
    await host.fs.files.write(handle.fh, 0, b"# a")
    put(host, "a.md", "mime_type", "text/markdown")
    await host.close(handle)
    await host.settled()
    assert types(host) == {"a.md": "text/markdown"}


@pytest.mark.parametrize("path", ["a.md", "b.md"])
async def test_m1_a_type_set_during_an_upload_is_sent_after_it(host: Host, path: str) -> None:
    if path == "b.md":  # an upload of the same bytes that another type asked for
        await host.write(path, b"# a")
        await host.settled()
    held = host.server.script.add(HoldReply(), op="upload")
    await host.write(path, b"# a")
    if path == "b.md":
        put(host, path, "mime_type", "text/csv")
    await held.until_hit()
    put(host, path, "mime_type", "text/markdown")
    held.release()
    host.server.script.clear()
    await host.settled()
    assert types(host) == {path: "text/markdown"}
    assert host.remote_ids() == {host.id(path)}


async def test_m1_a_type_that_the_service_refuses_can_be_corrected(host: Host) -> None:
    await host.write("a.md", b"# a")
    await host.settled()
    body = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}'
    rule = host.server.script.add(Reply(400, body), op="upload")
    put(host, "a.md", "mime_type", "no/such")
    await host.until(lambda: host.xattr("a.md", "state").startswith("failed"))
    host.server.script.remove(rule)
    put(host, "a.md", "mime_type", "text/csv")
    await host.settled()
    assert types(host) == {"a.md": "text/csv"}
    assert host.xattr("a.md", "state") == "clean"


async def test_w6_a_lost_reply_is_found_whatever_type_the_listing_has(host: Host) -> None:
    await host.write("a.md", b"# a")
    await host.settled()
    rule = host.server.script.add(LostReply(), op="upload")
    put(host, "a.md", "mime_type", "text/csv")
    await host.until(lambda: host.server.script.count("upload") == 2)
    host.server.script.remove(rule)
    # Set while nobody knows what became of the request: it was not sent with that.
    put(host, "a.md", "mime_type", "text/markdown")
    await host.settled()
    assert types(host) == {"a.md": "text/markdown"}
    assert host.server.script.count("upload") == 3


async def test_m1_what_is_pending_survives_a_kill(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a.md", b"# a")
        await host.settled()
    async with running(tmp_path, server, working=False) as host:
        put(host, "a.md", "mime_type", "text/markdown")
        put(host, "", "mime_type", "text/x-all")
        host.kill_copy("later")
    async with running(tmp_path, server, state="later") as host:
        await host.settled()
        assert types(host) == {"a.md": "text/markdown"}
        await host.write("a.md", b"# b")
        await host.write("b.md", b"# b")
        assert types(host) == {"a.md": "text/markdown", "b.md": "text/x-all"}


async def test_m1_what_is_pending_is_sent_though_its_intent_is_lost(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a.md", b"# a")
        await host.settled()
    async with running(tmp_path, server, working=False) as host:
        put(host, "a.md", "mime_type", "text/markdown")
        [intent] = host.pending()
        host.parts.journal.remove(intent.seq)
    async with running(tmp_path, server) as host:
        await host.settled()
        assert types(host) == {"a.md": "text/markdown"}


async def test_m1_without_its_bytes_a_type_cannot_be_changed(host: Host) -> None:
    host.server.store.add("theirs.csv", b"a,b", downloadable=False)
    host.server.store.add_generated("made.csv", b"a,b")
    await host.walk()
    for path in ("theirs.csv", "made.csv"):
        with pytest.raises(AccessDenied, match="not on this disk"):
            put(host, path, "mime_type", "text/plain")
        put(host, path, "mime_type", "text/csv")  # the value it has
        with pytest.raises(AccessDenied):
            put(host, path, "mime_type", "text/plain")
    assert host.pending() == []


async def test_w8_another_type_of_a_generated_file_keeps_the_original(host: Host) -> None:
    made = host.server.store.add_generated("made.csv", b"a,b")
    await host.walk()
    assert await host.read("made.csv") == b"a,b"
    put(host, "made.csv", "mime_type", "text/plain")
    await host.settled()
    assert sorted(record.mime_type for record in host.stored()) == ["text/csv", "text/plain"]
    assert made.id in host.remote_ids()
    assert host.id("made.csv") != made.id


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mime_type", ""), ("mime_type", "text"), ("mime_type", "text/plain\r\nx"), ("mime_type", "a/é"),
        ("expires_in", ""), ("expires_in", "59m"), ("expires_in", "91d"), ("expires_in", "soon"), ("expires_in", "nan"),
    ],
)  # fmt: skip
async def test_what_cannot_be_set(host: Host, name: str, value: str) -> None:
    await host.write("a", b"x")
    for path in ("a", ""):
        with pytest.raises(InvalidArgument):
            put(host, path, name, value)
    with pytest.raises(InvalidArgument):
        host.fs.xattrs.setxattr(ROOT_INO, b"user.remotefs." + name.encode(), b"\xff")


async def test_what_is_read_only(host: Host) -> None:
    await host.write("a", b"x")
    for name in ("id", "name_type", "state", "pending_options"):
        with pytest.raises(NotPermitted):
            put(host, "a", name, "x")
        with pytest.raises(NotPermitted):
            drop(host, "a", name)
    with pytest.raises(NoAttribute):
        host.xattr("a", "pending_options")


# -- folders


async def test_m1_files_made_later_in_a_folder_or_below_have_its_type(host: Host) -> None:
    host.mkdir("d")
    host.mkdir("d/old")
    await host.write("d/before.md", b"# a")
    put(host, "d", "mime_type", "text/markdown")
    host.mkdir("d/new")
    host.mkdir("other")
    for path in ("d/a.md", "d/old/b.md", "d/new/c.md", "other/d.md"):
        await host.write(path, b"# a")
    host.rename("d/a.md", "other/a.md")
    await host.settled()
    typed = {name.replace("\uff0f", "/"): kind for name, kind in types(host).items()}
    assert typed == {
        "d/before.md": "text/plain", "d/old/b.md": "text/markdown", "d/new/c.md": "text/markdown",
        "other/a.md": "text/markdown", "other/d.md": "text/plain",
    }  # fmt: skip
    ino = host.stat("d/new").ino
    assert host.fs.xattrs.getxattr(ino, b"user.remotefs.mime_type") == b"text/markdown"
    assert host.fs.xattrs.listxattr(host.stat("d").ino) == []
    with pytest.raises(NoAttribute):
        drop(host, "d/new", "mime_type")


async def test_the_nearest_folder_counts_and_what_it_drops_is_that_of_the_one_above(host: Host) -> None:
    host.mkdir("d")
    host.mkdir("d/e")
    put(host, "", "mime_type", "text/csv")
    put(host, "d", "mime_type", "text/markdown")
    await host.write("d/e/a", b"x")
    drop(host, "d", "mime_type")
    await host.write("d/e/b", b"x")
    assert (host.xattr("d/e/a", "mime_type"), host.xattr("d/e/b", "mime_type")) == ("text/markdown", "text/csv")


# -- M3


async def test_m3_an_expiry_is_sent_with_the_upload_and_with_each_later_one(host: Host) -> None:
    handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
    put(host, "a", "expires_in", "30d")
    await host.fs.files.write(handle.fh, 0, b"x")
    await host.close(handle)
    await host.settled()
    assert lifetimes(host) == {"a": 30 * _DAY_S}
    assert (host.xattr("a", "expires_in"), host.xattr("a", "state")) == ("30d", "clean")
    assert host.xattr("a", "expires_at") != "never"
    await host.write("a", b"y")
    await host.settled()
    assert lifetimes(host) == {"a": 30 * _DAY_S}
    host.rename("a", "b")
    await host.settled()
    assert lifetimes(host) == {"b": 30 * _DAY_S}


@pytest.mark.parametrize(("given", "shown", "seconds"), [
    ("1h", "1h", 3600), ("90d", "90d", 90 * _DAY_S), ("3601", "3601s", 3601), (" 1.5h ", "90m", 5400),
])  # fmt: skip
async def test_m3_the_range(host: Host, given: str, shown: str, seconds: int) -> None:
    await host.write("a", b"x")
    put(host, "a", "expires_in", given)
    await host.settled()
    assert (host.xattr("a", "expires_in"), lifetimes(host)) == (shown, {"a": seconds})


async def test_m3_set_later_it_is_an_edit_and_so_is_its_end(host: Host) -> None:
    await host.write("a", b"x")
    await host.settled()
    with pytest.raises(NoAttribute):
        host.xattr("a", "expires_in")
    put(host, "a", "expires_in", "1d")
    await host.settled()
    assert lifetimes(host) == {"a": _DAY_S}
    put(host, "a", "expires_in", "24h")
    assert host.pending() == []
    drop(host, "a", "expires_in")
    await host.settled()
    assert lifetimes(host) == {"a": None}
    assert host.server.script.count("upload") == 3


async def test_m3_folders_and_patterns(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> None:
    patterns = (("*.tmp1", 3600.0), ("scratch", float(_DAY_S)), ("*1", 7200.0))
    async with running(tmp_path, server, change=with_uploads(expires_in=patterns)) as host:
        for folder in ("scratch", "d"):
            host.mkdir(folder)
        put(host, "d", "expires_in", "2d")
        for path in ("a", "a.tmp1", "b1", "scratch/c", "scratch/a.tmp1", "d/e1"):
            await host.write(path, b"x")
        assert host.xattr("b1", "expires_in") == "2h"
        assert {name.replace("\uff0f", "/"): seconds for name, seconds in lifetimes(host).items()} == {
            "a": None, "a.tmp1": 3600, "b1": 7200, "scratch/c": _DAY_S, "scratch/a.tmp1": 3600, "d/e1": 2 * _DAY_S,
        }  # fmt: skip


async def test_both_at_once_are_one_upload(host: Host) -> None:
    await host.write("a.md", b"x")
    await host.settled()
    put(host, "a.md", "mime_type", "text/markdown")
    put(host, "a.md", "expires_in", "1h")
    put(host, "a.md", "mime_type", "text/plain")  # what it has; the expiry still differs
    [intent] = host.pending()
    assert intent.kind is IntentKind.REUPLOAD
    await host.settled()
    assert (types(host), lifetimes(host)) == ({"a.md": "text/plain"}, {"a.md": 3600})
    assert host.server.script.count("upload") == 2
