"""Checks the state folder: what a consistent one looks like, and what a check finds."""
