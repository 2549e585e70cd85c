"""Fixtures of this folder."""

from tests.endurance.support import clock

__all__ = ["clock"]
