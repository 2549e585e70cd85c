"""The records that cross the control socket, one module for each group of commands.

`base` has the plumbing and the records that several groups share. A group has the same name in `cli/commands/`, here
and in `mount/commands/`.
"""
