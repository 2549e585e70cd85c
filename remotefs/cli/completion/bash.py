"""The completion script of bash: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from remotefs.cli.completion.values import Offer, offer_for_argument, offer_for_option
from remotefs.cli.spec import CommandSpec, Option, leaves

_HEAD = r"""# bash completion for remotefs

# The mountpoints of remotefs, from the kernel's table: no mount is touched.
_remotefs_mounts() {
    local line at
    while read -r line; do
        [[ $line == *' - fuse.remotefs '* ]] || continue
        read -r _ _ _ _ at _ <<< "$line"
        printf '%b\n' "$at"
    done < /proc/self/mountinfo
}

_remotefs_profiles() {
    sed -n 's/^[[:space:]]*\[profile\.\([A-Za-z0-9._-]*\)\.[a-z]*\].*/\1/p' \
        "${XDG_CONFIG_HOME:-$HOME/.config}/remotefs/config.toml" 2> /dev/null | sort -u
}

# Offer the lines of standard input that begin with the word, quoted for the command line.
_remotefs_lines() {
    local line
    while read -r line; do
        [[ $line == "$cur"* ]] && COMPREPLY+=("$(printf '%q' "$line")")
    done
}

_remotefs_offer() {
    case $1 in
        words) COMPREPLY=($(compgen -W "$2" -- "$cur")) ;;
        mounts) _remotefs_lines < <(_remotefs_mounts) ;;
        profiles) _remotefs_lines < <(_remotefs_profiles) ;;
        folders) compopt -o filenames 2> /dev/null; _remotefs_lines_raw < <(compgen -d -- "$cur") ;;
        files) compopt -o filenames 2> /dev/null; _remotefs_lines_raw < <(compgen -f -- "$cur") ;;
    esac
}

# Names of files: readline quotes them.
_remotefs_lines_raw() {
    local line
    while read -r line; do COMPREPLY+=("$line"); done
}

_remotefs() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word index
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        [[ $word == -* ]] && continue
        if [[ -z $command ]]; then
            command=$word
            case $command in @GROUPS@) continue ;; esac
        elif [[ $command != *' '* ]]; then
            case $command in @GROUPS@) command="$command $word" ;; esac
        fi
        break
    done
"""
_FOOT = """}

complete -F _remotefs remotefs
"""


def bash_script(commands: Sequence[CommandSpec]) -> str:
    """Return the script."""
    groups = "|".join(command.words[0] for command in commands if command.commands)
    return "".join([_HEAD.replace("@GROUPS@", groups), *_body(commands), _FOOT])


def _body(commands: Sequence[CommandSpec]) -> Iterator[str]:
    names = " ".join(command.words[0] for command in commands)
    yield "    case $command in\n"
    yield f"        '') _remotefs_offer words '{names} -h --help -V --version' ;;\n"
    for command in commands:
        if command.commands:
            inner = " ".join(one.words[-1] for one in command.commands)
            yield f"        {command.words[0]}) _remotefs_offer words '{inner} -h --help' ;;\n"
    for command in leaves(commands):
        yield from _case(command)
    yield "    esac\n"


def _case(command: CommandSpec) -> Iterator[str]:
    pattern = " ".join(command.words)
    yield f"        {pattern!r})\n" if " " in pattern else f"        {pattern})\n"
    yield "            case $prev in\n"
    for option in command.options:
        if option.metavar:
            yield f"                {'|'.join(option.names)}) {_offer_of(option)}; return ;;\n"
    yield "            esac\n"
    names = " ".join(name for option in command.options for name in (*option.names, option.negative) if name)
    yield f"            if [[ $cur == -* ]]; then _remotefs_offer words '{names}'\n"
    argument = command.arguments[-1] if command.arguments else None
    if argument is not None:
        offer = offer_for_argument(command, argument)
        words = f" '{' '.join(argument.choices)}'" if offer is Offer.WORDS else ""
        yield f"            else _remotefs_offer {offer.value}{words}\n"
    yield "            fi ;;\n"


def _offer_of(option: Option) -> str:
    words = f" '{' '.join(option.choices)}'" if option.choices else ""
    return f"_remotefs_offer {offer_for_option(option).value}{words}"
