"""Documents point at what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.support import DOCS, REPOSITORY, documents, without_code

LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(document: Path) -> set[str]:
    """The anchors that a Markdown viewer gives to the headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.findall(without_code(document.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_document_is_reached_from_the_readme() -> None:
    reached, new = set[Path](), {REPOSITORY / "README.md"}
    while new:
        reached |= new
        links = [(d, link) for d in new for link in LINK.findall(without_code(d.read_text(encoding="utf-8")))]
        found = {
            (d.parent / link.partition("#")[0]).resolve() for d, link in links if ".md" in link and "//" not in link
        }
        new = found - reached
    assert set(documents()) - reached == set()


def test_the_index_of_the_documents_is_whole() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {str(path.relative_to(DOCS)) for path in [*DOCS.glob("*.md"), *(DOCS / "guides").glob("*.md")]}
    assert pages - {*LINK.findall(index)} == {"README.md"}


def test_the_index_of_decisions_is_whole() -> None:
    index = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    decisions = {path.name for path in (DOCS / "adr").glob("[0-9]*.md")}
    assert set(re.findall(r"\((\d{4}-[\w-]+\.md)\)", index)) == decisions


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) - targets == set()


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_source_file_that_is_named_exists(document: Path) -> None:
    named = set(
        re.findall(r"`((?:remotefs|tests|scripts|docs)/[\w/.-]+)(?:::\w+)?`", document.read_text(encoding="utf-8"))
    )
    assert {name for name in named if not (REPOSITORY / name).exists()} == set()
