"""Brings bytes from the service to readers."""
