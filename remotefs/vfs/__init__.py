"""POSIX verbs on inodes, handles and bytes; knows nothing of FUSE."""
