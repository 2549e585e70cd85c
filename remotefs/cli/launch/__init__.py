"""Brings a mount up, and ends it."""
