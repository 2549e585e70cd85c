"""What the build adds: the README without links into the repository, and the man pages.

Package indexes show the README, and the repository has no address there. pipx links the man pages of a wheel.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

# A link whose target is not absolute: `[text](docs/page.md#part)`.
_RELATIVE_LINK = re.compile(r"\[([^\]\n]+)\]\((?![a-z]+:)[^)\s]*\)")
_NOTE = "The documents in `docs/`, which this page names, come with the source distribution."


class ManualHook(BuildHookInterface[Any]):
    """Puts the man pages of docs/man where a system looks for them: NAME.1 into share/man/man1."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Add the pages to the data files of a wheel."""
        for page in sorted((Path(self.root) / "docs" / "man").glob("*.[1-8]")):
            build_data["shared_data"][str(page)] = f"share/man/man{page.suffix[1:]}/{page.name}"


class ReadmeHook(MetadataHookInterface):
    """Sets the project's `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the long description to README.md with its relative links as plain text."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_relative_links(text)}


def without_relative_links(text: str) -> str:
    """Return Markdown with the text of each relative link in the place of the link, and a note about the documents."""
    plain = _RELATIVE_LINK.sub(r"\1", text).rstrip()
    return f"{plain}\n\n{_NOTE}\n"
