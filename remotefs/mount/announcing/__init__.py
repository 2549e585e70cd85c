"""Changes of others as events of the kernel (M5): the helper process, and the task that has it make its calls.

    vfs/announcements ──next──► announcer ──a packet──► helper (a process) ──system call──► kernel ──► inotify
            ▲                                                                                 │
            └────────────────── fuse/announced ◄───────────── FUSE requests ◄─────────────────┘

It is a process because a thread that waits in the mount that its own process serves makes `kill -9` hang for ever: the
kernel lets the last thread go only when the call is answered, and nobody is left to answer. The helper has no
descriptor of /dev/fuse, so the connection ends with the mount, and the helper's call with it (docs/adr/0016-events.md).
"""
