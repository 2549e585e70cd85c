"""The lines of `remotefs doctor`: what was looked at, whether it is in order, and what to do: pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec


class State(Enum):
    """How bad it is. A warning does not keep a mount from working."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `advice` is empty where there is nothing to do."""

    area: str
    state: State
    found: str
    advice: str = ""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All findings, for `--json`."""

    version: str
    problems: int
    warnings: int
    findings: list[Finding]

    @classmethod
    def of(cls, findings: list[Finding], version: str) -> Findings:
        """Return all findings of a release of remotefs, counted."""
        problems, warnings = count(findings, State.PROBLEM), count(findings, State.WARNING)
        return cls(version=version, problems=problems, warnings=warnings, findings=findings)

    def encode(self) -> bytes:
        """Return them as JSON."""
        return msgspec.json.encode(self)


def ok(area: str, found: str) -> Finding:
    """Return a finding in order."""
    return Finding(area, State.OK, found)


def warning(area: str, found: str, advice: str = "") -> Finding:
    """Return a finding that a mount can work with."""
    return Finding(area, State.WARNING, found, advice)


def problem(area: str, found: str, advice: str = "") -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(area, State.PROBLEM, found, advice)


def lines_of(finding: Finding) -> list[str]:
    """Return a finding as a line, and its advice as another."""
    line = f"{finding.state.value:8} {finding.area:12} {finding.found}"
    return [line, f"{'':21} -> {finding.advice}"] if finding.advice else [line]


def summary_of(findings: Iterable[Finding]) -> str:
    """Return the last line: how many problems and warnings there are."""
    found = list(findings)
    problems, warnings = count(found, State.PROBLEM), count(found, State.WARNING)
    if not problems and not warnings:
        return "everything is in order"
    named = [(problems, "problem"), (warnings, "warning")]
    return ", ".join(f"{number} {word}{'s' * (number > 1)}" for number, word in named if number)


def count(findings: Iterable[Finding], state: State) -> int:
    """Return how many findings have a state."""
    return sum(finding.state is state for finding in findings)
