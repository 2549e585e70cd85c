"""Write the man pages (docs/man) and the reference of the command line (docs/cli.md) from the commands themselves.

    python scripts/reference.py            rewrite them
    python scripts/reference.py --check    fail where one is not as it would be written

The settings come from `remotefs/config.py`; the sentence about each is the one that docs/configuration.md has.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from remotefs.cli.spec import all_commands, sections  # noqa: E402 - see above
from scripts.reference_man import command_page, helper_page, root_page, settings_page  # noqa: E402
from scripts.reference_markdown import cli_document  # noqa: E402
from scripts.reference_settings import settings_of  # noqa: E402


def pages() -> dict[str, str]:
    """Return the text of each generated file, by its path in the repository."""
    commands = all_commands()
    written = {
        "docs/cli.md": cli_document(commands, sections()),
        "docs/man/remotefs.1": root_page(commands, sections()),
    }
    for command in commands:
        written[f"docs/man/remotefs-{command.words[0]}.1"] = command_page(command)
    settings = settings_of((REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8"))
    written["docs/man/remotefs.toml.5"] = settings_page(settings)
    written["docs/man/mount.fuse.remotefs.8"] = helper_page()
    return written


def stale() -> list[str]:
    """Return the files that are not as they would be written, and those that would not be written at all."""
    wanted = pages()
    there = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs" / "man").glob("*")}
    changed = [name for name, text in wanted.items() if _text_of(name) != text]
    return sorted({*changed, *(there - set(wanted))})


def _text_of(name: str) -> str | None:
    path = REPOSITORY / name
    return path.read_text(encoding="utf-8") if path.exists() else None


def write() -> None:
    """Write all files, and remove the pages of commands that are gone."""
    wanted = pages()
    for path in (REPOSITORY / "docs" / "man").glob("*"):
        if str(path.relative_to(REPOSITORY)) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = REPOSITORY / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if old := stale():
            sys.exit(f"not as the commands are: {', '.join(old)}; run make reference")
    else:
        write()
