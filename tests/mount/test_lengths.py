"""Media that is longer or shorter than it was listed, on the kernel: read to its true end and never beyond (R6)."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import Action, Call
from tests.mount.conftest import Scene
from tests.mount.support import eventually

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
    for _ in range(3):
        assert picture.read_bytes() == content(added)
    assert scene.ops().count("content") <= (1 if added == 0 else 3)
