"""What a change means for the service."""
