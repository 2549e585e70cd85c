"""`remotefs probe`: what the documents of the service leave open, asked of a server."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import msgspec
import trio
import typer
from rich.table import Table

from remotefs.api.probe.questions import MAX_REQUESTS, Report, run_probe
from remotefs.cli.console import Say, printable, progress_shown, result_console, say
from remotefs.config import ServiceConfig, default_file, load
from remotefs.errors import UsageError


def probe(
    *,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The server. Default: ANTHROPIC_BASE_URL, else the real service.")
    ] = None,
    size_limit: Annotated[bool, typer.Option(help="Also upload 510 MB, to learn what a MB is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Ask a server what the documents leave open, with at most 20 requests.

    A few small files named remotefs-probe-... are uploaded and deleted again. The key comes from ANTHROPIC_API_KEY or
    ANTHROPIC_AUTH_TOKEN.
    """
    config = load(os.environ, default_file(), {"service": {"base_url": base_url}}).service
    if not (config.api_key or config.auth_token or config.custom_headers):
        raise UsageError("there is no key: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN)")
    with progress_shown("probing") as show:
        report = trio.run(_until_interrupted, config, size_limit, show)
    if report is None:
        raise KeyboardInterrupt
    if as_json:
        typer.echo(msgspec.json.encode(report))
    else:
        _print(report)


async def _until_interrupted(config: ServiceConfig, size_limit: bool, show: Say) -> Report | None:
    """None when a signal came first; what was uploaded is deleted then too."""
    report: Report | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def cancel_on_signal() -> None:
                await anext(signals)
                say("interrupted: deleting what was uploaded")
                nursery.cancel_scope.cancel()

            nursery.start_soon(cancel_on_signal)
            report = await run_probe(config, size_limit=size_limit, say=show, warn=say)
            nursery.cancel_scope.cancel()
    return report


def _print(report: Report) -> None:
    table = Table(title=f"{report.base_url}, {report.requests} of at most {MAX_REQUESTS} requests")
    table.add_column("question")
    table.add_column("answer")
    for finding in report.findings:
        table.add_row(finding.question, printable(finding.answer))
    result_console().print(table)
