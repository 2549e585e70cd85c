"""`remotefs put`: sends files and folders to the service, through a mount or without one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import trio
import typer

from remotefs.api.mime import parse_mime_type
from remotefs.cli.quantities import expiry_of, text_of, time_of
from remotefs.cli.settings_choice import ConfigChoice, ProfileChoice
from remotefs.cli.transfer_display import Display, print_transferred
from remotefs.cli.transfer_place import (
    BaseUrlChoice,
    MountChoice,
    StateDirChoice,
    choose_place,
    mount_around,
    work_in_folder,
)
from remotefs.control.find import FoundMount
from remotefs.control.mounts import real_apart
from remotefs.errors import UsageError
from remotefs.mount.settings import MountSettings
from remotefs.mount.transfers.placing import Destination, tree_path
from remotefs.mount.transfers.put import PutRequest, put_into_mount
from remotefs.mount.transfers.records import Attributes, Transferred


def _type_of(text: str) -> str:
    """Return a MIME type as it is written. Raises BadParameter where it is none."""
    try:
        parse_mime_type(text)
    except ValueError:
        raise typer.BadParameter(f"{text[:80]!r} is not valid: give a MIME type, such as text/plain") from None
    return text


def put(
    arguments: Annotated[
        list[str],
        typer.Argument(
            parser=text_of,
            metavar="SOURCE... [DEST]",
            help="Files or folders of this machine, then the destination: a path in a mount, or a path of the tree, "
            "such as reports/2026. Default: the root of the tree.",
        ),
    ],
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", parser=text_of, metavar="DEST", help="The destination; then every argument is a source."),
    ] = None,
    mime_type: Annotated[
        str | None,
        typer.Option("--type", parser=_type_of, metavar="TYPE", help="The MIME type of the files, such as text/plain."),
    ] = None,
    expires: Annotated[
        float | None,
        typer.Option(
            "--expires", parser=expiry_of, metavar="TIME", help="Let the service remove the files after 1h to 90d."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            parser=time_of,
            metavar="TIME",
            show_default=False,
            help="How long to wait while nothing gets through, such as 5m. Default: 1m.",
        ),
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each file, a line each.")] = False,
    mount: MountChoice = None,
    state_dir: StateDirChoice = None,
    base_url: BaseUrlChoice = None,
    config_file: ConfigChoice = None,
    profile: ProfileChoice = None,
) -> None:
    """Send files and folders to the service, with their modes and times.

    Goes through the running mount of the account where there is one, else it needs none. As for cp, DEST is a folder or
    a new name; a file that is there is replaced, and one with the same content is not sent again. What does not get
    through is kept and goes on with the next put or mount; the exit status is 3 then, and 1 when a file could not be
    read.
    """
    sources, written = _split(arguments, to)
    around = mount_around(Path(written)) if written and mount is None else None
    is_folder = written.endswith("/")
    destination = Destination(around.path, is_folder or around.is_all) if around else tree_path(written)
    place = around or choose_place(mount, state_dir, base_url, config_file, profile)
    request = PutRequest(tuple(map(Path, sources)), destination, _attributes(mime_type, expires), timeout)
    with Display() as display:
        done = _put(request, place, display)
    next_one = "the mount goes on with them" if isinstance(place, FoundMount) else "the next put or mount sends them"
    print_transferred(done, as_json=as_json, next_one=next_one)


def _put(request: PutRequest, place: FoundMount | MountSettings, display: Display) -> list[Transferred]:
    folder = real_apart(place.state_dir) if isinstance(place, MountSettings) else place.mountpoint
    _check_sources(request.sources, folder)
    if isinstance(place, MountSettings):
        from remotefs.mount.transfers.without_mount import put_into_folder  # noqa: PLC0415 - loads all of a mount

        return work_in_folder(place, lambda: put_into_folder(request, place, display.report, display.stage))
    return trio.run(partial(put_into_mount, request, place, display.stage))


def _check_sources(sources: tuple[Path, ...], place: Path) -> None:
    """Raise UsageError for a source that lies in the mount or the state folder that it would go to, or holds that."""
    for source in sources:
        whole = real_apart(source)
        if whole.is_relative_to(place):
            raise UsageError(f"{source} lies in {place} itself: in a mount, copy it with cp")
        if place.is_relative_to(whole):
            raise UsageError(f"{source} holds {place}, where it would go to: name what is in it one by one")


def _split(arguments: list[str], to: str | None) -> tuple[list[str], str]:
    """Return the sources and the destination as it was written; empty for the root. Raises UsageError."""
    if to is not None or len(arguments) == 1:
        return arguments, to or ""
    *sources, last = arguments
    # `put *.pdf` without a destination would send all but one under the name of the last.
    if mount_around(Path(last)) is None and Path(last).is_file():
        raise UsageError(
            f"{last} is a file of this machine, and the last argument is the destination: name it with --to"
        )
    return sources, last


def _attributes(mime_type: str | None, expires_s: float | None) -> Attributes:
    attributes = {}
    if mime_type is not None:
        attributes[b"user.remotefs.mime_type"] = mime_type.encode()
    if expires_s is not None:
        attributes[b"user.remotefs.expires_in"] = f"{int(expires_s)}s".encode()
    return attributes
