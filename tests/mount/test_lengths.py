"""Content that is longer or shorter than it was listed, on the kernel (R6): media is read to its true end and never
beyond; of anything else it is an error, and nothing is learned."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.download.test_odd_content import ALL
from tests.faults import Action, Call
from tests.mount.conftest import Scene
from tests.mount.support import eventually

ERRORS = (b"Input/output error\n", b"Stale file handle\n")
LISTED = random.Random(12).randbytes(700_001)


@dataclass
class Changed(Action):
    """The content with `added` bytes more, or as many fewer; with `announce` the length is told, and ranges are."""

    added: int
    announce: bool

    async def __call__(self, call: Call) -> None:
        asked = dict(call.scope["headers"]).get(b"range")
        call.scope["headers"] = [pair for pair in call.scope["headers"] if pair[0] != b"range"]
        _, headers, body = await call.whole_reply()
        body = content(self.added)
        kept = [pair for pair in headers if pair[0] not in (b"content-length", b"accept-ranges")]
        if self.announce and asked:
            first, _, last = asked.removeprefix(b"bytes=").decode().partition("-")
            end = min(int(last) + 1 if last else len(body), len(body))
            kept.append((b"content-range", f"bytes {first}-{end - 1}/{len(body)}".encode()))
            await call.reply(206, kept, body[int(first) : end])
        elif self.announce:
            await call.reply(200, kept, body)
        else:
            await call.send({"type": "http.response.start", "status": 200, "headers": kept})
            await call.send({"type": "http.response.body", "body": body, "more_body": False})


def content(added: int) -> bytes:
    return LISTED + random.Random(13).randbytes(added) if added >= 0 else LISTED[:added]


@pytest.fixture(params=[0, 5000, -5000, 200_000, -690_000])
def added(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[True, False], ids=["announced", "unannounced"])
def picture(scene: Scene, added: int, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A picture of somebody else, which the service changes when it is downloaded."""
    path = scene.mount.path / f"{scene.folder.name}.png"
    scene.server.store.add_generated(path.name, LISTED, mime_type="image/png")
    eventually(path.exists)
    rule = scene.server.script.add(Changed(added, announce=request.param), op="content", times=None)
    yield path
    rule.release()


def test_it_is_read_to_its_true_end_by_every_way(scene: Scene, picture: Path, added: int) -> None:
    assert picture.stat().st_size == len(LISTED)
    assert picture.read_bytes() == content(added)
    assert picture.read_bytes() == content(added)
    assert picture.stat().st_size == len(content(added))
    assert subprocess.run(["cat", picture], stdout=-1, check=True).stdout == content(added)
    with picture.open("rb") as file:
        assert os.pread(file.fileno(), 10, len(content(added)) - 5) == content(added)[-5:]
        assert os.fstat(file.fileno()).st_size == len(content(added))


def test_it_costs_no_more_requests_than_it_has_to(scene: Scene, picture: Path, added: int) -> None:
    """One that shows the length, one that proves it, one for the bytes; a length that no head tells takes one more."""
    for _ in range(3):
        assert picture.read_bytes() == content(added)
    assert scene.ops().count("content") <= (1 if added == 0 else 4)


def test_one_odd_reply_changes_nothing_for_good(scene: Scene) -> None:
    """It is an error at most, also for programs that read the file before; and nothing of it is left at a remount."""
    faults = ["nothing", "nothing, unannounced", "204", "a page", "short", "long, unannounced"]
    paths = [scene.mount.path / f"{scene.folder.name}-{number}.txt" for number in range(len(faults))]
    for path in paths:
        scene.server.store.add_generated(path.name, LISTED, mime_type="text/plain")
    for path, fault in zip(paths, faults, strict=True):
        eventually(path.exists)
        rule = scene.server.script.add(ALL[fault], op="content")
        # One READ after the other: the kernel's readahead would ask for the rest beside it, by a request of its own.
        first = subprocess.run(
            ["dd", f"if={path}", "bs=128K", "iflag=direct", "status=none"], capture_output=True, check=False
        )
        assert rule.hits == 1
        seen = (fault, first.returncode, len(first.stdout), first.stderr)
        assert first.stdout == LISTED if first.returncode == 0 else first.stderr.endswith(ERRORS), seen
        assert (path.stat().st_size, path.read_bytes()) == (len(LISTED), LISTED), fault
    scene.mount.remount()
    for path in paths:
        assert (path.stat().st_size, path.read_bytes()) == (len(LISTED), LISTED)


def test_a_length_that_an_older_version_took_from_an_odd_reply_is_put_right(scene: Scene) -> None:
    """As it stands in a state folder from before."""
    path = scene.mount.path / f"{scene.folder.name}.txt"
    scene.server.store.add_generated(path.name, LISTED, mime_type="text/plain")
    eventually(path.exists)
    scene.mount.end()
    with closing(sqlite3.connect(scene.mount.state / "state.db")) as database:
        database.execute("UPDATE remote SET size = 20 WHERE filename = ?", (path.name,))
        database.execute(
            "UPDATE inode SET size = 20 WHERE file_id = (SELECT file_id FROM remote WHERE filename = ?)", (path.name,)
        )
        database.commit()
    scene.mount.started()
    eventually(lambda: path.stat().st_size == len(LISTED))
    assert path.read_bytes() == LISTED
