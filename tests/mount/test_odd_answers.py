"""Answers that cannot be, as programs see them: files stay, and hold what was written (S1, W6)."""

from __future__ import annotations

import time
from email.utils import formatdate

from tests.faults import EditJson
from tests.mount.conftest import Scene
from tests.mount.support import eventually, ids

DAY_S = 86_400
MANY = 25


def test_s1_a_wrong_date_in_replies_takes_no_file_away(scene: Scene) -> None:
    names = [f"{scene.folder.name}-{number}" for number in range(MANY)]
    for name in names:
        scene.server.store.add(name, b"theirs", downloadable=True, expires_in_s=30 * DAY_S)
    eventually(lambda: all((scene.mount.path / name).exists() for name in names))
    right = scene.server.script.date
    scene.server.script.date = lambda: formatdate(time.time() + 40 * DAY_S, usegmt=True)
    try:
        before = scene.server.script.count("list")
        eventually(lambda: scene.server.script.count("list") >= before + 10)
        assert [name for name in names if not (scene.mount.path / name).exists()] == []
        assert (scene.mount.path / names[0]).read_bytes() == b"theirs"
        assert scene.mount.status().removals_held == 0
    finally:
        scene.server.script.date = right


def test_w6_an_upload_that_is_answered_with_anothers_id_keeps_both(scene: Scene) -> None:
    scene.server.store.add_generated("theirs.txt", b"somebody else's")
    theirs = scene.mount.path / "theirs.txt"
    eventually(theirs.exists)
    known = ids(scene.server)["theirs.txt"]
    rule = scene.server.script.add(EditJson(lambda reply: reply | {"id": known}), op="upload")
    mine = scene.folder / "mine.txt"
    mine.write_bytes(b"what I wrote, with a length of its own")
    assert rule.hits == 1
    assert mine.read_bytes() == b"what I wrote, with a length of its own"
    assert scene.stored() == {"mine.txt": b"what I wrote, with a length of its own"}
    assert theirs.read_bytes() == b"somebody else's"
    mine.unlink()
    scene.mount.flush()
    assert ids(scene.server)["theirs.txt"] == known
