"""The commands of a mount without its kernel, called as its control socket would."""

from __future__ import annotations

from collections.abc import Callable

from remotefs.control.messages.base import Progress
from remotefs.mount.commands.groups import CommandGroups, command_groups
from tests.parts import Host, settings


def commands(host: Host, stop: Callable[[], None] = lambda: None) -> CommandGroups:
    """The commands of a mount that never yields its state folder."""
    chosen = settings(host.state_dir, host.server.url)
    return command_groups(chosen, host.parts, stop=stop, yield_state=lambda: False)


def quietly(_: Progress) -> None:
    """A report that nobody reads."""
