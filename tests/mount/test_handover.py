"""M4, M8: `remotefs ls` and `remotefs id` on a real mount, as a person and as a script call them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import FaultyServer, faulty_server
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, remotefs, run


def _out(mount: Mounted, *words: object, **options: object) -> str:
    done = remotefs(*words, env=mount.env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _ids(mount: Mounted, *words: object, stdin: bytes) -> list[str]:
    command = [sys.executable, "-m", "remotefs", "id", *map(str, words)]
    done = subprocess.run(command, input=stdin, capture_output=True, env=mount.env, check=True)
    return done.stdout.decode().split()


def _calls(server: FaultyServer) -> int:
    return sum(server.script.count(operation) for operation in ("upload", "content", "metadata", "delete"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    """The faithful service: uploads cannot be read back."""
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


def test_m8_m4_a_folder_is_listed_and_handed_over_without_a_request(
    server: FaultyServer, make_mount: MakeMount, tmp_path: Path
) -> None:
    server.store.add("out／plot [1].png", b"made", downloadable=True, expires_in_s=5000)
    server.store.add("out／theirs.csv", b"else", downloadable=False)
    mount = make_mount()
    mount.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    for name, text in (("a.txt", "same"), ("b.txt", "same"), ("c.json", "{}")):
        (mount.path / "in" / name).parent.mkdir(exist_ok=True)
        (mount.path / "in" / name).write_text(text)
    mount.flush()
    names = ["in/a.txt", "in/b.txt", "in/c.json", "out/plot [1].png", "out/theirs.csv"]
    ids = {name: mount.xattr(name, "id") for name in names}
    before = _calls(server)

    table = remotefs("ls", mount.path, env=mount.env)
    assert [line.split("  ")[-1] for line in table.stdout.splitlines()] == [str(mount.path / name) for name in names]
    assert "1 h left" in table.stdout
    assert "unreadable" in table.stdout
    assert "5 files, 18 bytes; at the service 5 files, 18 bytes; readable only here 3 files, 10 bytes" in table.stderr
    shown = [json.loads(line) for line in _out(mount, "ls", "--json", mount.path).splitlines()]
    assert {item["path"]: item["id"] for item in shown} == {str(mount.path / name): ids[name] for name in names}
    chosen = {("--generated", "--since", "1d"): [names[3]], ("--duplicates",): names[:2]}
    for options, expected in chosen.items():
        assert _out(mount, "ls", "-0", *options, mount.path) == "".join(f"{mount.path / n}\0" for n in expected)
    run("bash", "-euc", f"{sys.executable} -m remotefs ls --unreadable --for-rsync -0 | rsync -a -0 --exclude-from=- ./ ../copy",
        cwd=mount.path, env=mount.env)  # fmt: skip
    assert not (mount.path.parent / "copy" / names[4]).exists()
    assert (mount.path.parent / "copy" / names[3]).read_bytes() == b"made"
    before += 1  # rsync has read it

    listed = b"".join(f"{mount.path / name}\0".encode() for name in reversed(names))
    assert _ids(mount, "-0", stdin=listed) == list(reversed(ids.values()))
    blocks = remotefs("id", "--json", "--title", mount.path, env=mount.env)
    assert [block["type"] for block in json.loads(blocks.stdout)] == [
        "document", "document", "document", "image", "container_upload"
    ]  # fmt: skip
    assert json.loads(blocks.stdout)[1]["title"] == "in/b.txt"
    assert f"{mount.path / names[4]}: container_upload: no other block takes text/csv" in blocks.stderr
    [first, *_] = json.loads(_out(mount, "id", "--resources", "/data", mount.path))
    assert first == {"type": "file", "file_id": ids["in/a.txt"], "mount_path": "/data/in/a.txt"}

    lock = tmp_path / "files.lock"
    assert json.loads(_out(mount, "id", "--map", "--lock", lock, mount.path)) == {
        str(mount.path / name): ids[name] for name in names
    }
    assert (_out(mount, "id", "--check", lock, mount.path), _calls(server)) == ("", before)
    (mount.path / "in/a.txt").write_text("other")
    (mount.path / "in/c.json").unlink()
    differing = remotefs("id", "--check", lock, mount.path, env=mount.env)
    assert differing.returncode == 1
    assert "in/a.txt is file_" in differing.stderr
    assert "in/c.json is not in the mount any more" in differing.stderr


@pytest.mark.long
def test_m4_id_waits_for_what_is_pending_and_says_what_does_not_get_there(
    make_mount: MakeMount,
) -> None:
    mount = make_mount("--durability", "local")
    (mount.path / "d").mkdir()
    for name in ("a", "b", ".DS_Store"):
        (mount.path / "d" / name).write_text(name)
    done = remotefs("id", mount.path / "d", env=mount.env)
    assert done.stdout.split() == [mount.xattr(f"d/{name}", "id") for name in ("a", "b")]
    assert done.stderr == "remotefs: 1 files stay on this machine by their names, and have no id\n"
    (mount.path / "d").rename(mount.path / "e")
    done = remotefs("id", mount.path / "e/a", env=mount.env)
    mount.flush()
    assert done.stdout.strip() == mount.xattr("e/a", "id")
    for words, told in (
        ((mount.path / "e", mount.path / "none"), "none: no such file or directory in this mount"),
        ((mount.path / "e/.DS_Store",), "e/.DS_Store: the service does not have it: local"),
    ):
        refused = remotefs("id", *words, env=mount.env)
        assert (refused.returncode > 0, told in refused.stderr, refused.stdout) == (True, True, ""), refused


def test_m8_programs_see_no_read_bits_of_what_cannot_be_read(server: FaultyServer, make_mount: MakeMount) -> None:
    server.store.add("theirs", b"else", downloadable=False)
    server.store.add("made", b"made", downloadable=True)
    mount = make_mount(settings={"REMOTEFS_NAMES_UNREADABLE_MODE": "no-read"})
    found = run("find", mount.path, "-type", "f", "!", "-perm", "/444").stdout.split()
    assert found == [str(mount.path / "theirs")]
    (mount.path / "theirs").chmod(0o640)
    assert mount.path.joinpath("theirs").stat().st_mode & 0o777 == 0o200
    (mount.path / "theirs").write_bytes(b"mine now")
    assert mount.path.joinpath("theirs").stat().st_mode & 0o777 == 0o640
