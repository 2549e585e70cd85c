"""Builds a mount, runs it from its start to its end, and answers its commands.

    run_mount ─► recover ─► first listing, or a greeting ─► kernel mount ─► serve ─► drain ─► unmount

    assembly   builds every part once, from the lowest layer up    commands/  answer the control socket
    session    starts the tasks, serves the kernel, drains         check/     `remotefs check` and its repairs
    ownership  decides whether an account may use the folder       export, loose_files, backup: copies for a person
    settings   mountpoint, state folder, settings, kernel options  offline, moving: commands without a mount
    greeting, opening: the start, with a kernel or without_kernel  transfers/ `remotefs put` and `get`

The process of `remotefs mount` comes in with settings and the lock of the state folder, and leaves with an exit status:
0, or 3 when changes are left for the next mount.

Decisions:

* Recovery comes before every worker. It repairs what a crash left, so that no other code has to know of crashes.
* A mount whose tree is known does not wait for the service: after 2 s it starts with what it knows (A2). Only the very
  first listing is waited for, and not for ever.
* `stop` ends the serving of the kernel before a command returns. What the caller has seen a moment before is still so,
  and nothing can be written that no drain would find.
* A failed task is restarted by its boundary (`remotefs/supervision.py`); it does not end the mount.

Only `session` loads pyfuse3. The commands without a mount work where it cannot be loaded.
"""
