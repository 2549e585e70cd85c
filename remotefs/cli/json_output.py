"""The option `--json`, and objects on stdout: one, or one for each thing, a line each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
import typer

from remotefs.cli.console import json_text

JsonChoice = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
JsonLinesChoice = Annotated[bool, typer.Option("--json", help="Print one JSON object for each, a line each.")]


def print_object(record: object) -> None:
    """Print a record, or a dictionary, as a JSON object on a line of its own."""
    typer.echo(msgspec.json.encode(_with_text(msgspec.to_builtins(record))))


def print_objects(records: Iterable[object]) -> None:
    """Print each record as `print_object` does."""
    for record in records:
        print_object(record)


def _with_text(value: object) -> object:
    """Return a value in which every text is one that JSON can have: a path may have bytes that are not UTF-8."""
    match value:
        case str():
            return json_text(value)
        case dict():
            return {name: _with_text(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_with_text(inner) for inner in value]
    return value
