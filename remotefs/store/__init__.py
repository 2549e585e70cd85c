"""Durable state: the tree and the journal in one SQLite database."""
