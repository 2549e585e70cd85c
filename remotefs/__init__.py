"""remotefs mounts Anthropic's Files API as a directory; docs/architecture.md draws its layers."""

__version__ = "0.1.0"
