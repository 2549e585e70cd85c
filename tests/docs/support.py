"""Reading the project's own documents and sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


def documents() -> list[Path]:
    """Every document of the project."""
    return sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")])


def without_code(text: str) -> str:
    """A document without its code blocks and code words: what is a link there is none."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def sections(text: str, level: int) -> dict[str, str]:
    """The text below each heading of a level, by the heading; deeper headings belong to it."""
    parts = re.split(rf"^{'#' * level} (.+)$", text, flags=re.MULTILINE)
    return {heading: re.split(rf"^#{{1,{level}}} ", body, flags=re.MULTILINE)[0]
            for heading, body in zip(parts[1::2], parts[2::2], strict=True)}  # fmt: skip


def rows(text: str) -> list[list[str]]:
    """The cells of all tables of a text, heads and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    tables = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = {index for index, cells in enumerate(tables) if all(re.fullmatch(r":?-+:?", cell) for cell in cells)}
    return [cells for index, cells in enumerate(tables) if index not in rules and index + 1 not in rules]


def sentences_of(source: Path) -> Iterator[str]:
    """Every string that a Python file writes, with `…` in the place of what is put into it."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant | ast.JoinedStr) and (sentence := sentence_of(node)):
            yield sentence


def sentence_of(node: ast.Constant | ast.JoinedStr) -> str:
    """Return the text of a string in the source, with `…` in the place of what is put into it; empty for a number."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_piece(value) for value in node.values)
    return re.sub(r"%[sdg]", "…", node.value) if isinstance(node.value, str) else ""


def _piece(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else "…"
