"""The kernel's side: an adapter from pyfuse3's requests to the file system, and the one errno table."""
