"""Takes names and secrets out of texts that leave the machine: pure, but for the words, which come from the sources.

A text of ours mixes sentences with names of files, and nothing marks where a name begins. So a word stays only where it
is one of our own: one that stands in a message of remotefs's sources, a number, or an error of Python. All other words
become a digest, as does each part of a path, with the extension kept:

    reports/Q3 draft.pdf: the service answered 403   ->   <a91f07>/<07bc12> <c2d1e0>.pdf: the service answered 403

Names of the tree that consist of our own words ("failed uploads", "status") are replaced too: those of several words
everywhere, a single word where it is quoted or stands before the sentence. A digest is keyed by chance, so it can be
compared within one bundle and with nothing else.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from remotefs.credentials import HIDDEN, hide

# Parts of paths that every machine has, or every state folder.
_COMMON = frozenset({
    *("dev", "fuse", "etc", "fuse.conf", "proc", "sys", "usr", "bin", "sbin", "lib", "tmp", "var", "run", "home"),
    *("root", "mnt", "media", "opt", "local", "share", "config", "remotefs", "accounts", "log", "staging"),
    *("content", "trash", "copies", "state.db", "account.json", "accounts.json", "remotefs.log", "config.toml"),
    *("control.sock", "lock", "reserve", ".local", ".config", "site-packages", "resolv.conf", "mount.fuse.remotefs"),
})
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,5}$")
# A number with what stands around numbers: times, versions, sizes, percentages; request ids of the service.
_PLAIN = re.compile(r"[-+]?\d[\d.,:TZ%+/-]*|req_[A-Za-z0-9]+|0x[0-9a-f]+")
_WORD = re.compile(r"<[0-9a-f]{6}>(?:\.[A-Za-z0-9]{1,5})?|[^\s\"'`“”‘’()\[\]{}<>,;=|]+")
_DIGEST = re.compile(r"<[0-9a-f]{6}>(?:\.[A-Za-z0-9]{1,5})?")
# Where a message names a file: in quotes, or before the sentence.
_MARKED = re.compile(r"['\"`]([^'\"`]+)['\"`]|^([^:]+)(?=: )")
_LETTERS = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
_TRACEBACK = re.compile(r'^\s+File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<name>\w+|<\w+>)$')
_RECORD = re.compile(r"^(?P<head>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z]+ [\w.]+: )(?P<text>.*)$")
_DIGEST_CHARACTERS = 6


class Blotter:
    """Replaces names by digests that are the same within one bundle."""

    def __init__(self, hidden: Iterable[str] = (), names: Iterable[str] = (), key: bytes | None = None) -> None:
        self._hidden = tuple(hidden)
        self._key = key or secrets.token_bytes(16)
        self._names = frozenset(names)
        several = sorted(filter(_is_made_of_ours, self._names), key=len, reverse=True)
        self._several = re.compile("|".join(map(re.escape, several)) or "(?!)")

    def text(self, text: str) -> str:
        """Return a sentence without names and secrets."""
        clean = self._several.sub(lambda found: self._digest(found[0]), hide(text, self._hidden))
        clean = _MARKED.sub(lambda found: self._marked(found[0], found[1] or found[2]), clean)
        return _WORD.sub(lambda found: self._word(found[0]), clean)

    def line(self, line: str) -> str:
        """Return a line of a log: its time, level and logger stay; of a traceback the place in the sources does."""
        if line.startswith("{"):
            with suppress(msgspec.DecodeError):
                return msgspec.json.encode(self.value(msgspec.json.decode(line))).decode()
        if found := _RECORD.match(line):
            return found["head"] + self.text(found["text"])
        if found := _TRACEBACK.match(line):
            return f'  File "{_tail(found["path"])}", line {found["line"]}, in {found["name"]}'
        indent = line[: len(line) - len(line.lstrip())]
        return indent + self.text(line.strip())

    def value(self, value: object) -> object:
        """Return a value as JSON has it, with every text in it blotted; the names of fields stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self.value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return value

    def _marked(self, whole: str, name: str) -> str:
        return whole.replace(name, self._digest(name)) if name in self._names else whole

    def _word(self, word: str) -> str:
        if _DIGEST.fullmatch(word):
            return word
        if "/" in word:
            return "/".join(self._part(part) for part in word.split("/"))
        bare = word.rstrip(".:!?…")
        return self._one(bare) + word[len(bare) :]

    def _one(self, word: str) -> str:
        if not word or word == HIDDEN.strip("[]") or _PLAIN.fullmatch(word):
            return word
        parts = _LETTERS.findall(word)
        is_ours = parts and "".join(parts) == word and all(part.lower() in own_words() for part in parts)
        return word if is_ours or word in own_words() else self._digest(word)

    def _part(self, part: str) -> str:
        bare = part.rstrip(":")
        kept = not bare or bare in _COMMON or bare in {".", "..", "https", "http"} or _DIGEST.fullmatch(bare)
        return (bare if kept else self._digest(bare)) + part[len(bare) :]

    def _digest(self, name: str) -> str:
        extension = _EXTENSION.search(name)
        digest = hashlib.blake2b(name.encode(errors="surrogatepass"), key=self._key).hexdigest()[:_DIGEST_CHARACTERS]
        return f"<{digest}>{extension[0] if extension else ''}"


@cache
def own_words() -> frozenset[str]:
    """Return the words of all messages in the sources of remotefs, in small letters, and the names of errors."""
    found = {name for name in dir(builtins) if name.endswith(("Error", "Exception", "Interrupt"))}
    for source in Path(__file__).parents[2].rglob("*.py"):
        for node in _without_docstrings(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                found.update(word.lower() for word in _LETTERS.findall(node.value))
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
    return frozenset(found)


def _without_docstrings(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield node
            yield from _without_docstrings(node)


def _is_made_of_ours(name: str) -> bool:
    words = _LETTERS.findall(name)
    # A single word of ours says nothing; to blot each "file" out would leave no sentence.
    return len(words) > 1 and all(word.lower() in own_words() for word in words)


def _tail(path: str) -> str:
    """Return the end of the path of a source: its package and what is below."""
    parts = Path(path).parts
    start = next((n for n, part in enumerate(parts) if part == "site-packages"), None)
    if start is None:
        start = next((n for n, part in enumerate(parts) if part in {"remotefs", "lib"}), len(parts) - 1)
    return "/".join(parts[start:])
