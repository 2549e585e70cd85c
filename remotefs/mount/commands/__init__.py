"""Answers the control socket, one module for each group of commands.

Each group has the same name in three places: `cli/commands/X` reads the options and prints, `control/messages/X` has
the records that cross the socket, `mount/commands/X` carries the command out in the mount's process.

    mount    umount, takeover                       pending    Drain and the reasons of what is pending
    status   status, flush, retry                   lookup     from a path or an id to inodes
    ls       the files below paths: ls, id          entries    names that a command makes or removes
    paths    the wait of id; path
    cache    warm, pin, unpin, cache …              eta        how long a drain will take
    trash    trash …, accept-removals               groups     builds all groups
    sync, dedupe
    check    check, export, backup (also without a mount: `mount/offline.py`)

A handler runs in a task of its own, which is cancelled when the caller hangs up. It raises RemotefsError for the
caller. A handler takes the parts that it uses; only `status` and `check` look at all of them.
"""
