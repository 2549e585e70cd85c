"""What close(2) promises, and which close uploads (W2, W4, W5, W9, W10)."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import FaultyServer, Hold, HoldReply, LostReply, Reply, html_too_large
from tests.mount.conftest import MakeMount, Scene
from tests.mount.support import eventually, ids, remote, shell, stored

# A close that waits for the service is at an end after this; it is long before any of the tests' own limits.
BOUND_S = "1.5"


@contextmanager
def refused(number: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == number, errno.errorcode[caught.value.errno or 0]


def write_elsewhere(path: Path) -> subprocess.Popen[bytes]:
    """A process that writes a file and ends once close has returned."""
    return subprocess.Popen([sys.executable, "-c", f"f = open({str(path)!r}, 'wb'); f.write(b'x' * 100); f.close()"])


class TestRemote:
    def test_when_close_returns_the_service_has_it(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"content")

        assert stored(scene.server, scene.folder.name) == {"f": b"content"}
        assert scene.state("f") == "clean"
        assert scene.mount.xattr(scene.path("f"), "id") == ids(scene.server)[remote(scene.path("f"))]

    def test_close_waits_for_the_reply(self, scene: Scene) -> None:
        held = scene.server.script.add(HoldReply(), op="upload")
        writer = write_elsewhere(scene.folder / "f")
        held.wait_until_hit()

        assert writer.poll() is None
        assert scene.state("f") == "uploading"
        held.release()
        assert writer.wait(10) == 0

    @pytest.mark.parametrize(
        ("answer", "number"),
        [
            (html_too_large(), errno.EFBIG),
            (Reply(400, {"type": "error", "error": {
                "type": "invalid_request_error", "message": "full", "details": {"error_code": "storage_quota_exceeded"},
            }}), errno.EDQUOT),
            (Reply(403), errno.EACCES),
            (Reply(400), errno.EINVAL),
        ],
        ids=["413", "quota", "403", "400"],
    )  # fmt: skip
    def test_a_refusal_is_the_answer_to_close_and_nothing_is_dropped(
        self, scene: Scene, answer: Reply, number: int
    ) -> None:
        scene.server.script.add(answer, op="upload", times=None)

        with refused(number):
            (scene.folder / "f").write_bytes(b"kept")

        assert (scene.folder / "f").read_bytes() == b"kept"
        assert scene.state("f").startswith("failed: ")
        [said] = [left for left in scene.mount.status().failed if left.path == scene.path("f")]
        assert said.reason
        scene.server.script.clear()
        eventually(lambda: scene.mount.status().online)
        (scene.folder / "f").write_bytes(b"written again")
        assert scene.stored() == {"f": b"written again"}
        assert scene.state("f") == "clean"

    def test_a_refused_replacement_leaves_the_old_file_at_the_service(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"old")
        scene.server.script.add(html_too_large(), op="upload", times=None)

        with refused(errno.EFBIG):
            (scene.folder / "f").write_bytes(b"new")

        assert stored(scene.server, scene.folder.name) == {"f": b"old"}
        assert (scene.folder / "f").read_bytes() == b"new"
        (scene.folder / "f").unlink()
        assert scene.stored() == {}

    def test_a_refused_file_can_be_removed_and_renamed(self, scene: Scene) -> None:
        scene.server.script.add(Reply(400), op="upload", times=2, when=lambda _: True)
        for name in ("a", "b"):
            with refused(errno.EINVAL):
                (scene.folder / name).write_bytes(b"x")
        scene.server.script.clear()

        (scene.folder / "a").unlink()
        (scene.folder / "b").rename(scene.folder / "c")

        assert scene.stored() == {"c": b"x"}


class TestBound:
    def test_a_service_that_hangs_does_not_hold_up_close_for_ever(
        self, server: FaultyServer, make_mount: MakeMount
    ) -> None:
        mount = make_mount(settings={"REMOTEFS_WRITEBACK_CLOSE_WAIT_S": BOUND_S})
        held = server.script.add(Hold(), op="upload", times=None)

        began = time.monotonic()
        (mount.path / "f").write_bytes(b"content")
        took = time.monotonic() - began

        assert float(BOUND_S) <= took < float(BOUND_S) + 5
        assert mount.xattr("f", "state") == "uploading"
        assert (mount.path / "f").read_bytes() == b"content"
        held.release()
        mount.flush()
        assert stored(server) == {"f": b"content"}

    def test_strict_says_eio_instead_and_keeps_it(self, server: FaultyServer, make_mount: MakeMount) -> None:
        mount = make_mount("--durability", "strict", settings={"REMOTEFS_WRITEBACK_CLOSE_WAIT_S": BOUND_S})
        held = server.script.add(Hold(), op="upload", times=None)

        with refused(errno.EIO):
            (mount.path / "f").write_bytes(b"content")

        assert (mount.path / "f").read_bytes() == b"content"
        held.release()
        mount.flush()
        assert stored(server) == {"f": b"content"}
        (mount.path / "g").write_bytes(b"at once")
        assert stored(server)["g"] == b"at once"

    def test_local_returns_at_once(self, server: FaultyServer, make_mount: MakeMount) -> None:
        mount = make_mount("--durability", "local", settings={"REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "60"})
        held = server.script.add(Hold(), op="upload", times=None)

        began = time.monotonic()
        (mount.path / "f").write_bytes(b"content")
        assert time.monotonic() - began < 10

        held.wait_until_hit()
        held.release()
        mount.flush()
        assert stored(server) == {"f": b"content"}


class TestWhatIsAnUpload:
    def test_a_shells_redirect_is_one_upload(self, scene: Scene) -> None:
        shell("(sleep 0.5; echo text) > f", scene.folder)

        assert scene.stored() == {"f": b"text\n"}
        assert scene.ops() == ["upload"]

    def test_create_then_write_is_one_upload(self, scene: Scene) -> None:
        shell("touch f; : > g; echo text > f; echo more > g", scene.folder)

        assert scene.stored() == {"f": b"text\n", "g": b"more\n"}
        assert scene.ops() == ["upload"] * 2

    def test_an_empty_file_goes_up_after_the_grace_time(self, scene: Scene) -> None:
        (scene.folder / "f").touch()
        assert scene.ops() == []

        eventually(lambda: scene.ops() == ["upload"])
        assert scene.stored() == {"f": b""}

    def test_a_file_emptied_replaces_what_it_was(self, scene: Scene) -> None:
        (scene.folder / "f").write_text("content")
        shell(": > f", scene.folder)

        assert scene.stored() == {"f": b""}
        assert scene.ops() == ["upload", "upload", "delete"]

    def test_equal_content_is_no_upload(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"the same")
        (scene.folder / "f").write_bytes(b"the same")
        with (scene.folder / "f").open("r+b") as file:
            file.write(b"the")
        os.truncate(scene.folder / "f", 8)

        assert scene.stored() == {"f": b"the same"}
        assert scene.ops() == ["upload"]

    def test_modes_times_and_attributes_are_no_upload(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"x")
        shell("chmod 600 f; touch f; touch -d 2001-01-01 f; chown 12:34 f || true; cat f", scene.folder)
        os.setxattr(scene.folder / "f", "user.note", b"mine")

        scene.mount.flush()
        assert scene.ops() == ["upload"]

    def test_opening_for_writing_and_not_writing_is_no_upload(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"x")
        with (scene.folder / "f").open("r+b") as file:
            file.read()
        with (scene.folder / "f").open("ab"):
            pass

        scene.mount.flush()
        assert scene.ops() == ["upload"]

    def test_truncate_without_a_handle_counts_as_a_close(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"0123456789")
        os.truncate(scene.folder / "f", 4)
        assert scene.stored() == {"f": b"0123"}
        os.truncate(scene.folder / "f", 6)
        assert scene.stored() == {"f": b"0123\0\0"}

    def test_a_mapping_written_after_close_goes_up_at_the_last_release(self, scene: Scene) -> None:
        path = scene.folder / "f"
        path.write_bytes(b"a" * 8192)
        with path.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), 0)
        mapped[4096:4100] = b"bbbb"
        mapped.close()

        eventually(lambda: scene.stored() == {"f": b"a" * 4096 + b"bbbb" + b"a" * 4092})

    def test_a_descriptor_shared_with_children_uploads_the_whole(self, scene: Scene) -> None:
        shell("exec 3> f; for i in 1 2 3; do (echo $i >&3); done; exec 3>&-", scene.folder)

        assert scene.stored() == {"f": b"1\n2\n3\n"}

    @pytest.mark.parametrize("name", ["x.swp", "4913", "report~", "sedAbC123", ".data.txt.A1b2C3"])
    def test_a_name_of_temporary_shape_waits(self, scene: Scene, name: str) -> None:
        (scene.folder / name).write_bytes(b"x")
        assert scene.ops() == []
        (scene.folder / name).rename(scene.folder / "ordinary")
        assert scene.stored() == {"ordinary": b"x"}
        assert scene.ops() == ["upload"]

    def test_some_names_never_leave_this_machine(self, scene: Scene) -> None:
        (scene.folder / ".DS_Store").write_bytes(b"x")
        (scene.folder / "._fork").write_bytes(b"x")

        assert scene.stored() == {}
        assert scene.state(".DS_Store") == "local"
        assert (scene.folder / "._fork").read_bytes() == b"x"


class TestReplacing:
    def test_the_new_content_goes_up_before_the_old_goes(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"old")
        old = scene.mount.xattr(scene.path("f"), "id")
        (scene.folder / "f").write_bytes(b"new")

        assert scene.stored() == {"f": b"new"}
        requests = [r for r in scene.server.script.requests()[scene.since :] if r.op in {"upload", "delete"}]
        assert [r.op for r in requests] == ["upload", "upload", "delete"]
        assert requests[-1].path == f"/v1/files/{old}"

    @pytest.mark.parametrize(
        "script",
        [
            "echo new > t; mv t f",
            "mv f b; echo new > f; rm b",
            "echo new > t; ln f b; mv t f; rm b",
            "cp --remove-destination /dev/stdin f <<< new",
            "echo new > t; mv --exchange t f 2>/dev/null || mv t f; rm -f t",
        ],
        ids=["temp-and-rename", "backup-and-rename", "link-and-unlink", "unlink-and-create", "exchange"],
    )
    def test_whatever_the_way_one_file_is_left(self, scene: Scene, script: str) -> None:
        (scene.folder / "f").write_bytes(b"old")
        shell(script, scene.folder)

        assert scene.stored() == {"f": b"new\n"}
        assert (scene.folder / "f").read_text() == "new\n"
        assert scene.state("f") == "clean"

    def test_while_the_upload_of_the_new_is_refused_the_old_stays(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"old")
        scene.server.script.add(Reply(400), op="upload", times=None)
        shell("echo new > t || true; mv t f", scene.folder)

        assert stored(scene.server, scene.folder.name) == {"f": b"old"}
        scene.server.script.clear()
        shell("echo newer > f", scene.folder)
        assert scene.stored() == {"f": b"newer\n"}

    def test_a_hard_link_that_survives_keeps_the_file(self, scene: Scene) -> None:
        shell("echo text > a; ln a b; rm a", scene.folder)

        assert scene.stored() == {"b": b"text\n"}
        assert (scene.folder / "b").stat().st_nlink == 1

    def test_renamed_before_its_upload_it_goes_up_under_the_new_name_alone(self, scene: Scene) -> None:
        with (scene.folder / "a").open("wb") as file:
            file.write(b"x")
            (scene.folder / "a").rename(scene.folder / "b")

        assert scene.stored() == {"b": b"x"}
        assert scene.ops() == ["upload"]


class TestWritingDuringAnUpload:
    def test_the_last_bytes_win_and_nothing_is_left_over(self, scene: Scene) -> None:
        held = scene.server.script.add(HoldReply(), op="upload")
        writer = write_elsewhere(scene.folder / "f")
        held.wait_until_hit()

        # All bytes were sent: their reply binds an earlier generation, and this one follows.
        with (scene.folder / "f").open("wb") as file:
            file.write(b"second")
            file.flush()
            held.release()
        writer.wait(15)

        assert scene.stored() == {"f": b"second"}
        assert (scene.folder / "f").read_bytes() == b"second"

    def test_reads_see_the_bytes_while_they_go_up(self, scene: Scene) -> None:
        held = scene.server.script.add(Hold(), op="upload")
        writer = write_elsewhere(scene.folder / "f")
        held.wait_until_hit()

        assert (scene.folder / "f").read_bytes() == b"x" * 100
        held.release()
        assert writer.wait(15) == 0


class TestUnlinking:
    def test_unlinked_while_open_it_lives_until_the_last_close(self, scene: Scene) -> None:
        path = scene.folder / "f"
        path.write_bytes(b"first")
        with path.open("r+b") as file:
            path.unlink()
            assert file.read() == b"first"
            file.write(b" and more")
            file.seek(0)
            assert file.read() == b"first and more"
            assert os.fstat(file.fileno()).st_nlink == 0
            assert not path.exists()
            assert stored(scene.server, scene.folder.name) == {"f": b"first"}

        eventually(lambda: scene.stored() == {})
        assert scene.ops() == ["upload", "delete"]

    def test_created_and_unlinked_while_open_it_never_goes_up(self, scene: Scene) -> None:
        with (scene.folder / "f").open("w+b") as file:
            file.write(b"temporary")
            (scene.folder / "f").unlink()
            file.seek(0)
            assert file.read() == b"temporary"

        scene.mount.flush()
        assert scene.ops() == []

    @pytest.mark.parametrize("fault", [Hold(), HoldReply(), LostReply()], ids=["sending", "sent", "lost"])
    def test_unlinked_during_its_upload_it_leaves_nothing(
        self, scene: Scene, fault: Hold | HoldReply | LostReply
    ) -> None:
        held = scene.server.script.add(fault, op="upload")
        writer = write_elsewhere(scene.folder / "f")
        held.wait_until_hit()

        (scene.folder / "f").unlink()
        held.release()
        writer.wait(30)

        scene.mount.flush()
        eventually(lambda: stored(scene.server, scene.folder.name) == {})
        assert not os.listdir(scene.folder)
        assert scene.mount.status().pending == ()

    def test_an_old_file_deleted_at_the_service_before_is_as_good_as_deleted(self, scene: Scene) -> None:
        (scene.folder / "f").write_bytes(b"x")
        scene.server.store.delete(scene.mount.xattr(scene.path("f"), "id"))

        (scene.folder / "f").unlink()

        scene.mount.flush()
        assert scene.mount.status().pending == ()
