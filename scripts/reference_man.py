"""The man pages, in the macros of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec

from remotefs import __version__
from remotefs.cli.launch.mount_options import FSTAB_WORDS, KERNEL_FLAGS, OWN_FLAGS
from remotefs.cli.spec import CommandSpec, Option, leaves
from scripts.reference_settings import Setting

# Of the release.
DATE = "2026-11-28"
_ABOUT_SETTINGS = [
    (
        "The file has sections, and settings in them, in TOML. Only the key has to be set, and it belongs into the "
        "environment. A value comes from the first that has it: an option of the command, the environment, a "
        "profile, the "
        "file, the default. A name that is not known and a value that cannot be are refused at the start, with "
        "the place, "
        "the value and what may stand there."
    ),
    (
        "Sizes take the units K, M, G and T (1024 each; KB, MB and so on count 1000), times ms, s, m, h and d: "
        "in the file "
        'as text, such as `"500MB"`. A list replaces the default list.'
    ),
    "A section `[profile.NAME.SECTION]` holds for `--profile NAME` alone.",
]
_ABOUT_HELPER = [
    (
        "mount(8) calls this helper for the type fuse.remotefs, so that fstab(5) can have a line for a mount. "
        "SOURCE is a "
        "profile of the settings file, an account, the address of the service, or `remotefs` for the settings as they "
        "are. The helper is silent on success, and returns when the mount answers."
    ),
    (
        "The key cannot stand in fstab(5), which all users read. Put it into a settings file or a profile that "
        "only the "
        "mounting user can read."
    ),
]
_EXIT = """\
.TP
.B 0
Success.
.TP
.B 1
Failure. The message says what happened, to which path, and what to do.
.TP
.B 2
Wrong use or a wrong setting. Nothing was begun.
.TP
.B 3
Changes are left that the service does not have yet. They go on with the mount, or with the next one.
.TP
.B 130
Interrupted.
"""
_ENVIRONMENT = """\
.TP
.BR ANTHROPIC_API_KEY ", " ANTHROPIC_AUTH_TOKEN
The key, or a bearer token. No command takes either as an argument.
.TP
.B ANTHROPIC_BASE_URL
The address of the service.
.TP
.B ANTHROPIC_CUSTOM_HEADERS
Extra request headers, one \\(lqName: value\\(rq a line.
.TP
.BI REMOTEFS_ SECTION _ SETTING
Any setting of
.BR remotefs.toml (5).
.TP
.B REMOTEFS_DEBUG
Any value: an error that ends a command is printed with its traceback.
.TP
.BR HTTPS_PROXY ", " HTTP_PROXY ", " ALL_PROXY ", " NO_PROXY
Proxies; requests to an address of this machine never go through one.
.TP
.BR SSL_CERT_FILE ", " SSL_CERT_DIR
Your own certificate authorities.
"""
_FILES = """\
.TP
.I ~/.config/remotefs/config.toml
The settings; see
.BR remotefs.toml (5).
.TP
.I ~/.local/share/remotefs/accounts/
The state folders, one for each account: pending changes and content that exists nowhere else.
.TP
.I STATE/log/remotefs.log
The log of a mount.
"""


def root_page(commands: Sequence[CommandSpec], sections: Mapping[str, Sequence[str]]) -> str:
    """Return remotefs(1)."""
    by_name = {command.words[0]: command for command in commands}
    parts = [_title("remotefs", 1), _name("remotefs", "Anthropic's Files API as a directory")]
    parts.append(".SH SYNOPSIS\n.B remotefs\n.I COMMAND\n.RI [ ARGUMENTS ]...\n.br\n.B remotefs \\-\\-help\n.br\n")
    parts.append(".B remotefs \\-\\-version\n.SH DESCRIPTION\n")
    parts.append(
        "remotefs mounts the files of an account of Anthropic's Files API as a directory: copy into it, read from it.\n"
        "A file that is written there is uploaded when it is closed; nothing is lost when the network goes down.\n"
    )
    for title, names in sections.items():
        parts.append(f".SS {title}\n")
        parts += [f".TP\n.BR remotefs\\-{_text(name)} (1)\n{_text(by_name[name].summary)}.\n" for name in names]
    parts += [f".SH EXIT STATUS\n{_EXIT}", f".SH ENVIRONMENT\n{_ENVIRONMENT}", f".SH FILES\n{_FILES}"]
    return "".join([*parts, _see_also(["remotefs-mount(1)", "remotefs.toml(5)", "mount.fuse.remotefs(8)"])])


def command_page(command: CommandSpec) -> str:
    """Return the page of a command, or of a group with a part for each command in it."""
    name = f"remotefs-{command.words[0]}"
    parts = [_title(name, 1), _name(name, command.summary)]
    parts.append(".SH SYNOPSIS\n" + ".br\n".join(_synopsis(one) for one in leaves([command])))
    parts.append(".SH DESCRIPTION\n" + _paragraphs(command.paragraphs))
    if command.commands:
        parts.append(".SH COMMANDS\n")
        parts += [
            f".SS {_text(' '.join(inner.words))}\n" + _paragraphs(inner.paragraphs) + _options(inner)
            for inner in command.commands
        ]
    else:
        parts.append(".SH OPTIONS\n" + _options(command))
    parts.append(f".SH EXIT STATUS\n{_EXIT}")
    return "".join([*parts, _see_also(["remotefs(1)", "remotefs.toml(5)"])])


def settings_page(settings: Sequence[Setting]) -> str:
    """Return remotefs.toml(5)."""
    parts = [_title("remotefs.toml", 5), _name("remotefs.toml", "settings of remotefs")]
    parts.append(".SH SYNOPSIS\n.I ~/.config/remotefs/config.toml\n.SH DESCRIPTION\n")
    parts.append(_paragraphs(_ABOUT_SETTINGS))
    for section in dict.fromkeys(setting.section for setting in settings):
        parts.append(f".SH [{section}]\n")
        parts += [_setting(setting) for setting in settings if setting.section == section]
    parts.append(
        ".SH EXAMPLES\n.nf\n[service]\nrequests_per_minute = 200\n\n[writeback]\ndurability = \\(dqstrict\\(dq\n.fi\n"
    )
    return "".join([*parts, _see_also(["remotefs(1)", "remotefs-mount(1)"])])


def helper_page() -> str:
    """Return mount.fuse.remotefs(8)."""
    name = "mount.fuse.remotefs"
    parts = [_title(name, 8), _name(name, "mount remotefs by mount(8) and fstab(5)")]
    parts.append(
        ".SH SYNOPSIS\n.B mount \\-t fuse.remotefs\n.RB [ \\-o\n.IR OPTIONS ]\n.I SOURCE DIR\n.SH DESCRIPTION\n"
    )
    parts.append(_paragraphs(_ABOUT_HELPER))
    parts.append(".SH OPTIONS\n" + "".join(_words()))
    parts.append(
        ".SH EXAMPLES\nA line of fstab(5):\n.PP\n.nf\n"
        "remotefs  /mnt/claude  fuse.remotefs  noauto,user,_netdev  0  0\n.fi\n"
    )
    return "".join([*parts, _see_also(["remotefs-mount(1)", "remotefs.toml(5)", "mount(8)", "fstab(5)"])])


def _words() -> Iterator[str]:
    yield f".TP\n.B {_text(', '.join(sorted(OWN_FLAGS)))}\nAs for other FUSE file systems; see mount.fuse3(8).\n"
    yield f".TP\n.B {_text(', '.join(sorted(KERNEL_FLAGS)))}\nFlags of the kernel; see mount(8).\n"
    if find_spec("remotefs.cli.launch.option_values"):
        for word, allowed in import_module("remotefs.cli.launch.option_values").ALLOWED.items():
            yield f".TP\n.BI {_text(word)}= VALUE\nGive {_text(str(allowed))}.\n"
    passed_over = _text(", ".join(sorted(FSTAB_WORDS)))
    yield f".TP\n.B {passed_over}\nFor mount(8) and the boot; they say nothing about the mount.\n"


def _setting(setting: Setting) -> str:
    default = f"Default: {_text(setting.default)}." if setting.default else "Not set by default."
    if len(setting.default) > 200:
        default = "The default is a list of names that programs use for temporary files."
    return (
        f".TP\n.B {_text(setting.name)}\n{_text(_sentence(setting.reason))}\n"
        f"Give {_text(setting.allowed)}.\n{default}\nEnvironment:\n.BR {_text(setting.variable)} .\n"
    )


def _sentence(markdown: str) -> str:
    """Return a cell of a table without its links and escapes."""
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", markdown).replace("\\|", "|")


def _title(name: str, section: int) -> str:
    made = '.\\" Generated by make reference.'
    return f'{made}\n.TH {_text(name.upper())} {section} {DATE} "remotefs {__version__}"\n'


def _name(name: str, summary: str) -> str:
    # A verb, but for the name of the vendor.
    shown = summary if summary.startswith("Anthropic") else summary[:1].lower() + summary[1:]
    return f".SH NAME\n{_text(name)} \\- {_text(shown)}\n"


def _synopsis(command: CommandSpec) -> str:
    words = [argument.usage for argument in command.arguments]
    return f".B {_text('remotefs ' + ' '.join(command.words))}\n.RI [ OPTIONS ]\n" + "".join(
        f".I {_text(word)}\n" for word in words
    )


def _options(command: CommandSpec) -> str:
    arguments = [f".TP\n.I {_text(argument.usage)}\n{_text(argument.help)}\n" for argument in command.arguments]
    return "".join([*arguments, *map(_option, command.options)])


def _option(option: Option) -> str:
    names = [*option.names, *([option.negative] if option.negative else [])]
    shown = ", ".join(f"\\fB{_text(name)}\\fP" for name in names)
    value = f" \\fI{_text(option.metavar)}\\fP" if option.metavar else ""
    required = " Required." * option.is_required
    return f".TP\n{shown}{value}\n{_text(option.help)}{required}\n"


def _paragraphs(paragraphs: Sequence[str]) -> str:
    return ".PP\n".join(f"{_text(paragraph)}\n" for paragraph in paragraphs)


def _see_also(pages: Sequence[str]) -> str:
    words = [f".BR {_text(page[: page.index('(')])} {page[page.index('(') :]}" for page in pages]
    return ".SH SEE ALSO\n" + " ,\n".join(words) + "\n"


def _text(text: str) -> str:
    """Return a text for troff: words in backquotes bold, signs that mean something escaped."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "\\&...").replace("—", "\\(em")
    plain = re.sub(r"`([^`]+)`", r"\\fB\1\\fP", plain)
    return re.sub(r"^([.'])", r"\\&\1", plain)
