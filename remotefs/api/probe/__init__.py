"""Asks the service what its documentation leaves open."""
