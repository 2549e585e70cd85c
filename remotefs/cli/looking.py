"""Looks at PDFs and pictures for pages, encryption and pixels, in a child process that has little memory and time.

The readers of these formats meet bytes of strangers. So they run in a child (`look_child`), which this process kills
when a file takes too long. Only files whose bytes are on this disk are read, and where they lie there: a reader that
opens them one after another in the mount would have their neighbours fetched. The result is kept by id in a file of the
user's cache, because the content of an id never changes.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import msgspec
import platformdirs

from remotefs.api.usable import Look, can_be_looked_at
from remotefs.cli.console import notify
from remotefs.cli.listing import Listed
from remotefs.cli.local_bytes import sources_of

# For one file, in seconds; the child gives itself up a little later.
PATIENCE_S = 10.0
# Where the bytes of one file are looked for in turn: staged, then as content.
_MOST_PLACES = 3
# Looks that are kept, some 60 bytes each.
_MOST_KEPT = 20_000
# Variables with keys and headers of the service.
_HIDDEN = ("ANTHROPIC_", "REMOTEFS_")
# The readers, which the extra `look` brings.
READERS = ("pypdf", "PIL")


class Question(msgspec.Struct, frozen=True):
    """A file to look at."""

    path: str
    mime_type: str


def looks_at(
    files: Iterable[Listed], locate: Callable[[Sequence[Listed]], Mapping[str, str]] = sources_of
) -> dict[str, Look]:
    """Return by id what is known of the contents of PDFs and pictures, after looking at those that are here.

    `locate` returns by id where the bytes of files lie.
    """
    wanted = {
        listed.file.file_id: listed
        for listed in files
        if listed.file.file_id is not None and can_be_looked_at(listed.file.mime_type or "")
    }
    kept = KeptLooks(_place())
    found = {file_id: look for file_id in wanted if (look := kept.looks.get(file_id)) is not None}
    missing = [listed for file_id, listed in wanted.items() if file_id not in found and listed.file.here]
    if missing and not all(find_spec(reader) for reader in READERS):
        notify("pages of PDFs and pixels of pictures are not looked at: install remotefs[look] for that")
        return found
    with Looker() as looker:
        looked = _look_at(missing, locate, looker)
    kept.add({file_id: look for file_id, look in looked.items() if look.failure is None})
    return found | looked


def _look_at(
    files: Sequence[Listed], locate: Callable[[Sequence[Listed]], Mapping[str, str]], looker: Looker
) -> dict[str, Look]:
    """Return the looks at files by id. Bytes that were moved meanwhile, as at the end of an upload, are found again."""
    left, looked = {listed.file.file_id or "": listed for listed in files}, dict[str, Look]()
    for _ in range(_MOST_PLACES):
        places = locate(list(left.values())) if left else {}
        looked |= {id_: looker.look(Question(path, left[id_].file.mime_type or "")) for id_, path in places.items()}
        left = {id_: left[id_] for id_, path in places.items() if not Path(path).exists()}
    return looked


def _place() -> Path:
    return Path(platformdirs.user_cache_dir("remotefs")) / "looks.json"


class KeptLooks:
    """The looks of earlier commands, in a file that may be lost at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.looks: dict[str, Look] = {}
        with suppress(OSError, msgspec.DecodeError):
            self.looks = msgspec.json.decode(path.read_bytes(), type=dict[str, Look])

    def add(self, looks: dict[str, Look]) -> None:
        """Keep more looks, and of all of them the newest."""
        if not looks:
            return
        self.looks |= looks
        newest = dict(islice(self.looks.items(), max(0, len(self.looks) - _MOST_KEPT), None))
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.touch(mode=0o600)
            new.write_bytes(msgspec.json.encode(newest))
            new.replace(self._path)


class Looker:
    """Asks a child process about one file after the other; starts another one when it had to kill the child."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Looker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def look(self, question: Question) -> Look:
        """Return what the child found in a file, or why it found nothing."""
        child = self._child = self._child or _start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(msgspec.json.encode(question) + b"\n")
            child.stdin.flush()
            if not select.select([child.stdout], [], [], self._patience_s)[0]:
                self._end()
                return Look(failure=f"it took longer than {self._patience_s:g} s")
            return msgspec.json.decode(child.stdout.readline(), type=Look)
        except (OSError, msgspec.DecodeError):
            self._end()
            return Look(failure="it took too much memory or time")

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            # A child that the kernel does not let go, because it reads from a disk that hangs, is left to init.
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=1.0)
            for pipe in (child.stdin, child.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()


def _start() -> subprocess.Popen[bytes]:
    # Bytes of strangers that get the better of a reader find no key in its environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
    return subprocess.Popen(
        [sys.executable, "-m", "remotefs.cli.look_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
