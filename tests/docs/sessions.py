"""Shell sessions in the documents: what a reader types, what the document shows, and a shell that runs them.

A ```` ```console ```` block has commands after `$ ` and below each the lines that it prints. The line
`<!-- run -->` before a block says that a test runs it: all such blocks of a document, in order, in one shell whose home
is a new folder. `…` stands for anything within a line, and for any lines where it stands alone.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# A reader's home, as the documents write it.
HOME = "/home/you"
RUN = "<!-- run -->"
_END = "the command ended with"
_BLOCK = re.compile(r"^(?:(<!-- run -->)\n+)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?")
# What differs from one run to the next. A file id has to be the same wherever the document shows the same one.
_VARIES = re.compile(
    r"(?P<any>…)|(?P<id>file_[A-Za-z0-9]{20,})|(?P<moment>\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:\+00:00|Z)?)"
    r"|(?P<address>127\.0\.0\.1:\d+)|(?P<time>\b\d+(?:\.\d+)? (?:ms|s)\b)|(?P<blanks> +)"
)
_ANY_OF = {
    "any": ".*", "blanks": " +", "time": r"\d+(?:\.\d+)? (?:ms|s)", "address": r"127\.0\.0\.1:\d+",
    "moment": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d\S*",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A code block of a document: its language, its text, and whether a test runs it."""

    language: str
    text: str
    runs: bool


@dataclass(frozen=True)
class Step:
    """A command of a session, and the lines that the document shows below it."""

    command: str
    shown: str


def blocks_of(text: str) -> list[Block]:
    """Return the code blocks of a document, in order."""
    return [Block(language, body, bool(run)) for run, language, body in _BLOCK.findall(text)]


def steps_of(session: str) -> list[Step]:
    """Return the commands of a session with what is shown below each.

    A command goes on in the next line after a backslash, and to the end of a here-document.
    """
    steps = []
    lines = iter(session.splitlines())
    for line in lines:
        if line.startswith("$ "):
            steps.append((_whole(line[2:], lines), []))
        else:
            assert steps, f"the session begins with a line that is not a command: {line}"
            steps[-1][1].append(line)
    return [Step(command, "\n".join(shown)) for command, shown in steps]


def _whole(command: str, lines: Iterator[str]) -> str:
    while command.endswith("\\"):
        command += "\n" + next(lines)
    if end := _HEREDOC.search(command):
        while not command.endswith("\n" + end[1]):
            command += "\n" + next(lines)
    return command


@dataclass
class Transcript:
    """Compares what a document shows with what was printed; knows the file ids of the document so far."""

    ids: dict[str, str] = field(default_factory=dict)

    def agrees(self, shown: str, printed: str) -> bool:
        """Return whether `printed` is what the document shows, and remember the ids that it names for the first time."""
        new: list[str] = []
        match = re.fullmatch(self._pattern(shown, new), printed.rstrip("\n") + "\n" if printed.strip() else "")
        if match is None:
            return False
        found = dict(zip(new, match.groups(), strict=True))
        if set(found.values()) & set(self.ids.values()) or len(set(found.values())) < len(found):
            return False
        self.ids |= found
        return True

    def _pattern(self, shown: str, new: list[str]) -> str:
        lines = shown.splitlines()
        return "".join(r"(?:.*\n)*" if line == "…" else f"{self._line(line, new)} *\n" for line in lines)

    def _line(self, line: str, new: list[str]) -> str:
        parts, end = [], 0
        for match in _VARIES.finditer(line):
            parts += [re.escape(line[end : match.start()]), self._varying(match, new)]
            end = match.end()
        return "".join([*parts, re.escape(line[end:])])

    def _varying(self, match: re.Match[str], new: list[str]) -> str:
        kind, text = str(match.lastgroup), match[0]
        if kind != "id":
            return _ANY_OF[kind]
        if text in self.ids:
            return re.escape(self.ids[text])
        if text in new:
            return rf"(?:\{new.index(text) + 1})"
        new.append(text)
        return r"(file_[A-Za-z0-9]{20,})"


class Shell:
    """A bash that a reader types into. Everything that it prints comes out as on a terminal, in one stream."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._home = home
        self._bash = subprocess.Popen(
            ["bash", "--norc"], cwd=home, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str) -> str:
        """Run a command to its end and return what it and programs in the background printed so far."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s %d\\n' '{_END}' $?\n")
        self._bash.stdin.flush()
        printed = ""
        for line in self._bash.stdout:
            if line.startswith(_END):
                # The line break before the mark is ours.
                return printed.removesuffix("\n").replace(str(self._home), HOME)
            printed += line
        raise AssertionError(f"the shell ended in: {command}\n{printed}")

    def end(self) -> None:
        """End the shell and what it started in the background."""
        os.killpg(self._bash.pid, signal.SIGTERM)
        self._bash.wait(30)
        for stream in (self._bash.stdin, self._bash.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def shell(home: Path, environment: dict[str, str]) -> Iterator[Shell]:
    """A shell for the length of a block. All that it has mounted below its home is unmounted in the end."""
    running = Shell(home, environment)
    try:
        yield running
    finally:
        running.end()
        for line in reversed(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()):
            if str(home) in (mountpoint := line.split()[1]):
                subprocess.run(["fusermount3", "-u", mountpoint], check=False, timeout=60)
