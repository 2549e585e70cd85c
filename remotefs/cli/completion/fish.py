"""The completion script of fish: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from remotefs.cli.completion.values import Offer, offer_for_argument, offer_for_option
from remotefs.cli.spec import CommandSpec, Option, leaves

_HEAD = r"""# fish completion for remotefs

# The mountpoints of remotefs, from the kernel's table: no mount is touched.
function __remotefs_mounts
    while read -l line
        if string match -q '* - fuse.remotefs *' -- $line
            printf '%b\n' (string split ' ' -- $line)[5]
        end
    end < /proc/self/mountinfo
end

function __remotefs_profiles
    set -l config $XDG_CONFIG_HOME
    test -n "$config"; or set config ~/.config
    sed -n 's/^[[:space:]]*\[profile\.\([A-Za-z0-9._-]*\)\.[a-z]*\].*/\1/p' \
        $config/remotefs/config.toml 2>/dev/null | sort -u
end

# Whether the words so far call this command: all of them after `remotefs`, options left out.
function __remotefs_calls
    set -l words (string match -v -- '-*' (commandline -opc))[2..-1]
    if test (count $words) -lt (count $argv)
        return 1
    end
    set -l called $words[1..(count $argv)]
    test "$called" = "$argv"
end

function __remotefs_calls_only
    set -l words (string match -v -- '-*' (commandline -opc))[2..-1]
    test "$words" = "$argv"
end

complete -c remotefs -f
"""
_OFFERS = {
    Offer.NOTHING: " -x",
    Offer.MOUNTS: " -x -a '(__remotefs_mounts)'",
    Offer.FOLDERS: " -x -a '(__fish_complete_directories)'",
    Offer.FILES: " -r -F",
    Offer.PROFILES: " -x -a '(__remotefs_profiles)'",
}


def fish_script(commands: Sequence[CommandSpec]) -> str:
    """Return the script."""
    return "".join([
        _HEAD,
        *_group((), commands),
        *(line for one in commands if one.commands for line in _group(one.words, one.commands)),
        *(line for command in leaves(commands) for line in _command(command)),
    ])


def _group(words: tuple[str, ...], commands: Sequence[CommandSpec]) -> Iterator[str]:
    condition = f"-n '__remotefs_calls_only {' '.join(words)}'".replace(" '", " '", 1)
    for command in commands:
        yield f"complete -c remotefs {condition} -a {command.words[-1]} -d {_quoted(command.summary)}\n"
    if not words:
        yield f"complete -c remotefs {condition} -s V -l version -d 'Print the version'\n"
        yield "complete -c remotefs -s h -l help -d 'Show the help'\n"


def _command(command: CommandSpec) -> Iterator[str]:
    condition = f"-n '__remotefs_calls {' '.join(command.words)}'"
    for option in command.options:
        if "--help" not in option.names:
            yield f"complete -c remotefs {condition}{_option(option)}\n"
    for argument in command.arguments[-1:]:
        offer = offer_for_argument(command, argument)
        if offer is not Offer.NOTHING:
            words = f" -x -a {_quoted(' '.join(argument.choices))}" if offer is Offer.WORDS else _OFFERS[offer]
            yield f"complete -c remotefs {condition}{words}\n"


def _option(option: Option) -> str:
    names = "".join(
        f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}"
        for name in (*option.names, option.negative)
        if name
    )
    value = ""
    if option.metavar:
        offer = offer_for_option(option)
        value = f" -x -a {_quoted(' '.join(option.choices))}" if offer is Offer.WORDS else _OFFERS[offer]
    return f"{names}{value} -d {_quoted(option.help.split('. ')[0].rstrip('.'))}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
