"""Inspects and repairs the state of a mount."""
