"""The command `remotefs`: loads the command that is called, and turns its error into a line and an exit status.

What a person waits for at a prompt, `--help` and `--version`, comes from the table below. It loads nothing else, for
even the library that reads the options takes longer than that may take.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from remotefs import __version__

if TYPE_CHECKING:
    import typer

ABOUT = "Anthropic's Files API as a directory: mount it, copy into it, read from it."
DEBUG_VARIABLE = "REMOTEFS_DEBUG"
HELP_OPTIONS = ("-h", "--help")
VERSION_OPTIONS = ("-V", "--version")


class Command(NamedTuple):
    """Where a command is: its module in `commands`, its function or group there; and the first line of its help."""

    module: str
    function: str
    summary: str


# In the order of --help. Only the module of the called command is loaded: some need all of a mount, most need next to
# nothing and answer at once. A test compares each summary with the command itself.
SECTIONS = {
    "Mounts": {
        "mount": Command("mount", "mount", "Mount the files of an account on a folder."),
        "umount": Command("mount", "umount", "Bring pending changes to the service, then unmount."),
        "status": Command("status", "status", "Show the state of a mount."),
        "limit": Command("limit", "limit", "Show and change the bandwidth limits of a running mount."),
        "flush": Command("status", "flush", "Wait until the service has what was written."),
        "retry": Command("status", "retry", "Try changes that failed again now."),
    },
    "Files": {
        "put": Command("put", "put", "Send files and folders to the service."),
        "get": Command("get", "get", "Fetch files and folders of the service."),
        "ls": Command("ls", "ls", "List files with their age, size, type, state and id."),
        "watch": Command("watch", "watch", "Print what others add, replace and remove, as it comes."),
        "id": Command("paths", "identify", "Print the file ids of files."),
        "path": Command("paths", "path_of", "Print the path of each file id, a line each."),
    },
    "This disk": {
        "warm": Command("cache", "warm", "Fetch content to this disk."),
        "pin": Command("cache", "pin", "Fetch content to this disk and keep it there."),
        "unpin": Command("cache", "unpin", "Allow content to be evicted when room is needed."),
        "cache": Command("cache", "cache", "Show and free the content that is kept on this disk."),
        "export": Command("check", "export", "Copy files from this disk to a place outside."),
        "backup": Command("check", "backup", "Copy the state folder of a running mount."),
    },
    "The service": {
        "sync": Command("sync", "sync", "Make the service follow renames."),
        "retype": Command("retype", "retype", "Give files the types that an upload would give them now."),
        "share": Command("share", "share", "Put existing files into the shared store."),
        "unshare": Command("share", "unshare", "Take files out of the shared store; they stay on this disk."),
        "dedupe": Command("dedupe", "dedupe", "Remove copies that have piled up under one name."),
    },
    "Repair": {
        "doctor": Command("doctor", "doctor", "Look for what keeps remotefs from working here."),
        "check": Command("check", "check", "Compare the parts of a mount with each other."),
        "log": Command("log", "log", "Show where a running mount logs, and change what."),
        "recover": Command("recover", "recover", "Bring back all files of a shared store, without a mount."),
        "trash": Command("trash", "trash", "Show, put back and remove files that were removed elsewhere."),
        "accept-removals": Command("trash", "accept_removals", "Accept a listing in which many files are missing."),
        "accept-account": Command("account", "accept_account", "Bind a state folder to a new address of its account."),
    },
    "Tools": {
        "install": Command("install", "install", "Install a service for a mount, or the helper for mount(8)."),
        "probe": Command("probe", "probe", "Ask a server what the documents leave open."),
        "serve": Command("serve", "serve", "Run a local server of the Files API."),
        "generate": Command("serve", "generate", "Add files to a local server."),
        "completion": Command("completion", "completion", "Print the completion script of a shell."),
    },
}
COMMANDS = {name: command for commands in SECTIONS.values() for name, command in commands.items()}


def main() -> NoReturn:
    """Run the command line and exit: 2 for wrong use, 3 when work is left, 130 when interrupted, 1 for the rest."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in COMMANDS:
        _run(first)
    if first in VERSION_OPTIONS:
        sys.stdout.write(f"remotefs {__version__}\n")
        sys.exit(0)
    from remotefs.cli.root_help import root_help, unknown_word  # noqa: PLC0415 - most commands do without

    if first in HELP_OPTIONS:
        sys.stdout.write(root_help(ABOUT, SECTIONS))
        sys.exit(0)
    sys.stderr.write(
        unknown_word(first, COMMANDS, (*HELP_OPTIONS, *VERSION_OPTIONS)) if first else root_help(ABOUT, SECTIONS)
    )
    sys.exit(2)


def build_app(names: Sequence[str] = tuple(COMMANDS)) -> typer.Typer:
    """Return an app with the commands of these names."""
    import typer  # noqa: PLC0415 - see above

    from remotefs.cli.plain_command import PlainCommand  # noqa: PLC0415 - see above

    app = typer.Typer(
        name="remotefs",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=ABOUT,
        # The commands inherit it.
        context_settings={"help_option_names": list(HELP_OPTIONS)},
    )
    # With it the app is a group, though it may have a single command.
    app.callback()(_about)
    for name in names:
        module, function, _ = COMMANDS[name]
        command = getattr(importlib.import_module(f"remotefs.cli.commands.{module}"), function)
        if isinstance(command, typer.Typer):
            for info in command.registered_commands:
                info.cls = PlainCommand
            app.add_typer(command, name=name)
        else:
            app.command(name, cls=PlainCommand)(command)
    return app


def _run(name: str) -> NoReturn:
    """Run a command with the arguments of this process, and exit."""
    from remotefs.cli.exit_status import exit_status, record, sentence, sole_error  # noqa: PLC0415 - see above
    from remotefs.cli.wrong_use import as_wrong_use  # noqa: PLC0415 - see above

    try:
        sys.exit(build_app((name,))(prog_name="remotefs", standalone_mode=False))
    except SystemExit:
        raise
    except BaseException as error:
        if (wrong_use := as_wrong_use(error)) is not None:
            sys.exit(wrong_use.show())
        if os.environ.get(DEBUG_VARIABLE):
            raise
        from remotefs.cli.console import notify  # noqa: PLC0415 - see above

        sole = sole_error(error)
        record(sole)
        notify(sentence(sole))
        sys.exit(exit_status(sole))


def _about() -> None:
    """Do nothing: the command that is called does all."""
