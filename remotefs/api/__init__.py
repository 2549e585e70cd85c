"""The client of the Files API."""
