"""A local server of the same API; imports nothing of the rest, so the two cannot share a mistake."""
