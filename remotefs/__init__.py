"""Mount Anthropic's Files API as a directory. docs/architecture.md draws the layers of the code."""

__version__ = "0.1.0"
