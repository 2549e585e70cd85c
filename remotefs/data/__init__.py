"""The bytes of files: where they lie, and how they travel between the kernel, this disk and the service.

    reconcile    listing ─► tree            writeback    journal ─► service
                          files     the bytes of an inode
    download     service ─► readers         intents      what a change means for the service
                          content   bytes on this disk          kernel   who has what open

Imports go down, from line to line; two rooms of one line do not know each other. Each room explains itself in its
`__init__.py`. docs/architecture.md follows a read, a write, a listing and a deletion through the rooms.
"""
