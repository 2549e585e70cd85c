"""`remotefs doctor`: what keeps remotefs from working on this machine, each line with what to do.

    machine         the kernel, FUSE and its helper, the limit of open files, versions
    settings_check  the settings file, the key and its source, proxies
    state_folder    owner, mode, file system, free space, speed and database of a state folder
    running         what the running mounts say of themselves, or that they are dead or hang
    network         the way to the service: name, connection, TLS, and one request
    findings        the lines
    blot            takes names and secrets out of texts
    bundle          what a bug report needs, as one file

Gathering facts and judging them are apart: `look` asks the machine and returns facts, `judge` is pure. Nothing here
waits for long. Whatever may hang, a disk, a mount or the network, is asked in a process of its own and left behind when
its time is over.
"""
