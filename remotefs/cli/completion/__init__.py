"""Completion for bash, zsh and fish: scripts that hold all commands and options, and call nothing.

    values    which words may follow: mounts, files, folders, profiles, or a fixed list (pure)
    bash, zsh, fish    the script for a shell (pure)

A script of its own is faster than one that calls remotefs for each key: Python alone takes as long as a completion may
take. Mountpoints come from the kernel's table, so no mount is touched, and one that hangs holds up nobody.
"""
