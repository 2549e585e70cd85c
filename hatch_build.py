"""The README as package indexes show it: without links into the repository, which has no address of its own there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A link whose target is not absolute: `[text](docs/page.md#part)`.
_RELATIVE_LINK = re.compile(r"\[([^\]\n]+)\]\((?![a-z]+:)[^)\s]*\)")
_NOTE = "The documents in `docs/`, which this page names, come with the source distribution."


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
