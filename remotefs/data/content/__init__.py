"""The bytes that this disk has."""
