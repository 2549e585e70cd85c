"""`remotefs probe`: asks a server what the documents of the service leave open."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import msgspec
import trio
import typer
from rich.table import Table

from remotefs.api.probe import questions
from remotefs.cli.console import notify, printable, progress_shown, result_console
from remotefs.cli.launch.plan import load_settings
from remotefs.cli.launch.preflight import with_key
from remotefs.cli.settings_choice import ConfigChoice, ProfileChoice
from remotefs.config import ServiceConfig
from remotefs.control.messages.base import Notice, Report
from remotefs.credentials import has_key


def probe(
    *,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The server. Default: ANTHROPIC_BASE_URL, else the real service.")
    ] = None,
    config_file: ConfigChoice = None,
    profile: ProfileChoice = None,
    size_limit: Annotated[bool, typer.Option(help="Also upload 510 MB, to learn how large a MB is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask a server what the documents leave open, with at most 20 requests.

    A few small files named remotefs-probe-... are uploaded and deleted again. The key comes from ANTHROPIC_API_KEY or
    ANTHROPIC_AUTH_TOKEN.
    """
    config = load_settings(os.environ, config_file, {"service": {"base_url": base_url}}, profile=profile).service
    if has_key(config) or not config.custom_headers:
        config = with_key(config)
    with progress_shown("probing") as report:
        found = trio.run(_until_interrupted, config, size_limit, report)
    if found is None:
        raise KeyboardInterrupt
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        _print(found)


async def _until_interrupted(config: ServiceConfig, size_limit: bool, report: Report) -> questions.Report | None:
    """Return the answers; None when a signal came first. The uploaded files are deleted in either case."""
    found: questions.Report | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def cancel_on_signal() -> None:
                await anext(signals)
                notify("interrupted: deleting what was uploaded")
                nursery.cancel_scope.cancel()

            nursery.start_soon(cancel_on_signal)
            found = await questions.run_probe(
                config, size_limit=size_limit, report=lambda text: report(Notice(text=text)), warn=notify
            )
            nursery.cancel_scope.cancel()
    return found


def _print(found: questions.Report) -> None:
    table = Table(title=f"{found.base_url}, {found.requests} of at most {questions.MAX_REQUESTS} requests")
    table.add_column("question")
    table.add_column("answer")
    for finding in found.findings:
        table.add_row(finding.question, printable(finding.answer))
    result_console().print(table)
