"""What a person sees: results on stdout, everything else on stderr, and nothing that a terminal would obey."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from remotefs.control.messages import Draining, Listing, Notice, Progress, Ready

FILE_WIDTH = 1000

Say = Callable[[str], None]


def printable(text: str) -> str:
    """`text` without characters that move the cursor or change a terminal: names and errors come from elsewhere."""
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


def say(text: str) -> None:
    """One line for the person, on stderr."""
    sys.stderr.write(f"remotefs: {printable(text)}\n")
    sys.stderr.flush()


def result_console() -> Console:
    """Where tables go. Their text is shown as it is: a `[` in a path is no markup."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        # A file or a pipe has no width: a long path stays on its line, for grep.
        console.width = FILE_WIDTH
    return console


def describe(progress: Progress) -> str:
    """Progress as a line."""
    match progress:
        case Ready():
            return "mounted"
        case Listing(files=files):
            return f"listed {files:,} files"
        case Draining(left=left, path=path):
            return f"{left:,} changes left" + (f", {path}" if path else "")
        case Notice(text=text):
            return text


@contextmanager
def progress_shown(title: str) -> Iterator[Say]:
    """A line on the terminal that changes as lines are said to it; nothing where stderr is no terminal."""
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(title) as status:
        yield lambda text: status.update(f"{title}: {printable(text)}")
