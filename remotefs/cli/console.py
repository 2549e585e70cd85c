"""Prints for a person: results on stdout, everything else on stderr, without control characters for the terminal.

Others choose names, and with them parts of messages. So a table, a sentence and a line of the log show control
characters, line breaks among them, as escapes (`\\n`, `\\x1b`), wherever they go: a name cannot forge a line. A result
that is the name itself goes to a pipe or a file as it is, for the next program, and to a terminal with escapes, as `ls`
does. JSON is always exact.

Progress (`Report`) may be shown and forgotten; a sentence (`Notify`) has to be read.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from remotefs.control.messages.base import Draining, Listing, Notice, Progress, Ready, Report, Warming

if TYPE_CHECKING:
    from rich.console import Console

FILE_WIDTH = 1000
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
UNIT_STEP = 1024
# Zero width non-joiner and joiner: Persian, Indic scripts, emoji.
_JOINERS = "\u200c\u200d"
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF

Notify = Callable[[str], None]


def printable(text: str) -> str:
    """Return `text` on one line: what moves the cursor, reorders text or cannot be shown becomes an escape."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    # Blanks of other scripts and the joiners that some need within a word do no harm.
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    # The bytes of a name that is not UTF-8, as os.fsdecode passes them on.
    if _FIRST_BYTE <= ord(character) <= _LAST_BYTE:
        return f"\\x{ord(character) - _FIRST_BYTE + 0x80:02x}"
    return character.encode("unicode_escape").decode()


def notify(text: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(f"remotefs: {printable(text)}\n")
    sys.stderr.flush()


def notify_with_output(text: str) -> None:
    """Print a sentence and the lines of a program's output below it on stderr."""
    sentence, *output = text.split("\n")
    notify(sentence)
    sys.stderr.writelines(f"  {printable(line)}\n" for line in output)
    sys.stderr.flush()


def print_name(name: str) -> None:
    """Print a name or a path as the result on stdout: exact to a pipe or a file, on one line to a terminal."""
    print_names([name])


def print_names(names: Iterable[str], *, end: bytes = b"\n") -> None:
    """Print names as `print_name` does, each with `end` after it; with the byte 0 exact to a terminal too."""
    exact = end == b"\0" or not sys.stdout.isatty()
    sys.stdout.flush()
    for name in names:
        sys.stdout.buffer.write((os.fsencode(name) if exact else printable(name).encode(errors="replace")) + end)
    sys.stdout.buffer.flush()


def json_text(name: str) -> str:
    """Return a name as JSON can have it: bytes that are not UTF-8 become escapes."""
    return os.fsencode(name).decode(errors="backslashreplace")


def notify_first(lines: Iterable[str], total: int) -> None:
    """Print the first lines of `total` on stderr, and how many more there are."""
    shown = 0
    for line in lines:
        notify(line)
        shown += 1
    if total > shown:
        notify(f"… and {total - shown:,} more")


def result_console() -> Console:
    """Return the console for tables. It shows text as it is: a `[` in a path is not markup."""
    from rich.console import Console  # noqa: PLC0415 - a tenth of a second that most commands do without

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        # A file or a pipe has no width: a long path stays on its line, for grep.
        console.width = FILE_WIDTH
    return console


def print_table(rows: Iterable[Sequence[str]], columns: str, widths: Sequence[int] = ()) -> None:
    """Print rows on stdout. `columns` aligns each to the left (`<`) or the right (`>`); `*` may fold its text.

    `widths` are those of the first columns in characters, so that several tables stand in line: at least, and on a
    terminal, where longer text is cut, exactly.
    """
    console = result_console()
    cells = [tuple(map(printable, row)) for row in rows]
    if not console.is_terminal:
        sys.stdout.writelines(_aligned(cells, columns, widths))
        return
    from rich.table import Column, Table  # noqa: PLC0415 - see above

    shapes = {"<": Column(no_wrap=True), ">": Column(justify="right", no_wrap=True), "*": Column(overflow="fold")}
    table = Table.grid(*(shapes[shape].copy() for shape in columns), padding=(0, 2))
    for column, width in zip(table.columns, widths, strict=False):
        column.width = width
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _aligned(rows: Sequence[Sequence[str]], columns: str, widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a table for a file or a pipe, where nothing is folded: thousands of rows take no time."""
    from rich.cells import cell_len  # noqa: PLC0415 - see above

    least = dict(enumerate(widths))
    wide = [max((cell_len(row[n]) for row in rows), default=0) for n in range(len(columns))]
    for row in rows:
        line = ""
        for number, (text, shape) in enumerate(zip(row, columns, strict=True)):
            blanks = " " * (max(wide[number], least.get(number, 0)) - cell_len(text))
            line += f"{blanks}{text}  " if shape == ">" else f"{text}{blanks}  "
        yield f"{line.rstrip(' ')}\n"


def describe(progress: Progress) -> str:
    """Return progress as a line."""
    match progress:
        case Ready():
            return "mounted"
        case Listing(files=files):
            return f"listed {files:,} files"
        case Draining(left=left, path=path, eta_s=eta_s):
            eta = f", about {human_duration(eta_s)} more" if eta_s is not None else ""
            return f"{left:,} changes left{eta}" + (f", {path}" if path else "")
        case Warming(files_done=done, files=files):
            return f"{done:,} of {files:,} files are here"
        case Notice(text=text):
            return text


def human_files(count: int) -> str:
    """Return a number of files as people write it."""
    return "1 file" if count == 1 else f"{count:,} files"


def human_size(size: int) -> str:
    """Return a size in the largest unit that leaves at least 1 before the point."""
    value = float(size)
    for unit in UNITS[:-1]:
        if value < UNIT_STEP:
            return f"{size:,} bytes" if unit == UNITS[0] else f"{value:.1f} {unit}"
        value /= UNIT_STEP
    return f"{value:,.1f} {UNITS[-1]}"


def human_duration(seconds: float) -> str:
    """Return a duration in one unit."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


@contextmanager
def progress_shown(title: str) -> Iterator[Report]:
    """Yield a report that shows progress as one line on the terminal; nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - see above

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    title = printable(title)
    with console.status(title) as status:
        yield lambda progress: status.update(f"{title}: {printable(describe(progress))}")


@contextmanager
def bar_shown(title: str) -> Iterator[Report]:
    """Yield a report that shows Warming as a bar with the time left; nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress as bars  # noqa: PLC0415 - see above
    from rich.console import Console  # noqa: PLC0415 - see above

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(printable(title), total=None)

        def move(progress: Progress) -> None:
            if isinstance(progress, Warming):
                bar.update(task, completed=progress.bytes_done, total=progress.bytes)

        yield move
