"""The bytes of an inode."""
