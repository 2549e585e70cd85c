"""The child process of `looking`: reads PDFs and pictures for a few numbers, with little memory and time.

A line of JSON asks (`Question`), a line answers (`Look`). Whatever goes wrong in a reader is an answer or the end of
this process.
"""

from __future__ import annotations

import resource
import signal
import sys

import msgspec

from remotefs.api.usable import PDF, Look, essence
from remotefs.cli.looking import PATIENCE_S, Question

# Of addresses: what Python and the readers take, and some hundred MB for a file.
_MEMORY_BYTES = 1 << 30
# Formats that an image block takes; Pillow tries no other reader.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    # No file grows by what a reader does, and no core is left of it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A child whose parent was killed ends all the same, by the signal's default.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in sys.stdin.buffer:
        signal.alarm(int(PATIENCE_S) + 5)
        answer = look(msgspec.json.decode(line, type=Question))
        signal.alarm(0)
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


def look(question: Question) -> Look:
    """Return what a file holds, or why that cannot be read."""
    try:
        if essence(question.mime_type) == PDF:
            return _look_at_pdf(question.path)
        return _look_at_picture(question.path)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a reader raises anything when it meets bytes of strangers
        return Look(failure=f"it cannot be read: {type(error).__name__}")


def _look_at_pdf(path: str) -> Look:
    from pypdf import PdfReader  # noqa: PLC0415 - of an extra, and slow to load

    with open(path, "rb") as file:  # noqa: PTH123 - a path as the caller gave it, once
        reader = PdfReader(file)
        if reader.is_encrypted:
            return Look(encrypted=True)
        return Look(pages=len(reader.pages))


def _look_at_picture(path: str) -> Look:
    from PIL import Image  # noqa: PLC0415 - of an extra, and slow to load

    # Only the head is read, so that no number of pixels takes memory.
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path, formats=_FORMATS) as picture:
        return Look(width=picture.width, height=picture.height)


if __name__ == "__main__":
    main()
