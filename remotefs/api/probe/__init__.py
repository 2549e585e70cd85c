"""`remotefs probe`: asks a server what the documentation of the service leaves open, within 20 requests."""
