"""`remotefs serve` and `remotefs generate`: the local server, and files as the code execution tool makes them."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from remotefs.cli.choose_mount import A_PATH
from remotefs.cli.console import notify
from remotefs.cli.quantities import number_of, port_of, some_bytes_of, text_of
from remotefs.server import ApiError, Root, ServerError, Settings, Store

_MIB = 1 << 20

RootOption = Annotated[
    Path,
    typer.Option(
        "--root",
        click_type=A_PATH,
        metavar="DIR",
        help="Folder that holds the server's files; made when it is not there.",
    ),
]


def serve(
    root: RootOption,
    host: Annotated[str, typer.Option(parser=text_of, metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(parser=port_of, metavar="PORT", help="Port to listen on; 0: any that is free.")
    ] = 0,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Allow a --host that other machines can reach.")
    ] = False,
    faithful: Annotated[
        bool,
        typer.Option(
            "--faithful",
            help="Be like the service: an upload can never be downloaded again. Without it uploads are downloadable.",
        ),
    ] = False,
    rpm: Annotated[
        int | None,
        typer.Option(
            parser=number_of,
            metavar="NUMBER",
            help="Requests allowed a minute, a tenth of them at once. Default: no limit.",
        ),
    ] = None,
    no_range: Annotated[bool, typer.Option("--no-range", help="Answer Range with the whole file.")] = False,
    max_file_bytes: Annotated[
        int,
        typer.Option(
            parser=some_bytes_of,
            metavar="SIZE",
            show_default=False,
            help="Larger uploads are answered 413; such as 1G (1024 each). Default: 500M.",
        ),
    ] = 500 * _MIB,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="Write a line of JSON for every request to ROOT/requests.jsonl.")
    ] = False,
    exit_with_parent: Annotated[bool, typer.Option("--exit-with-parent", help="End when standard input ends.")] = False,
) -> None:
    """Run a local server of the Files API.

    Prints one line of JSON once it accepts connections: its url, and the file with its key. The key is that of
    ANTHROPIC_API_KEY, else one is made and kept in ROOT/api-key. SIGTERM and Ctrl-C end it after the running requests.
    """
    runner = _runner()
    settings = Settings(
        uploads_downloadable=not faithful,
        requests_per_minute=rpm,
        ranges=not no_range,
        max_file_bytes=max_file_bytes,
        log_requests=log_requests,
    )
    try:
        runner.serve(
            root,
            settings,
            runner.Address(host=host, port=port, allow_remote=allow_remote),
            key=os.environ.get("ANTHROPIC_API_KEY"),
            exit_with_parent=exit_with_parent,
        )
    except ServerError as error:
        _fail(error)


def generate(
    root: RootOption,
    files: Annotated[list[Path], typer.Argument(click_type=A_PATH, metavar="FILE", help="Files to add.")],
    name: Annotated[
        str | None, typer.Option(parser=text_of, metavar="NAME", help="Filename to give, for a single file.")
    ] = None,
) -> None:
    """Add files to a local server as the code execution tool makes them: downloadable, also with --faithful.

    Works while the server runs and while it does not. Prints the id of each file.
    """
    if name is not None and len(files) != 1:
        raise typer.BadParameter("several files cannot have one name: give one FILE", param_hint="--name")
    for file in files:
        if not file.is_file():
            raise typer.BadParameter(f"{str(file)!r} is not a file: give a file that is there", param_hint="FILE")
    try:
        store = Store(Root(root).path)
        try:
            for file in files:
                typer.echo(store.add_generated(name or file.name, file).id)
        finally:
            store.close()
    except (ApiError, ServerError, OSError) as error:
        _fail(error)


def _runner() -> ModuleType:
    """Return the module of the server. Without its libraries, which are an extra, print what to install and exit."""
    try:
        return importlib.import_module("remotefs.server.run")
    except ModuleNotFoundError as error:
        notify(f"{error.name} is missing: install remotefs[server]")
        raise typer.Exit(2) from error


def _fail(error: Exception) -> None:
    notify(str(error))
    raise typer.Exit(2)
