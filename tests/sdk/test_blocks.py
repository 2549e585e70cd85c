"""M2, M4: the vendor's SDK sends the blocks that `remotefs id` prints, and each is one that takes its file."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import environment, mounted, remotefs
from tests.sdk.messages_stub import messages_stub
from tests.sdk.test_sdk import ENVIRONMENTS, HERE

PYTHON = ENVIRONMENTS / "anthropic-2.14.0" / "bin" / "python"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 0/Kids[]>>endobj\ntrailer<</Root 1 0 R>>\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU"
FILES = {
    "a.md": b"# words", "b.csv": b"a,b\n1,2\n", "c.json": b"{}", "d.py": b"print()", "e.ipynb": b"{}", "f.sql": b"SELECT 1",
    "g.pdf": PDF, "h.png": PNG, "i.bin": bytes(range(256)), "j.txt": "wörter".encode("utf-16"), "k": b"no extension",
    "l.txt": b"plain",
}  # fmt: skip

pytestmark = [pytest.mark.sdk, pytest.mark.mount]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


def refused_unless_looked_at() -> dict[str, bytes]:
    """A PDF and a picture whose type alone would make the wrong block."""
    if find_spec("pypdf") is None or find_spec("PIL") is None:
        return {}
    from PIL import Image  # noqa: PLC0415 - of an extra
    from pypdf import PdfWriter  # noqa: PLC0415 - of an extra

    writer, locked, wide = PdfWriter(), io.BytesIO(), io.BytesIO()
    writer.add_blank_page(9, 9)
    writer.encrypt("secret")
    writer.write(locked)
    Image.new("L", (8001, 1)).save(wide, "PNG")
    return {"locked.pdf": locked.getvalue(), "wide.png": wide.getvalue()}


def test_m4_the_service_takes_every_block(server: FaultyServer, tmp_path: Path) -> None:
    assert PYTHON.exists(), "the environment of the SDK is missing: `make test` prepares it"
    looked_at = refused_unless_looked_at()
    with mounted(tmp_path / "m", server.url, KEY) as mount:
        mount.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        for name, data in (FILES | looked_at).items():
            (mount.path / name).write_bytes(data)
        done = remotefs("id", "--json", "--title", "--citations", mount.path, env=mount.env)
        assert done.returncode == 0, done.stderr
        blocks: list[dict[str, Any]] = json.loads(done.stdout)
        kinds = dict(zip(sorted(FILES | looked_at), [block["type"] for block in blocks], strict=True))
        assert (kinds["g.pdf"], kinds["h.png"], kinds["l.txt"]) == ("document", "image", "document")
        assert kinds["i.bin"] == "container_upload"
        assert {kinds[name] for name in looked_at} <= {"container_upload"}, done.stderr
        with messages_stub(server.store, tmp_path / "server" / "files") as url:
            asked = json.dumps({"url": url, "key": KEY, "blocks": blocks})
            sent = subprocess.run(
                [PYTHON, HERE / "send_blocks.py"], input=asked, capture_output=True, text=True, check=False,
                env=environment(), timeout=100,
            )  # fmt: skip
        assert sent.returncode == 0, sent.stderr
        answers = json.loads(sent.stdout)
        assert dict(zip(kinds, answers["each"], strict=True)) == dict.fromkeys(kinds, "ok")
        assert answers["all"] == "ok"


def test_the_stand_in_refuses_the_wrong_block(server: FaultyServer, tmp_path: Path) -> None:
    """Else its consent would mean nothing."""
    file_id = server.store.add("a.md", b"# words", downloadable=False, mime_type="text/markdown").id
    wrong = [{"type": kind, "source": {"type": "file", "file_id": file_id}} for kind in ("document", "image")]
    with messages_stub(server.store, tmp_path / "server" / "files") as url:
        asked = json.dumps({"url": url, "key": KEY, "blocks": wrong})
        sent = subprocess.run(
            [PYTHON, HERE / "send_blocks.py"], input=asked, capture_output=True, text=True, check=True
        )
    assert [answer.partition("Only ")[1] for answer in json.loads(sent.stdout)["each"]] == ["Only ", "Only "]
