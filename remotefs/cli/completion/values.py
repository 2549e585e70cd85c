"""Which words a shell offers for the value of an option or for an argument: pure."""

from __future__ import annotations

from enum import Enum

from remotefs.cli.spec import Argument, CommandSpec, Option


class Offer(Enum):
    """What a shell offers. `WORDS` are the choices of the option itself."""

    NOTHING = "nothing"
    WORDS = "words"
    MOUNTS = "mounts"
    FOLDERS = "folders"
    FILES = "files"
    PROFILES = "profiles"


_BY_METAVAR = {
    "MOUNTPOINT": Offer.MOUNTS,
    "DIR": Offer.FOLDERS,
    "PATH": Offer.FILES,
    "FILE": Offer.FILES,
    "DEST": Offer.FILES,
    "SOURCE... [DEST]": Offer.FILES,
    "(ID|PATH)... DEST": Offer.FILES,
    "PATH... DEST": Offer.FILES,
}


def offer_for_option(option: Option) -> Offer:
    """Return what is offered after an option with a value."""
    if option.choices:
        return Offer.WORDS
    if "--profile" in option.names:
        return Offer.PROFILES
    return _BY_METAVAR.get(option.metavar, Offer.NOTHING)


def offer_for_argument(command: CommandSpec, argument: Argument) -> Offer:
    """Return what is offered for an argument of a command."""
    if argument.metavar == "MOUNTPOINT" and command.words == ("mount",):
        return Offer.FOLDERS
    if argument.choices:
        return Offer.WORDS
    return _BY_METAVAR.get(argument.metavar, Offer.NOTHING)
