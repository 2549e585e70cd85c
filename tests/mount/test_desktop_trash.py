"""The desktop's trash on a mount, by GIO's own command and the system calls of its trash daemon (N6, S3).

`make test-desktop` does the same by the windows of file browsers.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.faults import Hold
from tests.mount.conftest import Scene
from tests.mount.support import eventually, run


def trash(path: Path) -> Path:
    """Trash a file as file browsers do; where it is then."""
    run("gio", "trash", path)
    return path.parents[1] / f".Trash-{os.getuid()}" / "files" / path.name


def restore(trashed: Path, to: Path) -> None:
    """Take it out again, as the daemon behind `trash:///` does: it moves the file, then removes the note about it."""
    trashed.rename(to)
    (trashed.parents[1] / "info" / f"{trashed.name}.trashinfo").unlink()


def test_what_is_trashed_stays_at_the_service_and_comes_back_with_its_id(scene: Scene) -> None:
    path = scene.folder / "kept.txt"
    path.write_bytes(b"words\n")
    at_service, file_id = scene.stored(), scene.mount.xattr(scene.path("kept.txt"), "id")
    before = scene.ops()
    trashed = trash(path)
    assert not path.exists()
    assert scene.stored() == at_service
    restore(trashed, path)
    assert scene.mount.xattr(scene.path("kept.txt"), "id") == file_id
    assert scene.state("kept.txt") == "clean"
    assert path.read_bytes() == b"words\n"
    assert scene.stored() == at_service
    assert scene.ops() == before


def test_a_file_that_was_not_sent_yet_is_sent_when_it_is_restored(scene: Scene) -> None:
    path = scene.folder / "draft.txt"
    held = scene.server.script.add(Hold(), op="upload", times=None, when=lambda request: held.hits == 0)
    with path.open("wb") as file:
        file.write(b"first words\n")
        trashed = trash(path)
    assert os.getxattr(trashed, "user.remotefs.state") == b"local"
    held.release()
    assert scene.stored() == {}
    restore(trashed, path)
    assert scene.stored() == {"draft.txt": b"first words\n"}
    assert scene.ops() == ["upload"]


def test_an_emptied_trash_deletes_at_the_service(scene: Scene) -> None:
    for name in ("old.txt", "kept.txt"):
        (scene.folder / name).write_bytes(b"words\n")
    assert set(scene.stored()) == {"old.txt", "kept.txt"}
    trashed = trash(scene.folder / "old.txt")
    # The daemon moves it aside first, and removes it from there.
    aside = trashed.parents[1] / "expunged"
    aside.mkdir()
    trashed.rename(aside / "1234")
    (aside / "1234").unlink()
    aside.rmdir()
    eventually(lambda: set(scene.stored()) == {"kept.txt"})
    assert scene.ops().count("delete") == 1


def test_a_trashed_folder_comes_back_whole(scene: Scene) -> None:
    folder = scene.folder / "album"
    (folder / "deep").mkdir(parents=True)
    for name in ("one.txt", "deep/two.txt"):
        (folder / name).write_bytes(name.encode())
    at_service, before = scene.stored(), scene.ops()
    trashed = trash(folder)
    assert (trashed / "deep/two.txt").read_bytes() == b"deep/two.txt"
    restore(trashed, folder)
    assert scene.stored() == at_service
    assert scene.ops() == before
    eventually(lambda: scene.state("album/deep/two.txt") == "clean")
