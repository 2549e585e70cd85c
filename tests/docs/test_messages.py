"""What the documents quote is what remotefs says."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from remotefs import errors
from remotefs.fuse.translate import ERRNO_TABLE
from tests.docs.support import DOCS, REPOSITORY, rows, sections, sentence_of, sentences_of

QUOTES = re.findall(r"^> (.+)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)

SEARCHED_FOR = (
    errors.LocalError, errors.AccountError, errors.CorruptionError, errors.NotReadable, errors.StaleError,
    errors.TransportError, errors.ObjectStoreError,
)  # fmt: skip


@pytest.fixture(scope="module")
def said() -> list[str]:
    """Every string that remotefs writes."""
    return [text for source in sorted((REPOSITORY / "remotefs").rglob("*.py")) for text in sentences_of(source)]


def test_there_are_quotes() -> None:
    assert len(QUOTES) >= 20


@pytest.mark.parametrize("quote", QUOTES)
def test_a_quoted_message_is_in_the_code(said: list[str], quote: str) -> None:
    """A quote stands in a block of its own, with … for what varies: `> the mountpoint … is not a folder`."""
    assert any(quote in sentence for sentence in said)


def test_every_error_that_a_person_may_search_for_is_explained() -> None:
    """Errors of this machine, of the service's answers and of bytes; wrong use of a command explains itself."""
    silent = {
        f"{source.relative_to(REPOSITORY)}: {sentence}"
        for source in sorted((REPOSITORY / "remotefs").rglob("*.py"))
        if source.relative_to(REPOSITORY).parts[1] != "server" and "probe" not in source.parts
        for kind, sentence in errors_of(source)
        if issubclass(kind, SEARCHED_FOR) and len(re.findall(r"\w", sentence)) > 5
        if not any(quote in sentence for quote in QUOTES)
    }
    assert silent == set()


def errors_of(source: Path) -> Iterator[tuple[type[errors.RemotefsError], str]]:
    """Every error that a Python file makes of a sentence of its own: its class and the sentence."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            kind = getattr(errors, name, None)
            if isinstance(kind, type) and issubclass(kind, errors.RemotefsError):
                yield kind, sentence_of(node.args[0])


def test_every_errno_that_a_program_can_get_is_explained_by_its_text() -> None:
    told = rows(sections((DOCS / "troubleshooting.md").read_text(encoding="utf-8"), 2)["By errno"])
    texts = {name: text for cells in told for name, text in zip(_names(cells[0]), cells[1].split(", "), strict=True)}
    assert {errno.errorcode[number].replace("ENOTSUP", "EOPNOTSUPP") for _, number, _ in ERRNO_TABLE} <= set(texts)
    assert texts == {name: os.strerror(getattr(errno, name)) for name in texts}


def _names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.parametrize("name", ["README.md", "docs/troubleshooting.md", "docs/configuration.md", "CONTRIBUTING.md"])
def test_no_machine_of_a_writer_shows(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert re.findall(r"/(?:root|work|tmp|home/\w+)/\S*", text) == []


def test_the_licence_is_there() -> None:
    assert Path(REPOSITORY / "LICENSE").read_text(encoding="utf-8").startswith("MIT")
