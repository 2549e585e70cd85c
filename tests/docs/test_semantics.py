"""docs/semantics.md: every rule is there, and every sentence has its proof or says that it has none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.support import DOCS, REPOSITORY, sections

RULES = [
    f"{group}{number}"
    for group, last in (("S", 5), ("N", 6), ("R", 8), ("W", 10), ("A", 8))
    for number in range(1, last + 1)
] + [
    "M1",
    "M2",
    "M3",
    "M4",
    "M5",
    "M8",
    *(f"H{number}" for number in range(1, 9)),
    *(f"X{number}" for number in range(1, 7)),
]
TEXT = (DOCS / "semantics.md").read_text(encoding="utf-8")
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def functions_of(source: Path) -> set[str]:
    """The functions of a file, those in classes too."""
    if not source.exists():
        return set()
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_rules_are_all_there_and_in_order() -> None:
    assert list(sections(TEXT, 3)) == RULES


@pytest.mark.parametrize("rule", RULES)
def test_every_sentence_has_its_proof_or_says_that_it_has_none(rule: str) -> None:
    promises = re.split(r"^- ", sections(TEXT, 3)[rule], flags=re.MULTILINE)[1:]
    assert promises
    assert [promise for promise in promises if not PROOF.search(promise) and "**Not yet" not in promise] == []


def test_every_test_that_is_named_exists() -> None:
    text = TEXT + (DOCS / "desktop.md").read_text(encoding="utf-8")
    named = {proof: REPOSITORY / proof[0] for proof in PROOF.findall(text)}
    assert sorted("::".join(proof) for proof, source in named.items() if proof[1] not in functions_of(source)) == []
