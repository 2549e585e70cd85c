"""Answers the control socket, one module a group of commands."""
