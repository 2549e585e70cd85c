"""A mount from its start to its end: parts builds it, life runs it, commands answers for it.

run_mount --> recover --> first listing or greeting --> kernel mount --> serve --> drain --> unmount

From outside come `life` (which loads pyfuse3), `settings`, and `idle`, which works where pyfuse3 cannot be loaded.
"""
