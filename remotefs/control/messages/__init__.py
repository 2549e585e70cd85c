"""The messages of the control socket, one module a group of commands."""
