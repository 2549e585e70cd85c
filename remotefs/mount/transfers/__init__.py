"""`remotefs put` and `get`: files and folders, from this machine into the tree and back.

    put     placing ─► sources ─► uploads ─► through a mount   mounted_target   ─┐
                                          └► or without one    unmounted_target ─┴─► sending: until the service has them
    get     placing ◄─ downloads ◄─ through a mount   mounted_origin
              │                 └── or without one    unmounted_origin
              ▼
            arrival: whole under its name, or not at all

`placing` decides where everything goes and asks nobody. `uploads` and `downloads` copy several files at a time and
count; they see the tree as a protocol, which has two forms. With a mount they use system calls in it, as `cp` does:
the mount's process reads no file of the caller's, so that no slow disk can make it hang. Without a mount they use the
verbs of the file system.

Decisions:

* A file comes into the tree whole: under a name that is never uploaded first, then by a rename. A command that is
  killed in between leaves no half file that would be uploaded.
* A generated file is written over in place instead, because a rename over it would delete the original (W8).
* Files that are there with the same bytes are not sent again.
* Neither removes anything, here or at the service, but what a new content replaces (W5).
"""
