"""The type and the expiry of files, as programs see and set them on a mount (M1, M3)."""

from __future__ import annotations

import errno
import os

import pytest

from remotefs.server.queries import ListQuery
from tests.mount.conftest import MakeMount, Scene
from tests.mount.support import remotefs, run

TYPE, EXPIRY = "user.remotefs.mime_type", "user.remotefs.expires_in"


def _records(scene: Scene) -> dict[str, tuple[str, int | None]]:
    """The type and the lifetime in hours of the files of the scene, by name."""
    scene.mount.flush()
    prefix = f"{scene.folder.name}\uff0f"
    return {
        record.filename.removeprefix(prefix).replace("\uff0f", "/"): (
            record.mime_type,
            None if record.expires_us is None else round((record.expires_us - record.created_us) / 3.6e9),
        )
        for record in scene.server.store.list(ListQuery(limit=1000)).records
        if record.filename.startswith(prefix)
    }


def test_m1_m3_attributes_set_on_files_and_folders(scene: Scene) -> None:
    folder = scene.folder
    (folder / "a.md").write_text("# a")
    assert os.getxattr(folder / "a.md", TYPE) == b"text/plain"
    assert os.getxattr(folder / "a.md", "user.remotefs.name_type") == b"text/markdown"
    os.setxattr(folder / "a.md", TYPE, b"text/markdown")
    with (folder / "b").open("w") as file:
        os.setxattr(file.fileno(), EXPIRY, b"1d")
        file.write("b")
    (folder / "d").mkdir()
    os.setxattr(folder / "d", TYPE, b"text/x-notes")
    os.setxattr(folder / "d", EXPIRY, b"2d")
    (folder / "d" / "e").mkdir()
    (folder / "d" / "e" / "f").write_text("f")
    assert _records(scene) == {
        "a.md": ("text/markdown", None), "b": ("text/plain", 24), "d/e/f": ("text/x-notes", 48),
    }  # fmt: skip
    assert {os.getxattr(folder / "d" / "e" / each, EXPIRY) for each in ("", "f")} == {b"2d"}
    os.removexattr(folder / "a.md", TYPE)
    assert _records(scene)["a.md"] == ("text/plain", None)
    for path in (folder / "a.md", folder / "d"):
        assert os.listxattr(path) == []
        for name, value in ((TYPE, b"nonsense"), (EXPIRY, b"30m"), (EXPIRY, b"91d")):
            with pytest.raises(OSError) as caught:
                os.setxattr(path, name, value)
            assert caught.value.errno == errno.EINVAL


def test_m1_copies_take_no_type_along(scene: Scene) -> None:
    (scene.folder / "a.md").write_text("# a")
    os.setxattr(scene.folder / "a.md", TYPE, b"text/markdown")
    run("cp", "-a", "a.md", "b.md", cwd=scene.folder)
    assert _records(scene) == {"a.md": ("text/markdown", None), "b.md": ("text/plain", None)}


@pytest.mark.long
def test_m1_retype_by_its_command(make_mount: MakeMount) -> None:
    mount = make_mount(settings={"REMOTEFS_UPLOAD_TEXT_TYPE": "exact"})
    (mount.path / "a.md").write_text("# a")
    (mount.path / "b.csv").write_text("a,b")
    mount.flush()
    mount.end()
    del mount.env["REMOTEFS_UPLOAD_TEXT_TYPE"]
    mount.started()
    paths = [mount.path / "a.md", mount.path / "b.csv"]
    asked = remotefs("retype", "--dry-run", *paths, env=mount.env)
    assert "2 files, 6 bytes to upload, about 4 requests" in asked.stderr
    assert mount.xattr("a.md", "mime_type") == "text/markdown"
    assert remotefs("retype", "--yes", mount.path, env=mount.env).returncode == 0
    mount.flush()
    assert (mount.xattr("a.md", "mime_type"), mount.xattr("b.csv", "mime_type")) == ("text/plain", "text/plain")
