"""The completion script of zsh: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from remotefs.cli.completion.values import Offer, offer_for_argument, offer_for_option
from remotefs.cli.spec import Argument, CommandSpec, Option

_HEAD = r"""#compdef remotefs
# zsh completion for remotefs

# The mountpoints of remotefs, from the kernel's table: no mount is touched.
_remotefs_mounts() {
    local -a mounts
    local line
    while IFS= read -r line; do
        [[ $line == *' - fuse.remotefs '* ]] && mounts+=("$(printf '%b' "${${(z)line}[5]}")")
    done < /proc/self/mountinfo
    (( $#mounts )) && compadd -a mounts
}

_remotefs_profiles() {
    local -a profiles
    profiles=(${(u)${(f)"$(sed -n 's/^[[:space:]]*\[profile\.\([A-Za-z0-9._-]*\)\.[a-z]*\].*/\1/p' \
        "${XDG_CONFIG_HOME:-$HOME/.config}/remotefs/config.toml" 2> /dev/null)"}})
    (( $#profiles )) && compadd -a profiles
}

"""
_FOOT = """\
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _remotefs "$@"
else
    compdef _remotefs remotefs
fi
"""
_ACTIONS = {
    Offer.NOTHING: "",
    Offer.MOUNTS: "_remotefs_mounts",
    Offer.FOLDERS: "_files -/",
    Offer.FILES: "_files",
    Offer.PROFILES: "_remotefs_profiles",
}


def zsh_script(commands: Sequence[CommandSpec]) -> str:
    """Return the script."""
    whole = CommandSpec((), "", (), (_HELP, _VERSION), tuple(commands))
    return "".join([_HEAD, *_functions(whole), _FOOT])


_HELP = Option(("-h", "--help"), "", "Show the help and exit.")
_VERSION = Option(("-V", "--version"), "", "Print the version and exit.")


def _functions(command: CommandSpec) -> Iterator[str]:
    """Yield a function for a command, and those for the commands in it."""
    name = "_".join(["_remotefs", *(word.replace("-", "_") for word in command.words)])
    specs = [*map(_option, command.options), *_words(command)]
    yield f"{name}() {{\n"
    if command.commands:
        yield "    local curcontext=$curcontext state line\n    typeset -A opt_args\n"
        yield "    local -a commands\n    commands=(\n"
        for inner in command.commands:
            yield f"        {_quoted(f'{inner.words[-1]}:{inner.summary}')}\n"
        yield "    )\n"
    yield "    _arguments -C -s" + "".join(f" \\\n        {spec}" for spec in specs) + "\n"
    if command.commands:
        yield "    case $state in\n        command) _describe -t commands command commands ;;\n"
        called = f"{name}_${{words[1]//-/_}}"
        yield f"        arguments) (( $+functions[{called}] )) && {called} ;;\n    esac\n"
    yield "}\n\n"
    for inner in command.commands:
        yield from _functions(inner)


def _words(command: CommandSpec) -> list[str]:
    if command.commands:
        return ["'1:command:->command'", "'*::arguments:->arguments'"]
    return [_argument(command, number, argument) for number, argument in enumerate(command.arguments, start=1)]


def _argument(command: CommandSpec, number: int, argument: Argument) -> str:
    place = "*" if argument.takes_many else str(number)
    action = _action(offer_for_argument(command, argument), argument.choices)
    return _quoted(f"{place}:{_plain(argument.metavar)}:{action}")


def _option(option: Option) -> str:
    value = f":{_plain(option.metavar)}:{_action(offer_for_option(option), option.choices)}" if option.metavar else ""
    names = [*option.names, *([option.negative] if option.negative else [])]
    about = f"[{_plain(option.help.split('. ')[0].rstrip('.'))}]"
    if len(names) == 1:
        return _quoted(f"*{names[0]}{about}{value}")
    return f"'({' '.join(names)})'{{{','.join(names)}}}{_quoted(about + value)}"


def _action(offer: Offer, choices: Sequence[str]) -> str:
    return f"({' '.join(choices)})" if offer is Offer.WORDS else _ACTIONS[offer]


def _plain(text: str) -> str:
    """Return a text without what means something to `_arguments`."""
    return "".join(f"\\{one}" if one in "[]:\\" else one for one in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
