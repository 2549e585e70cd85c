"""What the running mount tells and takes: a unix socket with one JSON line a message."""
