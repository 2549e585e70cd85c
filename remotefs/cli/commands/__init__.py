"""Reads the options of each command and prints its result; one module for each group of commands.

    mount      mount, umount                 account    accept-account
    status     status, flush, retry          serve      serve, generate (the local server)
    paths      id, path                      probe      probe (a server, without a mount)
    ls, watch  ls, watch
    cache      warm, pin, unpin, cache …
    trash      trash …, accept-removals
    sync, retype, dedupe                     put, get   put, get (through a mount, or without one)
    check      check, export, backup         doctor     doctor
                                             completion completion

A group has the same name here, in `control/messages/` (the records that cross the socket) and in `mount/commands/`
(the handlers in the mount's process). The commands of the right column can do without the socket. Pure modules stand
beside their command: `status_table`; `ls_filters`, `ls_table` and `duplicates` of `ls`; `handover` and `lock_file` of
`id`.
"""
