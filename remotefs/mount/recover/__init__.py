"""`remotefs recover`: the files of a shared store and a service, without a mount and without a state folder.

    the service's listing, or the ids in the store ─► a tree in a temporary state folder ◄─ the logs of all machines
                                                        │
                                                        ▼ as `get` does: whole files, or none
                                                      a folder of this machine

    session          the temporary state folder at work, filled and copied out
    store_listing    the ids in the store instead of a listing, for when the service cannot be asked
    checked_origin   the bytes of a file, compared with the digest of its upload
    restoration      entries with their owners, attributes, links and times

Nothing is sent, neither to the service nor to the store, and nothing in the destination is overwritten.
"""
