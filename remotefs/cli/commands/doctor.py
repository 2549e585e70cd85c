"""`remotefs doctor`: what keeps remotefs from working here, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from remotefs import __version__
from remotefs.cli.choose_mount import A_PATH, IN_A_MOUNT
from remotefs.cli.console import printable
from remotefs.cli.doctor.examination import Examination
from remotefs.cli.doctor.findings import Finding, Findings, State, lines_of, summary_of
from remotefs.cli.exit_status import EXIT_FAILED
from remotefs.cli.settings_choice import ConfigChoice, ProfileChoice


def doctor(
    mountpoint: Annotated[
        Path | None,
        typer.Argument(click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="Default: every remotefs mount."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, when all is done.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not look at the network and the service.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            click_type=A_PATH,
            metavar="FILE",
            help="Also write FILE, a .tar.gz for a bug report: findings, states of mounts, the end of logs, settings. "
            "Names of files and keys are left out. Lists what is in it.",
        ),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir",
            click_type=A_PATH,
            metavar="DIR",
            help="The state folder to look at. Default: those of all mounts and accounts.",
        ),
    ] = None,
    config_file: ConfigChoice = None,
    profile: ProfileChoice = None,
) -> None:
    """Look for what keeps remotefs from working here.

    Looks at the kernel and FUSE, permissions, the settings and the key, running mounts, state folders and their disks,
    the way to the service, and the clock. Prints a line for each as it comes, with what to do where something is wrong.
    Nothing is changed, and the key is never shown.

    Where no mount is online at the service, this sends it one listing of one file, for 3 seconds at most; a server that
    needs the beta shape gets two. With --offline it sends nothing.

    The exit status is 1 when there is a problem. Warnings do not count.
    """
    examination = Examination(mountpoint, state_dir, config_file, profile, offline)
    write = _bundle_writer(bundle, examination) if bundle is not None else None
    findings: list[Finding] = []
    for finding in examination.findings():
        findings.append(finding)
        if not as_json:
            typer.echo("\n".join(map(printable, lines_of(finding))))
    whole = Findings.of(findings, __version__)
    typer.echo(whole.encode() if as_json else summary_of(findings))
    if write is not None:
        write(whole)
    if any(finding.state is State.PROBLEM for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def _bundle_writer(target: Path, examination: Examination) -> Callable[[Findings], None]:
    """Return what writes the bundle in the end. Raises UsageError where it cannot have that name."""
    from remotefs.cli.doctor.bundle import check_target, write_bundle  # noqa: PLC0415 - few need it

    check_target(target)
    return lambda findings: write_bundle(target, findings, examination)
