"""Brings listings of the service into the tree."""
