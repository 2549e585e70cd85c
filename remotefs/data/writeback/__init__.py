"""Carries the journal out at the service."""
